"""All tests but the nightly ones, in two runs of pytest side by side: `make test`.

A test of small tables waits for Spark's driver, which is one thread: two sessions use two cores. What is in `BESIDE` runs
beside all the rest; its report follows that of the rest. A machine with one core, or little memory, takes one after
the other. Arguments go to both.
"""

import os
import subprocess
import sys
import tempfile

# About half of the work; what uses `demo_home` is together in the rest, so that there is one pipeline of it.
BESIDE = (
    "tests/dedup",
    "tests/ensemble",
    "tests/images",
    "tests/ingest",
    "tests/labels",
    "tests/metrics",
    "tests/quality",
    "tests/taxonomy",
    "tests/text",
    "tests/lake",
    "tests/test_cli.py",
    "tests/test_cli_lake.py",
    "tests/test_failures.py",
    "tests/test_migrations.py",
    "tests/test_older_lakes.py",
    "tests/test_run.py",
    "tests/test_wheel.py",
)
NEEDED = 12 << 30  # two sessions of 3 GB of heap, their Python workers, and what tests start beside them


def main(arguments: list[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "-m", "not nightly", *arguments]
    rest = [*pytest, *(f"--ignore={path}" for path in BESIDE)]
    beside = [*pytest, *BESIDE, "-o", "cache_dir=.pytest_cache/beside"]
    if (os.cpu_count() or 1) < 2 or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") < NEEDED:
        ended = [subprocess.run(command, check=False).returncode for command in (rest, beside)]
    else:
        ended = _together(rest, beside)
    return 1 if any(ended) else 0


def _together(rest: list[str], beside: list[str]) -> list[int]:
    """How the two ended; what `beside` said is printed at the end."""
    with tempfile.TemporaryFile() as said:
        other = subprocess.Popen(beside, stdout=said, stderr=subprocess.STDOUT)
        try:
            ended = [subprocess.run(rest, check=False).returncode, other.wait()]
        except KeyboardInterrupt:  # of which both have heard
            ended = [2, other.wait()]
        said.seek(0)
        sys.stdout.buffer.write(said.read())
    return ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
