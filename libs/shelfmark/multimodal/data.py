"""The cache of encoded examples, and the batches a rank reads from it. No Spark and no torch here.

A cache is a folder: `encoding.json`, and `<part>/<name>.parquet` with row groups of `group_rows` rows. Parts are what is read
apart: a fold, a side of the split. Columns are those of `encode.compact`, then

row     int64          number of the row, unique in the cache: outputs of towers are joined by it
label   list<int32>    category numbers; one of them where a product has one category, null where it has none
weight  float32        weight of the row in the loss

How a global batch is the same rows on any number of ranks, though each reads only row groups of its own:

1. Of each epoch, the row groups are put in an order drawn by (seed, epoch) and dealt to `lanes`, each to the lane that has
   the fewest rows so far.
2. A lane reads its groups `window` at a time and shuffles their rows together.
3. A global batch is batch / lanes rows of every lane; rank r of R has the lanes r, r + R, ..., so R must divide the lanes.
   A lane that runs short before the others starts again from its first group: every rank has the same number of steps.

Nothing is held whole: of each lane `window` groups, decoded pictures of `AHEAD` batches.
"""

from __future__ import annotations

import json
import math
import os
import queue
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shelfmark.errors import UsageError
from shelfmark.multimodal import encode
from shelfmark.multimodal.encode import Encoding

FORMAT = 2  # of what a cache keeps
AHEAD = 3  # batches made before they are asked for
PIECES = 4  # of a lane at the least: with one or two, lanes differ much in length, and the long ones leave rows out
SCHEMA = pa.schema(
    [*encode.COMPACT.items(), ("row", pa.int64()), ("label", pa.list_(pa.int32())), ("weight", pa.float32())]
)
WRITTEN = pa.schema([("part", pa.string()), ("file", pa.string()), ("rows", pa.int64())])


FILE_GROUPS = 64  # row groups of a file: its footer has some kilobytes of each
FILES = 64  # whose footers are held: 20 MB, however many rows there are


class Group(NamedTuple):
    """A row group, or a piece of one: file, number of the group in it, rows, and the first of them in the group."""

    file: str
    number: int
    rows: int
    start: int = 0


class Cache(NamedTuple):
    """Row groups of some parts of a cache, in the order of their names."""

    folder: str
    how: Encoding
    groups: list[Group]

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.groups)


# -- writing ----------------------------------------------------------------------------------------------------------


