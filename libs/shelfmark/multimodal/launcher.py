"""Where the ranks of a training run: in this process, by Horovod on Spark, or by Spark's TorchDistributor with DDP.

    run(function, ranks, launcher="auto", ...) -> what `function(group)` returned on rank 0

`function` is called on every rank with a `Group`, its one way to the others. It travels by cloudpickle: what it needs it
takes along, and what it reads and writes lies where every rank sees it. All three give the same losses (tested).

The one door of Horovod, which is dormant: what it does here the other two do as well.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from shelfmark.errors import ServiceError, UsageError
from shelfmark.multimodal import sparse
from shelfmark.multimodal.sparse import SparseAdagrad

log = logging.getLogger(__name__)

LAUNCHERS = ("in_process", "horovod", "torch_distributor")
START_SECONDS = 600  # a Spark that is busy gives the slots of a gang late


class Group:
    """One rank alone: the interface of all three, and what runs in this process.

    rank, size: of this process and how many there are; device: "cpu" or "cuda:N".
    """

    def __init__(self, rank: int = 0, size: int = 1, local: int = 0, threads: int = 0):
        self.rank, self.size = rank, size
        self.device = f"cuda:{local % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
        if self.device != "cpu":
            torch.cuda.set_device(self.device)
        torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // size))

    def wrap(self, network: torch.nn.Module, optimisers: list, compression: bool = False, parts: int = 1):
        """(callable for the forward pass, optimisers) whose gradients are means over the ranks; weights are rank 0's."""
        for one in optimisers:
            if isinstance(one, SparseAdagrad):
                one.keep_bags(network)
        return network, optimisers

    def settle(self, optimisers: list) -> Any:
        """A context for `optimiser.step()` in which gradients are already means over all ranks, ready to be clipped."""
        return nullcontext()

    def local(self, network: Any) -> Any:
        """A context for the backward passes of all parts of a batch but the last: nothing is sent."""
        return nullcontext()

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum of float64 arrays over the ranks, on each of them."""
        return np.asarray(values, np.float64)

    def result(self, value: Any) -> Any:
        """What this rank answers, where the function returned `value`."""
        return value if self.rank == 0 else None

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.sum(np.zeros(1))


class HorovodGroup(Group):
    """A rank that Horovod started. Tensor fusion is left on; CPUs speak Gloo, GPUs NCCL where Horovod was built with it."""

    def __init__(self, threads: int = 0):
        import horovod.torch as hvd

        hvd.init()
        self.hvd = hvd
        super().__init__(hvd.rank(), hvd.size(), hvd.local_rank(), threads)

    def wrap(self, network, optimisers, compression=False, parts=1):
        hvd = self.hvd
        names = {id(weight): name for name, weight in network.named_parameters()}
        hvd.broadcast_parameters(network.state_dict(), root_rank=0)
        kind = hvd.Compression.fp16 if compression else hvd.Compression.none
        wrapped = []
        for optimiser in optimisers:
            if isinstance(optimiser, SparseAdagrad):  # its gradients are gathered in `settle`
                optimiser.keep_bags(network)
                wrapped.append(optimiser)
                continue
            named = [(names[id(one)], one) for group in optimiser.param_groups for one in group["params"]]
            wrapped.append(
                hvd.DistributedOptimizer(
                    optimiser, named_parameters=named, compression=kind, backward_passes_per_step=parts, op=hvd.Average
                )
            )
        return network, wrapped

    def settle(self, optimisers):
        from contextlib import ExitStack

        stack = ExitStack()
        gathered = [done for one in optimisers if isinstance(one, SparseAdagrad) for done in self._gather(one)]
        for done in gathered:
            done()
        for one in optimisers:
            if isinstance(one, SparseAdagrad):
                continue
            one.synchronize()
            stack.enter_context(one.skip_synchronize())
        return stack

    def _gather(self, optimiser: SparseAdagrad) -> Iterator[Callable[[], None]]:
        """Send the sparse gradients of an optimiser and give what waits for those of all ranks. A bag's gradient is sent once, and
        so is a row's of another embedding; Horovod would send a row as often as the batch has it."""
        hvd = self.hvd
        for number, weight in enumerate(weight for group in optimiser.param_groups for weight in group["params"]):
            # Also without a gradient: ranks wait for each other's.
            shares = optimiser.shares(weight)
            if shares is not None:
                sent = [hvd.allgather_async(torch.from_numpy(sparse.packed(shares)), name=f"sparse.{number}.bags")]
            else:
                sent = [
                    hvd.allgather_async(torch.from_numpy(np.ascontiguousarray(one)), name=f"sparse.{number}.{name}")
                    for name, one in zip(("ids", "values"), optimiser.summed(weight))
                ]

            def done(weight=weight, sent=sent):
                got = [hvd.synchronize(one).numpy() for one in sent]
                if len(got) == 1:
                    optimiser.give(weight, sparse.unpacked(got[0], weight.shape[1]))
                else:
                    weight.grad = sparse.joined(got[0], got[1] / np.float32(self.size), len(weight))

            yield done

    def sum(self, values):
        values = torch.as_tensor(np.asarray(values, np.float64))
        return self.hvd.allreduce(values, op=self.hvd.Sum).numpy()


