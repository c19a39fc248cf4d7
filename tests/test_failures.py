"""No crash, outage or collision loses or doubles a row: runs of a small job of two tables meet them, on both lakes.

Version n of the job replaces silver.taxonomy and appends to silver.presence, so that a row lost, a row doubled or a
state between two versions shows. Tests that need no driver of their own use the shared Spark session.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import faults
import psutil
import pytest

from shelfmark import config, mirror, pipeline, session
from shelfmark.errors import ServiceError
from shelfmark.lake import Locked, lakefs, open_lake, server
from shelfmark.query import read
from shelfmark.run import execute

TREE = "taxonomy_version string, category_id string, path string, name string, parent_id string, depth int"
SEEN = "product_id string, source string, region string, first_run string, last_run string"
SEEN += ", first_seen date, last_seen date"
DAY = date(2026, 1, 1)
ROWS = 30
JOB = "evaluate"  # a job whose run records are read, and that is not the owner of the two tables
SMALL = ["spark.driver_memory=1g", "spark.shuffle_partitions=1", faults.SHORT_LIVED]


# -- the job ------------------------------------------------------------------------------------------------------


def tree(run, version):
    rows = [(f"v{version}", f"c{n}", f"C{n}", f"C{n}", None, 1) for n in range(ROWS)]
    run.write("silver.taxonomy", run.spark.createDataFrame(rows, TREE))


def seen(run, version):
    rows = [(f"{version:016x}{n:016x}", "s", "US", run.run_id, run.run_id, DAY, DAY) for n in range(ROWS)]
    run.write("silver.presence", run.spark.createDataFrame(rows, SEEN), append=True)


def pair(version, between=lambda run: None):
    """The recipe; `between` is called between its two writes."""

    def recipe(run):
        tree(run, version)
        between(run)
        seen(run, version)

    return recipe


def id_of(version):
    return f"20260101-v{version}"


def publish(spark, settings, version, recipe=None):
    return execute(JOB, recipe or pair(version), settings, spark, id_of(version), always=True)


def rows(spark, lake, name):
    head = lake.head()
    return read(spark, lake, head.id, name).collect() if head else []


def version_at_main(spark, settings):
    """The version that both tables are at; fails for any state that is none, such as one table's old and one's new."""
    lake = open_lake(settings)
    categories = sorted((row.taxonomy_version, row.category_id) for row in rows(spark, lake, "silver.taxonomy"))
    products = sorted(row.product_id for row in rows(spark, lake, "silver.presence"))
    version = len(products) // ROWS
    assert products == [f"{v:016x}{n:016x}" for v in range(1, version + 1) for n in range(ROWS)]
    assert categories == sorted((f"v{version}", f"c{n}") for n in range(ROWS) if version)
    return version


def done_records(spark, settings, run_id):
    return [
        row for row in rows(spark, open_lake(settings), "gold.runs") if (row.run_id, row.status) == (run_id, "done")
    ]


def main(text):
    """What a driver of its own does: one run, in a Spark of its own or, `join`, in that of the tests."""
    about = json.loads(text)
    settings = config.load(overrides=[*SMALL, *about.get("overrides", [])], **about["settings"])
    spark = join(settings) if about.get("join") else session.start(settings, "driver")
    publish(spark, settings, about["version"])


def join(settings):
    """A session of this process in the Java of the tests, which outlives it: for steps that Java has no part in."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    gateway = launch_gateway()
    java = gateway.jvm
    context = java.JavaSparkContext(java.org.apache.spark.SparkContext.getOrCreate())
    spark = SparkSession(SparkContext(gateway=gateway, jsc=context, conf=SparkConf(_jconf=context.getConf())))
    open_lake(settings).connect(spark)
    return spark


DRIVER = "import sys, test_failures; test_failures.main(sys.argv[1])"


# -- places -------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """Where runs happen: settings as values, and a proxy before the server where there is one."""

    values: dict
    proxy: faults.Proxy | None = None

    @property
    def settings(self):
        return config.load(overrides=SMALL, **self.values)