def create(folder: Path | str, how: Encoding) -> Path:
    """An empty cache at `folder`, which is made."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "encoding.json", json.dumps(how._asdict(), indent=1).encode())
    return folder


def write(
    folder: Path | str, batches: Iterable[pa.RecordBatch], how: Encoding, group_rows: int = 256
) -> Iterator[pa.RecordBatch]:
    """Encode rows into files of a cache; yields what was written, columns `WRITTEN`, a row a file.

    Columns read: those of `encode.compact`, `row`, `label` (list<int32> or int32), `weight` (1 where absent), `part`. For
    `DataFrame.mapInArrow`: `functools.partial(write_task, folder, how=how)`. A file appears whole or not at all; a task
    that is tried again writes another, so the caller keeps the files of this answer alone (`seal`).
    """
    writers: dict[str, _Writer] = {}
    done = []
    try:
        for batch in batches:
            names = batch.column("part").to_pylist() if "part" in batch.schema.names else ["all"] * batch.num_rows
            table = _encoded(batch, how)
            parts = np.array(names)
            for part in dict.fromkeys(names):
                mine = table.filter(pa.array(parts == part)) if len(set(names)) > 1 else table
                for at in range(0, mine.num_rows, group_rows):
                    some = mine.slice(at, group_rows)
                    if part in writers and writers[part].full:
                        writer = writers[part]
                        some = pa.concat_tables([writer.rest(), some])
                        done.append((part, writer.close(), writer.rows))
                        del writers[part]
                    if part not in writers:
                        writers[part] = _Writer(Path(folder) / part, group_rows)
                    writers[part].add(some)
        done += [(part, writer.close(), writer.rows) for part, writer in writers.items()]
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    if done:
        yield pa.RecordBatch.from_arrays([pa.array(list(column)) for column in zip(*done)], schema=WRITTEN)


def seal(folder: Path | str, files: Iterable[str]) -> None:
    """Remove what is not among `files` (`WRITTEN.file`, as part/name) and mark the cache as whole."""
    folder, kept = Path(folder), set(files)
    for path in folder.glob("*/*"):
        if str(path.relative_to(folder)) not in kept:
            path.unlink()
    _replace(folder / "whole", b"")


def whole(folder: Path | str) -> bool:
    """Whether a cache was sealed: a job that was killed while it wrote one writes it again."""
    return (Path(folder) / "whole").exists()


class _Writer:
    """Row groups of exactly `group_rows` rows, the last one aside."""

    def __init__(self, folder: Path, group_rows: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{uuid.uuid4().hex}.parquet"
        self.hidden = folder / f".{self.path.name}"
        self.file = pq.ParquetWriter(self.hidden, SCHEMA, compression="zstd")
        self.group_rows, self.waiting, self.count, self.rows = group_rows, [], 0, 0

    def add(self, table: pa.Table) -> None:
        self.waiting.append(table)
        self.count += table.num_rows
        self.rows += table.num_rows
        if self.count >= self.group_rows:
            self._flush(self.count - self.count % self.group_rows)

    def _flush(self, rows: int) -> None:
        if rows:
            table = pa.concat_tables(self.waiting)
            self.file.write_table(table.slice(0, rows), row_group_size=self.group_rows)
            self.waiting, self.count = [table.slice(rows)], self.count - rows

    @property
    def full(self) -> bool:
        # What waits becomes a row group more when the file is closed.
        return self.rows - self.count >= (FILE_GROUPS - 1) * self.group_rows

    def rest(self) -> pa.Table:
        """What is not written yet; it is another file's from now on."""
        table = pa.concat_tables(self.waiting)
        self.rows -= table.num_rows
        self.waiting, self.count = [], 0
        return table

    def close(self) -> str:
        self._flush(self.count)
        self.file.close()
        os.replace(self.hidden, self.path)
        return f"{self.path.parent.name}/{self.path.name}"

    def abandon(self) -> None:
        self.file.close()
        self.hidden.unlink(missing_ok=True)


def _encoded(batch: pa.RecordBatch, how: Encoding) -> pa.Table:
    table = encode.compact(batch, how)
    label = batch.column("label")
    if not pa.types.is_list(label.type):
        n = len(label)
        missing = label.is_null().to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(~missing)]).astype(np.int32)
        label = pa.ListArray.from_arrays(
            pa.array(offsets), label.drop_null().cast(pa.int32()), mask=pa.array(missing) if n else None
        )
    weight = batch.column("weight") if "weight" in batch.schema.names else pa.array(np.ones(batch.num_rows, np.float32))
    table = table.append_column("row", batch.column("row").cast(pa.int64()))
    table = table.append_column("label", label.cast(SCHEMA.field("label").type))
    return table.append_column("weight", weight.cast(pa.float32()).fill_null(1.0)).cast(SCHEMA)


def _replace(path: Path, data: bytes) -> None:
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    hidden.write_bytes(data)
    os.replace(hidden, path)


# -- reading ----------------------------------------------------------------------------------------------------------


def open_cache(folder: Path | str, parts: Iterable[str] | None = None) -> Cache:
    """The cache, or the named parts of it. Raises `UsageError` where there is none, or a part is missing."""
    folder = Path(folder)
    if not (folder / "encoding.json").exists():
        raise UsageError(f"{folder}: no cache of examples here")
    how = Encoding(**json.loads((folder / "encoding.json").read_text()))
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if parts is None else sorted(set(parts))
    groups = []
    for name in names:
        if not (folder / name).is_dir():
            raise UsageError(f"{folder}: the cache has no part {name}")
        for path in sorted((folder / name).glob("[!.]*.parquet")):
            about = pq.read_metadata(path)
            file = str(path.relative_to(folder))
            groups += [Group(file, i, about.row_group(i).num_rows) for i in range(about.num_row_groups)]
    # Files have random names; the first row's number does not: two caches of the same rows are read in one order.
    return Cache(str(folder), how, _ordered(folder, groups))


