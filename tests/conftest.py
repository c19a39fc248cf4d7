"""One Spark session and one lakeFS server for all tests, and the real feeds where they are."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

REAL = Path(os.environ.get("SHELFMARK_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")

# A test has many plans and few rows. To write Java code for each plan and compile it costs more than to interpret it: it
# gives the same rows. Two partitions tell as much of a shuffle as eight. Commands in processes of their own run as users
# run them: test_cluster.py compares all tables of a pipeline of both kinds.
QUICK = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "2",
}


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """The shared session: local[2], Delta and Spark NLP on the class path, quick at tables of a few rows."""
    from shelfmark import config, session

    settings = config.load(home=str(tmp_path_factory.mktemp("spark")), spark={"options": QUICK})
    started = session.start(settings, "tests")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def unchecked(request):
    """In `make test`, runs without the suites of their tables: for tests of many runs that are about something else.

    Suites are half of a small run. Tests of quality, runs and the pipeline have them, and so has every test of
    `make nightly` or of a pytest called by hand. No module that has this makes `demo_home`.
    """
    from shelfmark.run import Run

    with pytest.MonkeyPatch.context() as patch:
        if request.config.option.markexpr == "not nightly":
            patch.setattr(Run, "validate", lambda run: [])
        yield


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real feeds; skips where they are absent, fails in CI."""
    if not REAL.is_dir():
        message = f"no real feeds at {REAL}; set SHELFMARK_REAL_DATA"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return REAL


class PostgresServer:
    """A PostgreSQL of its own in a folder, on a free port of 127.0.0.1, run by an ordinary user."""

    def __init__(self, programs, folder):
        self.programs, self.folder, self.process = Path(programs), Path(folder), None
        self.data, self.password = self.folder / "data", "first-Secret-9"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"jdbc:postgresql://127.0.0.1:{self.port}/postgres"
        # The server refuses to be root: then it is the user that Debian's package made, or nobody.
        self.user = {}
        if os.geteuid() == 0:
            names = [entry.pw_name for entry in pwd.getpwall()]
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self.user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        command = [self.programs / "initdb", "-D", self.data, "-U", "shop", "-A", "scram-sha-256", "--pwfile", secret]
        subprocess.run([*command, "-E", "UTF8", "--locale=C.UTF-8", "-N"], check=True, capture_output=True, **self.user)

    def start(self):
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
        }
        command = [self.programs / "postgres", "-D", self.data]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self.user)
        for _ in range(300):
            try:
                self.execute("SELECT 1")
                return
            except Exception:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.1)
        raise TimeoutError((self.folder / "log").read_text())

    def stop(self):
        """At once, as a machine that loses power."""
        if self.process is not None:
            self.process.send_signal(3)  # SIGQUIT
            self.process.wait(30)
            self.process = None

    def connect(self):
        import psycopg

        about = {"host": "127.0.0.1", "port": self.port, "dbname": "postgres", "user": "shop"}
        return psycopg.connect(**about, password=self.password, autocommit=True, connect_timeout=5)

    def execute(self, *statements):
        """Run statements; the rows of the last one, where it has some."""
        with self.connect() as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def postgres_server():
    """A running PostgreSQL; skips where the server's programs are missing, fails in CI."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    folders = [folder for folder in folders if (folder / "initdb").exists()]
    if not folders:
        message = "no PostgreSQL server here; install Debian's package postgresql, or put initdb on PATH"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    folder = tempfile.mkdtemp(prefix="shelfmark-postgres-")
    server = PostgresServer(folders[-1], folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def lakefs_program():
    """The lakeFS server program; skips where there is none to be had, fails in CI."""
    from shelfmark.errors import ServiceError
    from shelfmark.lake import server

    try:
        return server.binary()
    except ServiceError as error:
        pytest.fail(str(error)) if os.environ.get("CI") else pytest.skip(str(error))


@pytest.fixture(scope="session")
def lakefs_server(lakefs_program, tmp_path_factory):
    """One lakeFS server for all tests: endpoint, access_key, secret_key. Tests make repositories of their own."""
    from shelfmark.lake import server

    home = tmp_path_factory.mktemp("lakefs-home")
    server.up(home, str(lakefs_program))
    yield server.credentials(home)
    server.down(home)


@pytest.fixture(scope="session")
def demo_feeds(tmp_path_factory):
    """Folder of a small demo catalogue with its truth/."""
    from shelfmark import demo

    out = tmp_path_factory.mktemp("demo") / "feeds"
    demo.generate(2_000, 7, out, pictures=False)
    return out


@pytest.fixture(scope="session")
def demo_settings(demo_feeds, tmp_path_factory):
    """Settings of a pipeline over `demo_feeds`, as `make run` makes them."""
    from shelfmark import config

    home = tmp_path_factory.mktemp("demo-home")
    # A tenth of a small catalogue is tested: with three rows a class some classes have figures of their own.
    overrides = [f"taxonomy={demo_feeds}/taxonomy.csv", f"taxonomy_maps={demo_feeds}/taxonomy", "metrics.min_support=3"]
    return config.load("demo", overrides, home=str(home), data=str(demo_feeds))


@pytest.fixture(scope="session")
def demo_home(spark, demo_settings):
    """Home of a lake after one pipeline over the small demo catalogue."""
    from rich.console import Console

    from shelfmark import pipeline

    with open(Path(demo_settings.home) / "console.txt", "w") as screen:
        assert pipeline.run(demo_settings, Console(file=screen, width=120), "20260101-demo", None, force=False) == 0
    return Path(demo_settings.home)
