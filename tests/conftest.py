"""One Spark session and one lakeFS server for all tests, and the real feeds where they are."""

import os
from pathlib import Path

import pytest

REAL = Path(os.environ.get("SHELFMARK_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """The shared session: local[2], Delta and Spark NLP on the class path."""
    from shelfmark import config, session

    settings = config.load(home=str(tmp_path_factory.mktemp("spark")))
    started = session.start(settings, "tests")
    yield started
    started.stop()


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real feeds; skips where they are absent, fails in CI."""
    if not REAL.is_dir():
        message = f"no real feeds at {REAL}; set SHELFMARK_REAL_DATA"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return REAL


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
