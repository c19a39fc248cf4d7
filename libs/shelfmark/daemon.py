"""What executors start to fork their Python workers: PySpark's own daemon, with less to do between two tasks.

A task of PySpark 3.5 costs 130 ms beside its work. Most is `importlib.invalidate_caches()` at its start, which reads the
directories of pyspark.zip and of Spark's core jar, both on the path of Python, a dozen times: the package is taken from
where pip installed it, if it is there. The rest is the garbage collection at its end, over all that modules are
made of: what most tasks need is imported before the forks, once instead of once a worker, and frozen.
"""

from __future__ import annotations

import gc
import re
import sys
from importlib.machinery import PathFinder

ARCHIVES = re.compile(r"(pyspark\.zip|py4j-[^/]*-src\.zip|spark-core_[^/]*\.jar)$")


def without_archives(path: list[str]) -> list[str]:
    """`path` without Spark's archives, where the rest of it holds the packages they hold; else as it is."""
    rest = [entry for entry in path if not ARCHIVES.search(entry)]
    return rest if all(PathFinder.find_spec(name, rest) for name in ("pyspark", "py4j")) else path


def main() -> None:
    sys.path[:] = without_archives(sys.path)
    for entry in set(sys.path_importer_cache) - set(sys.path):
        if ARCHIVES.search(entry):
            del sys.path_importer_cache[entry]

    import pandas  # noqa: F401
    import pyarrow.compute  # noqa: F401
    import pyspark.daemon
    import pyspark.sql.pandas.serializers

    from shelfmark.dedup import candidates, components, groups, survivors  # noqa: F401

    gc.collect()
    gc.freeze()
    pyspark.daemon.manager()


if __name__ == "__main__":
    main()