def _ordered(folder: Path, groups: list[Group]) -> list[Group]:
    keys = {}
    for file in {one.file for one in groups}:
        about = pq.read_metadata(folder / file)
        at = next(i for i in range(about.num_columns) if about.schema.column(i).path == "row")
        for i in range(about.num_row_groups):
            keys[file, i] = about.row_group(i).column(at).statistics.min
    return sorted(groups, key=lambda one: (one.file.split("/")[0], keys[one.file, one.number]))


def steps(rows: int, batch: int) -> int:
    """Global batches of an epoch: all rows are seen, but for what lanes of unequal length leave out."""
    return math.ceil(rows / batch)


def deal(groups: list[Group], lanes: int, seed: int, epoch: int) -> list[list[Group]]:
    """The row groups of each lane in the order of an epoch; where there are few, the largest are halved first."""
    groups = list(groups)
    while len(groups) < min(PIECES * lanes, sum(one.rows for one in groups)):
        at = max(range(len(groups)), key=lambda i: groups[i].rows)
        one, half = groups[at], groups[at].rows // 2
        groups[at : at + 1] = [one._replace(rows=half), one._replace(rows=one.rows - half, start=one.start + half)]
    order = np.random.default_rng([seed, epoch]).permutation(len(groups))
    dealt: list[list[Group]] = [[] for _ in range(lanes)]
    rows = [0] * lanes
    for i in order:
        lane = int(np.argmin(rows))
        dealt[lane].append(groups[i])
        rows[lane] += groups[i].rows
    return dealt


def epoch(
    cache: Cache,
    batch: int,
    seed: int,
    number: int,
    rank: int = 0,
    ranks: int = 1,
    lanes: int = 8,
    window: int = 4,
    start: int = 0,
    modalities: tuple[str, ...] = encode.MODALITIES,
    threads: int = 2,
) -> Iterator[dict[str, Any]]:
    """A rank's batches of epoch `number`, from step `start` on: batch / ranks rows each, `steps(cache.rows, batch)` in all.

    A batch has what `encode.batch` gives, `row` int64 (n,), `weight` float32 (n,) and `label`: int32 (n, k), -1 behind the last.

    Raises `UsageError` where ranks do not divide the lanes, lanes not the batch, or there are fewer rows than lanes.
    """
    if lanes % ranks or batch % lanes:
        raise UsageError(
            f"{ranks} ranks must divide {lanes} lanes, and lanes a batch of {batch}: change multimodal.lanes"
        )
    if cache.rows < lanes:
        raise UsageError(
            f"{cache.folder}: {cache.rows} rows are too few to learn from: {lanes} at the least (multimodal.lanes)"
        )
    dealt = deal(cache.groups, lanes, seed, number)
    each = batch // lanes
    reader = _Reader(cache, modalities)
    mine = [
        _lane(reader, dealt[lane], each, [seed, number, lane], window, start * each)
        for lane in range(rank, lanes, ranks)
    ]
    todo = steps(cache.rows, batch) - start
    tables = (pa.concat_tables([next(one) for one in mine]) for _ in range(todo))
    return _made(tables, cache.how, modalities, threads)


def all_rows(
    cache: Cache,
    batch: int = 512,
    rank: int = 0,
    ranks: int = 1,
    modalities: tuple[str, ...] = encode.MODALITIES,
    threads: int = 2,
) -> Iterator[dict[str, Any]]:
    """Every row once, in the cache's order, batches as those of `epoch`: rank r has the row groups r, r + ranks, ..."""

    def tables():
        waiting: deque[pa.Table] = deque()
        reader, count = _Reader(cache, modalities), 0
        for group in cache.groups[rank::ranks]:
            waiting.append(reader.read(group))
            count += group.rows
            if count >= batch:
                yield pa.concat_tables(waiting)
                waiting.clear()
                count = 0
        if waiting:
            yield pa.concat_tables(waiting)

    return _made(tables(), cache.how, modalities, threads)