class TorchGroup(Group):
    """A rank that torchrun started, for TorchDistributor: DistributedDataParallel over Gloo or NCCL."""

    def __init__(self, threads: int = 0):
        import torch.distributed as dist

        self.dist = dist
        if not dist.is_initialized():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        super().__init__(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", 0)), threads)

    def wrap(self, network, optimisers, compression=False, parts=1):
        devices = [self.device] if self.device != "cpu" else None
        # Buffers, as the means of a batch normalisation, stay each rank's own between epochs, as with Horovod.
        return torch.nn.parallel.DistributedDataParallel(network, devices, forward_sync_buffers=False), optimisers

    def result(self, value):
        # All processes of a machine answer in one file, so all answer alike.
        told = [value if self.rank == 0 else None]
        self.dist.broadcast_object_list(told, 0, device=torch.device(self.device))
        return told[0]

    def local(self, network):
        return network.no_sync()

    def sum(self, values):
        # NCCL moves what lies on a GPU only.
        values = torch.as_tensor(np.asarray(values, np.float64), device=self.device)
        self.dist.all_reduce(values)
        return values.cpu().numpy()


def horovod_built() -> bool:
    """Whether Horovod is installed with its torch part: scripts/horovod.sh says why where it is not."""
    found = importlib.util.find_spec("horovod")
    if found is None or not found.submodule_search_locations:
        return False
    folder = os.path.join(found.submodule_search_locations[0], "torch")
    return os.path.isdir(folder) and any(name.startswith("mpi_lib_v2") for name in os.listdir(folder))


def plan(ranks: int, launcher: str = "auto", spark: Any = None, lanes: int = 8) -> tuple[str, int]:
    """(launcher, ranks) that a run takes: the settings `multimodal.launcher` and `.ranks`, what is installed, and the slots.

    ranks 0: one a GPU of this machine where Spark is local, else one a slot, halved until it divides the lanes. Raises
    `UsageError` where a launcher is asked for that is not to be had, or more ranks than slots.
    """
    slots = spark.sparkContext.defaultParallelism if spark is not None else 1
    if not ranks:
        ranks = torch.cuda.device_count() or slots
        while lanes % ranks:
            ranks -= 1
    if launcher == "auto":
        launcher = "in_process" if ranks == 1 or spark is None else "horovod" if horovod_built() else "in_process"
        if launcher == "in_process":
            return launcher, 1
    if launcher not in LAUNCHERS:
        raise UsageError(f"multimodal.launcher {launcher}: choose auto, {', '.join(LAUNCHERS)}")
    if launcher == "in_process":
        return launcher, 1
    if launcher == "horovod" and not horovod_built():
        raise UsageError("multimodal.launcher: Horovod is not built here; sh scripts/horovod.sh says why")
    if ranks > slots:
        raise UsageError(f"{ranks} ranks need as many slots of Spark, which has {slots}: lower multimodal.ranks")
    return launcher, ranks


def run(
    function: Callable[[Group], Any],
    ranks: int = 1,
    launcher: str = "in_process",
    spark: Any = None,
    threads: int = 0,
    retries: int = 0,
    say: Callable[[str], None] | None = None,
) -> Any:
    """What `function(group)` returned on rank 0 of `ranks`.

    Where a rank dies, all are started again, `retries` times: `function` goes on from its last checkpoint. Settings that
    a function refuses (`UsageError`) are refused at once. Raises `ServiceError` when ranks died once more than that.
    """
    if launcher == "in_process":
        return function(Group(threads=threads))
    start = {"horovod": _horovod, "torch_distributor": _torch_distributor}[launcher]
    for tried in range(retries + 1):
        try:
            return start(_guarded(function, launcher, threads), ranks, spark)
        except UsageError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:500]
            if tried == retries:
                raise ServiceError(f"{launcher}: a rank failed {tried + 1} times, the last time: {reason}") from error
            if say:
                say(f"{launcher}: a rank failed and all are started again ({tried + 1} of {retries}): {reason[:200]}")