@pytest.fixture(scope="module")
def keys(lakefs_server):
    """The keys of the server in the environment, as a person sets them."""
    with pytest.MonkeyPatch.context() as environment:
        for name, key in zip(lakefs.KEYS, (lakefs_server.access_key, lakefs_server.secret_key)):
            environment.setenv(name, key)
        yield lakefs_server


def in_lakefs(home, endpoint, proxy=None):
    name = f"failures-{secrets.token_hex(6)}"
    about = {"endpoint": endpoint, "repository": name, "storage_namespace": f"local://{name}"}
    return Place({"home": str(home), "lake": "lakefs", "lakefs": about}, proxy)


@pytest.fixture(scope="module")
def places(request, spark, tmp_path_factory):
    """kind -> one place for all tests of this module, at version 1 or later; made when first asked for."""
    made = {}

    def place(kind):
        if kind not in made:
            home = tmp_path_factory.mktemp(f"failures-{kind}")
            if kind == "local":
                made[kind] = Place({"home": str(home)})
            else:
                proxy = faults.Proxy(request.getfixturevalue("keys").endpoint)
                request.addfinalizer(lambda: proxy.__exit__(None, None, None))
                made[kind] = in_lakefs(home, proxy.__enter__().endpoint, proxy)
            open_lake(made[kind].settings).connect(spark)
            publish(spark, made[kind].settings, 1)
        return made[kind]

    return place


@pytest.fixture
def remote(places):
    """The place in lakeFS, without faults left over."""
    place = places("lakefs")
    place.proxy.clear()
    yield place
    place.proxy.clear()


# -- a driver is killed -------------------------------------------------------------------------------------------

# With Java and all, a few; then the steps in which Java has nothing to do, which joined drivers come to sooner.
WHOLE = {
    "local": ["before the first table is written", "while the second table is written"],
    "lakefs": ["while the first table is written", "after the first table's log entry is stored, unheard"],
}
JOINED = {
    "local": [
        "before the branch is made",
        "before the run record",
        "before publishing",
        "while publishing, before main moves",
        "while publishing, after main moved",
    ],
    "lakefs": [
        "after the branch is made",
        "before the checks",
        "before the commit",
        "after the commit, unheard",
        "before the merge",
        "after the merge, unheard",
        "after publishing",
    ],
}
LANDED = {"while publishing, after main moved", "after the merge, unheard", "after publishing"}
# Those of which most are seen: between two writes, and just before and after main moves.
DAILY = {
    "while the second table is written",
    "while the first table is written",
    "while publishing, before main moves",
    "while publishing, after main moved",
    "before the commit",
    "after the merge, unheard",
}
KILLS = [
    pytest.param(
        kind,
        point,
        names is JOINED,
        id=f"{kind}: {point}",
        marks=[] if point.name in DAILY else [pytest.mark.nightly],
    )
    for names in (WHOLE, JOINED)
    for kind in ("local", "lakefs")
    for point in faults.kill_points(kind)
    if point.name in names[kind]
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "point", "joined"), KILLS)
def test_a_killed_driver_leaves_main_at_one_version_and_the_same_run_completes(
    spark, places, tmp_path, kind, point, joined
):
    place = places(kind)
    old = version_at_main(spark, place.settings)
    new = old + 1
    gateway = spark.sparkContext._gateway.gateway_parameters
    env = {"PYSPARK_GATEWAY_PORT": str(gateway.port), "PYSPARK_GATEWAY_SECRET": gateway.auth_token} if joined else {}
    about = json.dumps({"settings": place.values, "version": new, "join": joined})
    faults.drive(DRIVER, tmp_path, about, point=point, proxy=place.proxy, env=env)
    landed = point.name in LANDED
    assert version_at_main(spark, place.settings) == (new if landed else old)
    assert publish(spark, place.settings, new).status == ("already" if landed else "done")
    assert version_at_main(spark, place.settings) == new
    assert len(done_records(spark, place.settings, id_of(new))) == 1
    commits = [c for c in open_lake(place.settings).log() if c.metadata["run_id"] == id_of(new)]
    assert [commit.metadata["status"] for commit in commits] == ["done"]


