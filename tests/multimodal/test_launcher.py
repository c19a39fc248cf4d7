"""The three launchers give the same losses on one rank and two, and ranks that die are started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ranks import cache, training

from shelfmark.errors import ServiceError, UsageError
from shelfmark.multimodal import launcher

BUILT = launcher.horovod_built()
# Horovod's own thread that waits for Spark raises when its job is cancelled; nobody reads it.
DYING = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
ALIKE = {"rel": 2e-3}  # sums of floats in another order


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return cache(tmp_path_factory.mktemp("cache") / "c")


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """The losses of one rank in this process."""
    return curve(launcher.run(training(tmp_path_factory.mktemp("alone"), folder), threads=1))


def curve(result):
    return [entry[name] for entry in result["history"] for name in ("loss", "tune_loss", "macro_f1")]


def test_horovod_is_built():
    """Where it cannot be, training runs in one process, and this says so."""
    if not BUILT:
        message = "Horovod is not built here; `sh scripts/horovod.sh` says why"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def test_losses_fall_and_a_run_that_ended_is_not_run_again(folder, alone, tmp_path):
    assert alone[0] > alone[3] > alone[6]
    first = launcher.run(training(tmp_path, folder), threads=1)
    before = (tmp_path / "last.pt").stat().st_mtime_ns
    assert launcher.run(training(tmp_path, folder), threads=1) == first
    assert (tmp_path / "last.pt").stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.skipif(not BUILT, reason="Horovod is not built here")
@pytest.mark.parametrize("sparse", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_two_horovod_ranks_have_the_losses_of_one(spark, folder, alone, tmp_path, sparse):
    found = launcher.run(training(tmp_path, folder, sparse=sparse), 2, "horovod", spark, threads=1)
    assert curve(found) == pytest.approx(alone, **ALIKE)


@pytest.mark.slow
def test_two_ranks_of_torch_distributor_have_the_losses_of_one(spark, folder, alone, tmp_path):
    found = launcher.run(training(tmp_path, folder), 2, "torch_distributor", spark, threads=1)
    assert curve(found) == pytest.approx(alone, **ALIKE)


@pytest.mark.skipif(not BUILT, reason="Horovod is not built here")
def test_a_signal_ends_the_ranks_and_then_the_driver_as_it_would_have():
    from horovod.runner import gloo_run

    came = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
        mine = signal.getsignal(signal.SIGTERM)
        with launcher.own_signals():
            event = gloo_run.register_shutdown_event()  # what Horovod calls before it starts ranks
            assert signal.getsignal(signal.SIGTERM) is not mine
            os.kill(os.getpid(), signal.SIGTERM)
            assert event.wait(5)
            assert came == []
        assert came == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is mine
        with launcher.own_signals():
            gloo_run.register_shutdown_event()
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # a second one does not wait for the ranks
            assert came == [signal.SIGTERM] * 2
        with launcher.own_signals():
            gloo_run.register_shutdown_event()
        assert signal.getsignal(signal.SIGINT) is before[signal.SIGINT]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@DYING
@pytest.mark.slow
@pytest.mark.skipif(not BUILT, reason="Horovod is not built here")
def test_a_rank_that_is_killed_is_started_again_and_ends_as_if_it_had_not_been(spark, folder, alone, tmp_path):
    train = training(tmp_path, folder)
    died = str(tmp_path / "died")

    def dies(group):
        """Rank 1 is killed in the second epoch, once."""
        import os
        import signal
        import threading
        import time
        from pathlib import Path

        def kill():
            while not (Path(died).parent / "progress.jsonl").exists():
                time.sleep(0.002)
            Path(died).write_text("")
            os.kill(os.getpid(), signal.SIGKILL)

        if group.rank == 1 and not Path(died).exists():
            threading.Thread(target=kill, daemon=True).start()
        return train(group)

    said = []
    found = launcher.run(dies, 2, "horovod", spark, threads=1, retries=1, say=said.append)
    assert Path(died).exists()
    assert len(said) == 1
    assert curve(found) == pytest.approx(alone, **ALIKE)


@DYING
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.skipif(not BUILT, reason="Horovod is not built here")
def test_what_a_rank_refuses_is_refused_at_once_and_what_fails_again_is_a_service_error(spark, folder, tmp_path):
    refused = training(tmp_path, folder, {"lanes": 3, "batch": 48})  # 2 ranks do not divide 3 lanes
    with pytest.raises(UsageError, match="2 ranks must divide 3 lanes"):
        launcher.run(refused, 2, "horovod", spark, threads=1, retries=5)

    def fails(group):
        raise RuntimeError("no such device")

    with pytest.raises(ServiceError, match="a rank failed 1 times"):
        launcher.run(fails, 2, "horovod", spark, threads=1)


GANG = """
import sys
from shelfmark import config, session
from shelfmark.multimodal import launcher

folder = sys.argv[1]

def waits(group):
    import os, time
    from pathlib import Path
    Path(folder, f"rank-{group.rank}").write_text(str(os.getpid()))
    time.sleep(300)

spark = session.start(config.load(home=folder), "gang")
launcher.run(waits, 2, "horovod", spark, threads=1, retries=3)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(true, seconds):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


@pytest.mark.slow
@pytest.mark.skipif(not BUILT, reason="Horovod is not built here")
def test_a_signal_to_a_driver_whose_ranks_are_at_work_ends_them_and_it(tmp_path):
    """And none are started again, though retries are left."""
    ranks = [tmp_path / f"rank-{rank}" for rank in range(2)]
    with open(tmp_path / "said", "w") as said:
        driver = subprocess.Popen([sys.executable, "-c", GANG, str(tmp_path)], stdout=said, stderr=said)
    try:
        assert until(lambda: all(one.exists() and one.read_text() for one in ranks), 180), (
            tmp_path / "said"
        ).read_text()
        pids = [int(one.read_text()) for one in ranks]
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(60) == -signal.SIGTERM, (tmp_path / "said").read_text()
        assert until(lambda: not any(map(alive, pids)), 30)
        assert [int(one.read_text()) for one in ranks] == pids
    finally:
        driver.kill()


class Slots:
    """Of a session, what `plan` asks for."""

    def __init__(self, slots):
        self.sparkContext = self
        self.defaultParallelism = slots


@pytest.mark.skipif(launcher.torch.cuda.is_available(), reason="ranks follow the GPUs of a machine that has some")
def test_ranks_follow_slots_and_divide_the_lanes():
    auto = "horovod" if BUILT else "in_process"
    assert launcher.plan(0, "auto", None) == ("in_process", 1)
    assert launcher.plan(0, "auto", Slots(1)) == ("in_process", 1)
    assert launcher.plan(0, "auto", Slots(6), lanes=8) == (auto, 4 if BUILT else 1)
    assert launcher.plan(0, "torch_distributor", Slots(3), lanes=8) == ("torch_distributor", 2)
    assert launcher.plan(2, "in_process", Slots(8)) == ("in_process", 1)
    with pytest.raises(UsageError, match="4 ranks need as many slots of Spark, which has 2"):
        launcher.plan(4, "torch_distributor", Slots(2))
