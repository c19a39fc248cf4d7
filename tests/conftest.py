"""One Spark session for all tests, and the real feeds where they are."""

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