def _guarded(function: Callable[[Group], Any], launcher: str, threads: int) -> Callable[[], Any]:
    """What a rank calls: (result, None) of rank 0, or (None, why) where the settings were wrong on every rank alike."""

    def rank():
        from shelfmark.multimodal import launcher as here

        group = here.HorovodGroup(threads) if launcher == "horovod" else here.TorchGroup(threads)
        try:
            return group.result(function(group)), None
        except UsageError as error:
            return None, str(error)

    return rank


def _answer(answer: tuple[Any, str | None]) -> Any:
    result, refusal = answer
    if refusal:
        raise UsageError(refusal)
    return result


def _horovod(rank: Callable[[], Any], ranks: int, spark: Any) -> Any:
    import horovod.spark

    # Ranks find modules as this process does, from whichever folder Spark starts them in.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, _paths())), "HOROVOD_GLOO_TIMEOUT_SECONDS": "300"}
    with own_signals():
        answers = horovod.spark.run(
            rank,
            num_proc=ranks,
            start_timeout=START_SECONDS,
            env=env,
            use_gloo=True,
            stdout=_Said(logging.INFO),
            stderr=_Said(logging.WARNING),
            verbose=0,
            prefix_output_with_timestamp=False,
        )
    return _answer(answers[0])


@contextmanager
def own_signals() -> Iterator[None]:
    """While this is open, a signal to end (SIGINT, SIGTERM) ends Horovod's ranks, and then does here what it would have done.

    Horovod takes these signals for its ranks and never gives them back: a driver could not be stopped any more, and a gang that a
    person stopped would be started again.
    """
    from horovod.runner import gloo_run

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    taken, came = gloo_run.register_shutdown_event, []
    kept = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}

    def register() -> threading.Event:
        event = threading.Event()

        def told(number: int, frame: Any) -> None:
            if came:  # a second one does not wait for the ranks
                signal.signal(number, kept[number])
                os.kill(os.getpid(), number)
            came.append(number)
            event.set()

        for number in kept:
            signal.signal(number, told)
        return event

    gloo_run.register_shutdown_event = register
    try:
        yield
    finally:
        gloo_run.register_shutdown_event = taken
        for number, handler in kept.items():
            signal.signal(number, handler)
        for number in came[:1]:
            os.kill(os.getpid(), number)


class _Said:
    """What ranks print, as lines of the log: a person at the console waits for the job, not for a library's warnings."""

    def __init__(self, level: int):
        self.level, self.rest = level, ""

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in filter(str.strip, lines):
            log.log(self.level, "rank %s", line)

    def flush(self) -> None:
        pass


def _torch_distributor(rank: Callable[[], Any], ranks: int, spark: Any) -> Any:
    from pyspark.ml.torch.distributor import TorchDistributor

    master = spark.sparkContext.master if spark is not None else "local"
    own = master.startswith("local") and not master.startswith("local-cluster")
    if own:  # ranks are children of this process: they meet on this machine, whatever its name resolves to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
    distributor = TorchDistributor(num_processes=ranks, local_mode=own, use_gpu=torch.cuda.is_available())
    return _answer(distributor.run(rank))


def _loopback() -> str:
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")


def _paths() -> list[str]:
    import sys

    return list(dict.fromkeys([*sys.path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