def test_kill_points_are_enough_and_all_there():
    assert len(KILLS) >= 12
    assert len([kill for kill in KILLS if not kill.marks]) == len(DAILY)
    for kind in ("local", "lakefs"):
        assert {*WHOLE[kind], *JOINED[kind]} <= {point.name for point in faults.kill_points(kind)}


# -- the server fails ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_killed_and_started_again_in_the_middle_of_a_run_is_waited_for(
    spark, lakefs_program, tmp_path, monkeypatch
):
    state = server.up(tmp_path / "server", str(lakefs_program))
    try:
        access = server.credentials(tmp_path / "server")
        for name, key in zip(lakefs.KEYS, (access.access_key, access.secret_key)):
            monkeypatch.setenv(name, key)
        place = in_lakefs(tmp_path, access.endpoint)
        open_lake(place.settings).connect(spark)
        publish(spark, place.settings, 1)
        again = threading.Timer(1.5, server.up, (tmp_path / "server", str(lakefs_program)))

        def outage(run):
            os.kill(state.pid, signal.SIGKILL)
            while server.status(tmp_path / "server").running:
                time.sleep(0.01)
            again.start()

        assert publish(spark, place.settings, 2, pair(2, outage)).status == "done"
        again.join()
        assert version_at_main(spark, place.settings) == 2
    finally:
        server.down(tmp_path / "server")


@pytest.mark.slow
def test_answers_that_come_late_or_cut_or_as_errors_are_asked_for_again_and_each_thing_is_done_once(spark, remote):
    new = version_at_main(spark, remote.settings) + 1
    before = len(open_lake(remote.settings).log())
    on = remote.proxy.on
    rules = [
        on("POST", r"/branches\?|/branches$", faults.cut_after),  # the branch is made, its answer is lost
        on("POST", r"/objects\?.*_folders", faults.cut_before),
        on("PUT", r"/silver/taxonomy/.*parquet", faults.status(503)),
        on("PUT", r"/silver/presence/.*parquet", faults.cut_after),
        on("GET", r"/objects/ls", faults.status(500), skip=2, times=2),
        on("GET", r"/refs/[^/]+/objects\?", faults.cut_midway),
        on("POST", r"/branches/[^/]+/commits", faults.delay(2)),
        on("POST", r"/refs/[^/]+/merge/", faults.cut_after),
    ]
    assert publish(spark, remote.settings, new).status == "done"
    assert [rule.path for rule in rules if not rule.hits] == []
    assert version_at_main(spark, remote.settings) == new
    assert len(open_lake(remote.settings).log()) == before + 1
    assert len(done_records(spark, remote.settings, id_of(new))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "says"),
    [
        (r"/branches/run-[^/]+/(objects|commits)", r"lakeFS at http://127\.0\.0\.1:\d+ answered 500"),
        (r"^/[^/]+/run-[^/]+/silver/presence", r"object store does not answer"),
    ],
    ids=["the API", "the S3 gateway"],
)
def test_a_server_that_only_fails_ends_the_run_with_one_line_and_a_rerun_completes(
    spark, remote, monkeypatch, path, says
):
    old = version_at_main(spark, remote.settings)
    monkeypatch.setattr(lakefs, "WAITS", (0.05,) * len(lakefs.WAITS))
    began = time.monotonic()

    def fail(run):
        remote.proxy.on("*", path, faults.status(500), times=None)

    with pytest.raises(ServiceError, match=says) as caught:
        publish(spark, remote.settings, old + 1, pair(old + 1, fail))
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (4, False)
    assert time.monotonic() - began < 180
    remote.proxy.clear()
    assert version_at_main(spark, remote.settings) == old
    assert publish(spark, remote.settings, old + 1).status == "done"
    assert version_at_main(spark, remote.settings) == old + 1


