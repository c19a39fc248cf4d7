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

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SCHEMA = "shard int, kind string, blob binary"
ROWS = 65_536  # records gathered before they are packed: blobs of some hundred KB, a few dozen MB held by a task

Tables = dict[str, pa.Table]


def pack(kind: str, table: pa.Table, keys: np.ndarray, shards: int) -> Iterator[pa.RecordBatch]:
    """Packed rows of `table`: record i goes to the shard of the 64-bit hash `keys[i]`."""
    if not table.num_rows:
        return
    shard = shard_of(keys, shards)
    order = np.argsort(shard, kind="stable")
    bounds = np.searchsorted(shard[order], np.arange(shards + 1))
    table = table.take(pa.array(order)).combine_chunks()
    codes, blobs = [], []
    for i in range(shards):
        if bounds[i] < bounds[i + 1]:
            codes.append(_shard_codes(shards)[i])
            blobs.append(blob(table.slice(bounds[i], bounds[i + 1] - bounds[i])))
    yield rows(kind, codes, blobs)


def shard_of(keys: np.ndarray, shards: int) -> np.ndarray:
    """int64[n]: the shard of each 64-bit hash."""
    return (keys >> np.uint64(33)).astype(np.int64) % shards  # not the low bits: they may order the keys


def rows(kind: str, codes: list[int], blobs: list) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(codes, pa.int32()), pa.array([kind] * len(codes), pa.string()), pa.array(blobs, pa.binary())],
        ["shard", "kind", "blob"],
    )


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
) -> DataFrame:
    """Bring the blobs of a shard together and apply `function` to its tables; kinds in `through` pass as they are.

    `function` gets the tables of the kinds that arrived, whole: a shard has to fit a worker's memory, and a text
    column of it the 2 GB of an Arrow string array; more shards make it smaller. A kind in `through` is given to
    `function` too only if it is named `+kind`.
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
            yield from function({kind: unpack(some) for kind, some in blobs.items()})

    return packed.repartition(shards, "shard").mapInArrow(run, schema)


def shuffle_shards(frame: DataFrame) -> int:
    """How many shards: the session's shuffle partitions."""
    return int(frame.sparkSession.conf.get("spark.sql.shuffle.partitions"))


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
