"""A shuffle that moves Arrow blobs instead of rows.

JVM row handling is the cost of dedupe, so between two `mapInArrow` steps a partition sends each other partition a few
blobs: rows (shard, kind, blob), where a blob is an Arrow IPC stream of many records and `kind` names the table it is
of. All records of one key go to one shard, so a step sees whole groups, whatever the number of partitions.

A step is a function `tables by kind -> iterator of packed rows` (`step`); what a later step needs travels through as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from shelfmark.dedup import kernel

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SCHEMA = "shard int, kind string, blob binary"
SHARD_ROWS = 250_000  # a task then holds some hundred MB: 16 band keys and the text of so many titles, a few times
ROWS = 65_536  # records gathered before they are packed: blobs of some hundred KB, a few dozen MB held by a task

Tables = dict[str, pa.Table]


def pack(kind: str, table: pa.Table, keys: np.ndarray, shards: int) -> Iterator[pa.RecordBatch]:
    """Packed rows of `table`: record i goes to the shard of the 64-bit hash `keys[i]`."""
    order, bounds = kernel.shard_order(keys, shards)
    yield from pieces(kind, table.take(pa.array(order)), bounds)


def pieces(kind: str, table: pa.Table, bounds: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Packed rows of `table`, whose records bounds[i] to bounds[i + 1] go to shard i."""
    if not table.num_rows:
        return
    table, shards = table.combine_chunks(), len(bounds) - 1
    some = [i for i in range(shards) if bounds[i] < bounds[i + 1]]
    blobs = [blob(table.slice(bounds[i], bounds[i + 1] - bounds[i])) for i in some]
    yield rows(kind, [_shard_codes(shards)[i] for i in some], blobs)


def shard_of(keys: np.ndarray, shards: int) -> np.ndarray:
    """int64[n]: the shard of each 64-bit hash, as `kernel.shard_order` has it."""
    return (keys >> np.uint64(33)).astype(np.int64) % shards


def rows(kind: str, codes: list[int], blobs: list | pa.Array) -> pa.RecordBatch:
    blobs = blobs if isinstance(blobs, pa.Array) else pa.array(blobs, pa.binary())
    return pa.RecordBatch.from_arrays(
        [pa.array(codes, pa.int32()), pa.array([kind] * len(codes), pa.string()), blobs], ["shard", "kind", "blob"]
    )


def raw(kind: str, data: np.ndarray, bounds: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Packed rows of bytes (uint8) of another form than tables: data[bounds[i]:bounds[i + 1]] goes to shard i."""
    some = np.flatnonzero(bounds[1:] > bounds[:-1])
    if not len(some):
        return
    shards = len(bounds) - 1
    offsets = np.append(bounds[some], bounds[-1]).astype(
        np.int32
    )  # empty ones lie between the others and have no bytes
    blobs = pa.Array.from_buffers(pa.binary(), len(some), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    yield rows(kind, [_shard_codes(shards)[i] for i in some], blobs)


def blob(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def unpack(blobs: list) -> pa.Table:
    """One table of all blobs of a kind."""
    return pa.concat_tables([pa.ipc.open_stream(one).read_all() for one in blobs]).combine_chunks()


def gather(batches: Iterable[pa.RecordBatch], size: int = ROWS) -> Iterator[pa.Table]:
    """Batches put together to tables of at least `size` records."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        if count >= size:
            yield pa.Table.from_batches(held).combine_chunks()
            held, count = [], 0
    if count:
        yield pa.Table.from_batches(held).combine_chunks()


def step(
    packed: DataFrame,
    function: Callable[[Tables], Iterator[pa.RecordBatch]],
    shards: int,
    schema: str = SCHEMA,
    through: tuple[str, ...] = (),
    raws: tuple[str, ...] = (),
) -> DataFrame:
    """Bring the blobs of a shard together and apply `function` to its tables; kinds in `through` pass as they are.

    `function` gets the tables of the kinds that arrived, whole: a shard has to fit a worker's memory, and a text
    column of it the 2 GB of an Arrow string array; more shards make it smaller. A kind in `through` is given to
    `function` too only if it is named `+kind`; of a kind in `raws` it gets the list of blobs.
    """
    passed = {kind.lstrip("+") for kind in through}
    shown = {kind[1:] for kind in through if kind.startswith("+")}

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        blobs: dict[str, list] = {}
        for batch in batches:
            kinds = batch.column("kind").to_pylist()
            for kind, one in zip(kinds, batch.column("blob")):
                if kind not in passed or kind in shown:
                    blobs.setdefault(kind, []).append(one.as_buffer())
            if passed:
                keep = pa.array([kind in passed for kind in kinds])
                yield batch.filter(keep)
        if blobs:
            yield from function({kind: some if kind in raws else unpack(some) for kind, some in blobs.items()})

    return packed.repartition(shards, "shard").mapInArrow(run, schema)


_counted: WeakKeyDictionary[DataFrame, int] = WeakKeyDictionary()


def count(frame: DataFrame) -> int:
    """Rows of `frame`, counted once for all that ask for them; of a Delta table no file is read for it."""
    if frame not in _counted:
        _counted[frame] = frame.count()
    return _counted[frame]


def shards_of(frame: DataFrame) -> int:
    """How many shards the rows of `frame` are worth: `SHARD_ROWS` each, and at least one for every core."""
    return max(frame.sparkSession.sparkContext.defaultParallelism, -(-count(frame) // SHARD_ROWS))


@lru_cache
def _shard_codes(shards: int) -> tuple[int, ...]:
    """For each partition p the smallest int >= 0 that Spark's hash partitioning sends to p, so that shards are even."""
    codes: dict[int, int] = {}
    value = 0
    while len(codes) < shards:
        codes.setdefault(_spark_hash(value) % shards, value)
        value += 1
    return tuple(codes[p] for p in range(shards))


def _spark_hash(value: int) -> int:
    """Spark's `hash` of one int: MurmurHash3 x86 32 with seed 42, as a signed int."""
    mask = 0xFFFFFFFF

    def rotate(x: int, r: int) -> int:
        return ((x << r) | (x >> (32 - r))) & mask

    k = rotate((value & mask) * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask
    h = (rotate(42 ^ k, 13) * 5 + 0xE6546B64) & mask
    h ^= 4  # length in bytes
    h = (h ^ (h >> 16)) * 0x85EBCA6B & mask
    h = (h ^ (h >> 13)) * 0xC2B2AE35 & mask
    h ^= h >> 16
    return h - (1 << 32) if h >> 31 else h
