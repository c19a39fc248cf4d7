"""Feed files into bronze by Spark: which files, their fingerprints, their counts, their records.

No partial file: `count_all` passes every file to its end, in tasks, with the strictness of the reader, and reports
what cannot be read before a record is written; it is called source by source, so that one broken file stops its
source alone. Should a file change between counting and reading, its task fails, and with it the one Delta commit
that would have held its records; `file_problem_of` gets the sentence back out of Spark's exception.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from shelfmark.errors import UsageError
from shelfmark.ingest import counting, readers
from shelfmark.ingest.formats import FileProblem, Format, open_raw, size_of
from shelfmark.ingest.readers import Split

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

T = TypeVar("T")

RAW_DDL = (
    "source string, file string, file_hash string, record_number bigint, line bigint, payload string, problem string"
)
"""Columns of `raw_products`: bronze.raw_products without the day and the run."""

SPLIT_BYTES = 32 << 20
"""Default size of a piece: some seconds of work, so that tasks spread evenly and their overhead does not show."""

TASKS_PER_CORE = 4
"""Tasks that many files are dealt into: enough to even out their sizes, few enough not to pay a start for each file."""


def files(patterns: str | Sequence[str], data_dir: str | Path) -> list[str]:
    """Feed files of `patterns`, each a file, a folder or a glob below `data_dir` (or absolute), sorted by name.

    Of a folder all files directly in it, hidden ones (`.x`, `_x`) left out. Raises `UsageError` for a pattern that
    finds nothing.
    """
    found: dict[str, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        path = Path(data_dir, pattern)
        if path.is_dir():
            matches = [child for child in path.iterdir() if not child.name.startswith((".", "_"))]
        elif path.exists():
            matches = [path]
        else:
            anchor = Path(path.anchor) if path.is_absolute() else Path()
            matches = list(anchor.glob(str(path.relative_to(anchor))))
        matches = sorted(str(match) for match in matches if not match.is_dir())
        if not matches:
            raise UsageError(
                f"no feed file at {path}: `files: {pattern}` is a file, a folder or a glob below {data_dir}"
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def fingerprint(path: str) -> tuple[str, int]:
    """(sha256 as hex, size in bytes) of a file as it lies there, of an archive's member unpacked. Raises `FileProblem`."""
    digest, size = hashlib.sha256(), 0
    with open_raw(path) as stream:
        while data := stream.read(1 << 20):
            digest.update(data)
            size += len(data)
    return digest.hexdigest(), size


def count_all(spark: SparkSession, paths: Sequence[str], fmt: Format) -> dict[str, int]:
    """Records of each file, counted independently of the readers, in Spark tasks.

    Raises `FileProblem` naming every file that cannot be read to its end.
    """
    return _by_task(spark, paths, lambda path: counting.count(path, fmt))


def raw_products(
    spark: SparkSession,
    tasks: Sequence[tuple[str, str]],
    fmt: Format,
    source: str,
    split_bytes: int = SPLIT_BYTES,
) -> DataFrame:
    """Records as read of `tasks`, (path, file hash) each: columns of `RAW_DDL`, a Spark task a piece of a file.

    Small files share a task, up to `split_bytes`. Positions are exact in whatever piece a record is read. Raises
    `FileProblem` where a file cannot be cut into pieces; what goes wrong in reading comes as Spark's exception, see
    `file_problem_of`.
    """
    hashes = dict(tasks)
    # To cut a large file is to pass it once; what is one piece anyway needs no task for that.
    large = [path for path in hashes if size_of(path) > split_bytes]
    pieces = {path: readers.splits(path, fmt, split_bytes) for path in hashes.keys() - set(large)}
    pieces |= _by_task(spark, large, lambda path: readers.splits(path, fmt, split_bytes))
    groups = _packed([(split, hashes[path]) for path in hashes for split in pieces[path]], split_bytes)

    def records(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                for split, file_hash in groups[index]:
                    for found in readers.read_batches(split, fmt):
                        texts = [pa.repeat(text, found.num_rows) for text in (source, split.path, file_hash)]
                        yield pa.RecordBatch.from_arrays([*texts, *found.columns], names=_RAW_NAMES)

    return spark.range(0, len(groups), 1, max(len(groups), 1)).mapInArrow(records, RAW_DDL)


_RAW_NAMES = [column.split()[0] for column in RAW_DDL.split(", ")]


def file_problem_of(error: BaseException) -> FileProblem | None:
    """The `FileProblem` that made a Spark task fail, out of the exception the driver got; None for other failures."""
    if isinstance(error, FileProblem):
        return error
    found = re.search(r"formats\.FileProblem: (.+)", str(error))
    return FileProblem(found.group(1).strip()) if found else None


def _by_task(spark: SparkSession, paths: Sequence[str], work: Callable[[str], T]) -> dict[str, T]:
    """`work(path)` for each path in Spark tasks; small results. Raises one `FileProblem` that names all files."""
    if not paths:
        return {}

    def answers(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                result, problem = None, None
                try:
                    result = pickle.dumps(work(paths[index]))
                except FileProblem as wrong:
                    problem = str(wrong)
                row = [pa.array([index], pa.int64()), pa.array([result], pa.binary()), pa.array([problem], pa.string())]
                yield pa.RecordBatch.from_arrays(row, names=["id", "result", "problem"])

    tasks = min(len(paths), TASKS_PER_CORE * spark.sparkContext.defaultParallelism)
    rows = (
        spark.range(0, len(paths), 1, tasks).mapInArrow(answers, "id bigint, result binary, problem string").collect()
    )
    rows = sorted(rows, key=lambda row: row.id)
    problems = [row.problem for row in rows if row.problem]
    if problems:
        raise FileProblem("; ".join(problems))
    return {path: pickle.loads(row.result) for path, row in zip(paths, rows)}


def _packed(pieces: list[tuple[Split, str]], split_bytes: int) -> list[list[tuple[Split, str]]]:
    """Pieces in order, in groups of one task each: a large one alone, small whole files together."""
    groups: list[list[tuple[Split, str]]] = []
    room = 0
    for split, file_hash in pieces:
        size = size_of(split.path) if split.end is None else split_bytes
        if not groups or size > room:
            groups.append([])
            room = split_bytes
        groups[-1].append((split, file_hash))
        room -= size
    return groups
