"""The scorer on Spark: candidates of all products, scored in Arrow batches. Nothing comes to the driver.

1. Spread: every product's keys (`blocking.keys`) go to the shard of the key, its record to the shard of its own hash.
2. Block: products of different sellers with an equal key are a pair; blocks over the limit are dropped, and counted.
3. Send: a pair goes to the shard of its right product, and its left record with it: once to a shard, not once a pair.
4. Score: each shard reads its records once (`features.prepare`) and scores its pairs in parts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfmark.dedup import blocking, components, features, packed, scorer

if TYPE_CHECKING:
    from pyspark.accumulators import Accumulator
    from pyspark.sql import DataFrame

    from shelfmark.config import Dedupe

log = logging.getLogger(__name__)

PAIRS = "left string, right string, score double, reasons array<string>"


class Scored(NamedTuple):
    """`pairs` (left, right, score, reasons), cached, from `propose` on, left < right; `dropped` counts blocks over the limit.

    dropped is known once the pairs were computed; a task that Spark repeats counts again.
    """

    pairs: DataFrame
    merge: float
    propose: float
    dropped: Accumulator


def scored_pairs(products: DataFrame, settings: Dedupe) -> Scored | None:
    """Pairs of products that the model thinks may be one, never those that `features.barred`; None without a model.

    `products` needs product_id, source, region and the columns of `features.COLUMNS` that it has. Raises `UsageError`
    where the model cannot be read, or the thresholds of settings and model are not in order.
    """
    from pyspark.sql import functions as F

    if settings.scorer.model is None:
        return None
    model = scorer.load(Path(settings.scorer.model))
    merge, propose = scorer.thresholds(model, settings.scorer.merge, settings.scorer.propose)
    limit = settings.scorer.block
    shards = packed.shards_of(products)
    dropped = products.sparkSession.sparkContext.accumulator(0)
    wanted = [name for name in (*features.COLUMNS, "source", "region") if name in products.columns]
    cast = {"price": "double"}
    columns = ["product_id", *(F.col(name).cast(cast[name]) if name in cast else F.col(name) for name in wanted)]

    def spread(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in packed.gather(batches, 16_384):
            ids = components.hash_ids(table["product_id"])
            key, owner, pair = blocking.keys(table, model.rarity)
            rows = pa.table({"key": key, "id": ids[owner], "pair": pair, "seller": blocking.sellers(table)[owner]})
            yield from packed.pack("key", rows, key, shards)
            if "description" in table.column_names:
                short = pc.utf8_slice_codeunits(table["description"], 0, 2 * features.DESCRIPTION)
                table = table.set_column(table.column_names.index("description"), "description", short)
            yield from packed.pack("record", table.append_column("id", pa.array(ids)), ids, shards)

    def block(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "key" not in tables:
            return
        key, owner, seller = (tables["key"][name].to_numpy() for name in ("key", "id", "seller"))
        pair = tables["key"]["pair"].to_numpy(zero_copy_only=False)
        left, right, over = blocking.expand(key, owner, pair, seller, limit)
        dropped.add(over)
        yield from packed.pack("pair", pa.table({"left": left, "right": right}), left, shards)

    def send(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "pair" not in tables:
            return
        left, right = blocking.distinct(*(tables["pair"][name].to_numpy() for name in ("left", "right")))
        yield from packed.pack("pair", pa.table({"left": left, "right": right}), right, shards)
        # Any right product of a shard addresses it: the first of each (left, shard).
        _, first = np.unique(
            np.stack([left, packed.shard_of(right, shards).astype(np.uint64)]), axis=1, return_index=True
        )
        records = tables["record"]
        at = _places(records["id"].to_numpy(), left[first])
        yield from packed.pack("left", records.take(pa.array(at)), right[first], shards)

    def score(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "pair" not in tables:
            return
        left, right = tables["pair"]["left"].to_numpy(), tables["pair"]["right"].to_numpy()
        names = tables["record"].column_names
        records = pa.concat_tables([tables["record"], tables["left"].select(names)]).combine_chunks()
        keys = records["id"].to_numpy()
        needed, first = np.unique(keys, return_index=True)
        some = np.isin(needed, np.concatenate([left, right]))
        needed, records = needed[some], records.take(pa.array(first[some]))
        read, ids = features.prepare(records, model.rarity), records["product_id"]
        i, j = np.searchsorted(needed, left), np.searchsorted(needed, right)
        for part in scorer.batches(len(i)):
            x = features.pairs(read, i[part], read, j[part])
            probability = model.score(x)
            good = np.flatnonzero((probability >= propose) & ~features.barred(x))
            one, other = ids.take(pa.array(i[part][good])), ids.take(pa.array(j[part][good]))
            swap = pc.greater(one, other)
            rows = pa.table(
                {
                    "left": pc.if_else(swap, other, one),
                    "right": pc.if_else(swap, one, other),
                    "score": probability[good],
                    "reasons": pa.array(model.decided(x[good]), pa.list_(pa.string())),
                }
            )
            yield from rows.to_batches(packed.ROWS)

    spreads = products.select(*columns).mapInArrow(spread, packed.SCHEMA)
    blocks = packed.step(spreads, block, shards, through=("record",))
    sent = packed.step(blocks, send, shards, through=("+record",))
    return Scored(packed.step(sent, score, shards, PAIRS).cache(), merge, propose, dropped)


def merging(scored: Scored | None) -> DataFrame | None:
    """The pairs from `merge` on: one product, where the rules of `survivors.resolve` agree."""
    return None if scored is None else scored.pairs.where(f"score >= {scored.merge!r}")


def proposed(scored: Scored | None, duplicates: DataFrame, decided: DataFrame) -> DataFrame:
    """silver.proposed_pairs without the run: pairs from `propose` on that are in different groups, and not decided.

    Also those from `merge` on that the rules kept apart. `duplicates` needs product_id and group_id; `decided` are the
    decisions that hold (`decisions.held`). Without a model there are none.
    """
    from pyspark.sql import functions as F

    if scored is None:
        return duplicates.sparkSession.createDataFrame(
            [], "left_product_id string, right_product_id string, score double, reasons array<string>"
        )
    pairs = scored.pairs.withColumnsRenamed({"left": "left_product_id", "right": "right_product_id"})
    keys = ["left_product_id", "right_product_id"]
    pairs = pairs.join(decided.select(*keys), keys, "left_anti")
    for key, group in zip(keys, ("one", "other")):
        names = duplicates.select(F.col("product_id").alias(key), F.col("group_id").alias(group))
        pairs = pairs.join(names, key)
    return pairs.where("one <> other").select(*keys, "score", "reasons")


def dropped(scored: Scored | None) -> int:
    """Blocks over the limit of those pairs that were computed so far."""
    return 0 if scored is None else scored.dropped.value


def together(pairs: DataFrame, *others: DataFrame | None) -> DataFrame:
    """(left, right) of all: near pairs, likely ones, decided ones. What may become one golden record is on one side of a split."""
    edges = pairs.select("left", "right")
    for other in others:
        edges = edges if other is None else edges.unionByName(other.select("left", "right"))
    return edges


def _places(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(keys)
    return order[np.searchsorted(keys, wanted, sorter=order)]