def test_keys_that_the_server_does_not_know_end_the_run_with_one_line_that_names_the_variables(
    spark, remote, monkeypatch
):
    monkeypatch.setenv(lakefs.KEYS[1], "a-Wrong-Secret-17")
    with pytest.raises(ServiceError, match=rf"401.*check {lakefs.KEYS[0]} and {lakefs.KEYS[1]}") as caught:
        publish(spark, remote.settings, 99)
    assert caught.value.exit_code == 4
    assert "a-Wrong-Secret-17" not in str(caught.value)
    monkeypatch.delenv(lakefs.KEYS[1])
    with pytest.raises(Exception, match=rf"set {lakefs.KEYS[0]} and {lakefs.KEYS[1]}") as caught:
        publish(spark, remote.settings, 99)
    assert caught.value.exit_code == 2


@pytest.mark.slow
def test_keys_that_expired_for_the_object_store_end_the_run_with_one_line(spark, keys, tmp_path):
    place = in_lakefs(tmp_path, keys.endpoint)
    open_lake(place.settings).connect(spark)
    name = f"fs.s3a.bucket.{place.settings.lakefs.repository}.secret.key"
    spark.sparkContext._jsc.hadoopConfiguration().set(name, "a-Wrong-Secret-17")
    with pytest.raises(ServiceError, match="refuses the keys") as caught:
        publish(spark, place.settings, 1)
    assert "\n" not in str(caught.value)
    assert "a-Wrong-Secret-17" not in str(caught.value)
    assert version_at_main_is_empty(place.settings)


def version_at_main_is_empty(settings):
    lake = open_lake(settings)
    return lake.head() is None or not {"silver/taxonomy", "silver/presence"} & set(lake.folders("main"))


# -- the disk is full ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 16 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here, which takes root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder, leave):
    """Take all room of a disk but `leave` bytes."""
    free = shutil.disk_usage(folder).free - leave
    Path(folder, "filler").write_bytes(b"x" * max(free, 0))


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_line_and_with_room_the_same_run_completes(spark, small_disk):
    settings = config.load(home=str(small_disk), overrides=SMALL)
    publish(spark, settings, 1)
    with pytest.raises(ServiceError, match="no room is left on a disk") as caught:
        publish(spark, settings, 2, pair(2, lambda run: fill(small_disk, 4096)))
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (4, False)
    (small_disk / "filler").unlink()
    assert version_at_main(spark, settings) == 1
    assert publish(spark, settings, 2).status == "done"
    assert version_at_main(spark, settings) == 2


# -- two runs at once ---------------------------------------------------------------------------------------------


def at_once(*calls):
    """Call each in a thread of its own; their results, or what they raised."""
    results = [None] * len(calls)

    def call(number):
        try:
            results[number] = calls[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "lakefs"])
def test_of_two_runs_of_a_job_at_once_one_waits_and_starts_from_what_the_other_published(spark, places, kind):
    place = places(kind)
    old = version_at_main(spark, place.settings)
    hasty = config.load(overrides=[*SMALL, "lock_wait=0"], **place.values)
    begun, refused = threading.Event(), []

    def between(run):
        begun.set()
        with pytest.raises(Locked, match=rf"job-{JOB} is held by {JOB} {id_of(old + 1)}.*run again later") as caught:
            publish(spark, hasty, old + 2)
        refused.append(caught.value.exit_code)

    def second():
        begun.wait(120)
        return publish(spark, place.settings, old + 2)

    one, two = at_once(lambda: publish(spark, place.settings, old + 1, pair(old + 1, between)), second)
    assert (one.status, two.status, refused) == ("done", "done", [Locked("").exit_code])
    assert two.commit.metadata["input_commit"] == one.commit.id
    assert version_at_main(spark, place.settings) == old + 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "lakefs"])
def test_two_jobs_at_once_both_publish_and_neither_drops_the_others_table(spark, places, kind):
    settings = places(kind).settings
    new = version_at_main(spark, settings) + 1
    together = threading.Barrier(2, timeout=120)

    def run(job, writes):
        def recipe(run):
            writes(run, new)
            together.wait()

        return execute(job, recipe, settings, spark, f"20260102-{new}", always=True)

    one, two = at_once(lambda: run("labels", tree), lambda: run("predict", seen))
    assert (one.status, two.status) == ("done", "done")
    assert one.commit.metadata["input_commit"] == two.commit.metadata["input_commit"]
    assert version_at_main(spark, settings) == new
    assert {row.job for row in done_records(spark, settings, f"20260102-{new}")} == {"labels", "predict"}