def _lane(reader, groups, each, seed, window, skip) -> Iterator[pa.Table]:
    """Tables of `each` rows without end; the first `skip` rows are passed over without being read where that can be."""
    draw, rest, passed, at = np.random.default_rng(seed), None, 0, 0
    while True:
        some = [groups[(at + k) % len(groups)] for k in range(min(window, len(groups)))]
        at += len(some)
        rows = sum(one.rows for one in some)
        order = draw.permutation(rows)
        if passed + rows <= skip:
            passed += rows
            continue
        table = pa.concat_tables([reader.read(one) for one in some])
        # One copy a window, so that a batch is a slice; what has been taken of the window is still held by it.
        table = table.combine_chunks().take(pa.array(order[max(0, skip - passed) :]))
        passed += rows
        rest = table if rest is None or not rest.num_rows else pa.concat_tables([rest, table])
        while rest.num_rows >= each:
            yield rest.slice(0, each)
            rest = rest.slice(each)


class _Reader:
    """Row groups of a cache, for one thread. The last `FILES` files stay open: to open one takes as long as to read a group."""

    def __init__(self, cache: Cache, modalities: tuple[str, ...]):
        self.folder, self.columns = Path(cache.folder), [*modalities, "row", "label", "weight"]
        self.files: dict[str, pq.ParquetFile] = {}

    def read(self, group: Group) -> pa.Table:
        file = self.files.pop(group.file, None)
        if file is None:
            if len(self.files) >= FILES:
                self.files.pop(next(iter(self.files))).close()
            path = self.folder / group.file
            file = pq.ParquetFile(path, metadata=_metadata(path))
        self.files[group.file] = file  # the last one used is the last to go
        return file.read_row_group(group.number, columns=self.columns, use_threads=False).slice(group.start, group.rows)


@lru_cache(maxsize=FILES)
def _metadata(path: Path) -> pq.FileMetaData:
    """A file's footer, read once: with thousands of row groups it takes longer to read than one of them."""
    return pq.read_metadata(path)


def _made(tables: Iterator[pa.Table], how: Encoding, modalities, threads: int) -> Iterator[dict[str, Any]]:
    pool = ThreadPoolExecutor(threads) if "picture" in modalities and threads > 1 else None

    def batches():
        try:
            for table in tables:
                out = encode.batch(table, how, modalities, pool)
                out["row"] = table.column("row").to_numpy()
                out["weight"] = table.column("weight").to_numpy()
                out["label"] = _labels(table.column("label"))
                yield out
        finally:
            if pool:
                pool.shutdown(wait=False, cancel_futures=True)

    return ahead(batches, AHEAD)


def _labels(column: pa.ChunkedArray) -> np.ndarray:
    column = pa.concat_arrays(column.chunks)
    count = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    out = np.full((len(column), max(1, int(count.max(initial=1)))), -1, np.int32)
    out[np.arange(out.shape[1]) < count[:, None]] = column.flatten().to_numpy(zero_copy_only=False)
    return out


def ahead(make: Callable[[], Iterator[Any]], depth: int) -> Iterator[Any]:
    """What `make()` yields, made in a thread up to `depth` items before it is asked for; its errors are raised here.

    The thread ends when the reader stops reading, as by `close()` of this generator.
    """
    ready: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()
    end = object()

    def put(item) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work():
        source = make()
        try:
            for item in source:
                if not put((item, None)):
                    return
            put((end, None))
        except BaseException as error:
            put((None, error))
        finally:
            source.close()

    thread = threading.Thread(target=work, daemon=True, name="shelfmark-ahead")
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stopped.set()
        thread.join(30)