# -- an executor is killed ----------------------------------------------------------------------------------------

CLUSTER = """
import os, signal, sys, threading, time
import psutil, test_failures
from shelfmark import config, session

settings = config.load(home=sys.argv[1], overrides=[*test_failures.SMALL, "spark.master=local-cluster[2,1,1024]"])
spark = session.start(settings, "driver")

def slow(batches):
    import time
    for batch in batches:
        time.sleep(4)
        yield batch

def executors():
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "CoarseGrainedExecutorBackend" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # ended since it was listed
            pass
    return found

def shoot():
    while len(spark.sparkContext.statusTracker().getActiveJobsIds()) == 0:
        time.sleep(0.05)
    time.sleep(2)
    victim = executors()[0]
    victim.kill()
    print("killed", victim.pid, flush=True)

def between(run):
    threading.Thread(target=shoot).start()
    frame = run.spark.range(4, numPartitions=4)
    run.write("silver.taxonomy", frame.mapInArrow(slow, frame.schema).selectExpr(
        "'v1' taxonomy_version", "concat('c', id) category_id", "concat('C', id) path", "concat('C', id) name",
        "cast(null as string) parent_id", "1 depth"))

def recipe(run):
    between(run)
    test_failures.tree(run, 1)
    test_failures.seen(run, 1)

while len(executors()) < 2:
    time.sleep(0.1)
print(test_failures.publish(spark, settings, 1, recipe).status, flush=True)
"""


@pytest.mark.slow
def test_an_executor_that_dies_is_made_up_for(spark, tmp_path):
    driver = faults.drive(CLUSTER, tmp_path, tmp_path / "home")
    assert "killed" in driver.log.read_text()  # all of it: executors that end say much
    assert version_at_main(spark, config.load(home=str(tmp_path / "home"))) == 1


# -- secrets ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_secret_is_in_no_log_error_command_line_spark_setting_or_mirror(spark, remote, keys, monkeypatch):
    """The server's secret key is the planted one; the run fails once and then goes well."""
    planted = [keys.secret_key, "a-Database-Password-17"]
    monkeypatch.setenv("SHOP_DB_PASSWORD", planted[1])
    monkeypatch.setattr(lakefs, "WAITS", (0.05,) * len(lakefs.WAITS))
    settings = remote.settings
    new = version_at_main(spark, settings) + 1
    pipeline.log_to(settings, id_of(new))
    command_lines, errors = [], []

    def look(run):
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # a worker that has just ended, or a zombie
                command_lines.append(" ".join(process.cmdline()))
        remote.proxy.on("POST", r"/objects\?.*presence", faults.status(500), times=None)

    try:
        publish(spark, settings, new, pair(new, look))
    except ServiceError as error:
        errors += [str(error), repr(error.__cause__), repr(error.__context__)]
    remote.proxy.clear()
    outcome = publish(spark, settings, new)
    store = mirror.default_uri(settings.home)
    facts = {"settings": json.dumps(settings.model_dump())[:5000]}
    mirror.mirror(store, id_of(new), facts, {"rows": float(ROWS)}, {"commit": outcome.commit.id})
    conf = [f"{name}={value}" for name, value in spark.sparkContext.getConf().getAll()]
    page = spark.sparkContext._jsc.sc().statusStore().environmentInfo()
    shown = [page.sparkProperties().mkString(), page.hadoopProperties().mkString(), page.systemProperties().mkString()]
    files = [path for path in Path(settings.home).rglob("*") if path.is_file()]
    assert errors
    assert any("java" in line for line in command_lines)
    assert any(path.suffix == ".log" for path in files)
    assert any(path.name == "mlflow.db" for path in files)
    for secret in planted:
        places = {"errors": errors, "command lines": command_lines, "Spark's settings": conf, "Spark's page": shown}
        assert [place for place, texts in places.items() if any(secret in text for text in texts)] == []
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
