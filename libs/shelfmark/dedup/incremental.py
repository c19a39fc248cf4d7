"""What a dedupe run has to look at: all products, or those that changed and whose groups they may change.

A group of silver.leak_groups is a closed world: no near pair, GTIN, decision or golden record reaches over its edge. So a
run needs to do only the groups that a change touches, and leaves the rows of all others as they are:

1. Changed products: rows of silver.products in files that the last run did not read, compared by content.
2. Who they touch, by one pass over silver.lsh_index (`index.probe`): products of a title, or of an identity value that is
   or was evidence, and titles whose candidate edges differ because a title joined or left their bucket.
3. The part: the leak groups of all those, whole, and the new products.
4. What stands around it (`index.around`): a bucket's smallest titles may be others', and a value be on too many titles.

The verbs of the full run on the part then give the rows of the full run, to the last one: tests/dedup/test_incremental.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from shelfmark.dedup import decisions, groups, index, kernel, packed
from shelfmark.lake import NotFound, diff
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from shelfmark.run import Run

INPUTS = ("silver.products", "silver.presence", "silver.match_decisions")
"""Tables that may differ from what the last run read; of presence only first_seen counts, which never changes."""

FEW = 100_000
"""Products up to which a run over all is no slower: what finds the part is some dozens of small Spark jobs."""

SHARE = 0.1
"""Share of the products that may have changed, and three times that may be concerned: above, all are done anew."""

PART = 500_000
"""Products of a part: their band keys, 130 bytes a product, are sent to every executor."""

WORN = 0.2
"""How many products the index may hold that are gone, as a share of those that are there; past that it is made anew."""


class TooMuch(Exception):
    """All products are to be done; says why."""


@dataclass(frozen=True)
class Part:
    """Products to do, with what is known of them.

    `products`: their rows of silver.products. `before`: those of silver.duplicates, also of products that are gone;
    `presence`: at least those of products that groups of `before` are named after. Where `products` are not all: `gone`,
    the product_ids whose rows are replaced; `around`, see `index.around`; `names`, group_ids of other groups that are
    product_ids of these; `segment`, what the run adds to silver.lsh_index, None where it is to be made anew; `largest`,
    products of the largest leak group before, 0 where it was one of these; `idle`, whether there is nothing to do.
    """

    run: Run
    why: str
    products: DataFrame
    before: DataFrame
    presence: DataFrame
    gone: DataFrame | None = None
    around: index.Around | None = None
    names: DataFrame | None = None
    segment: DataFrame | None = None
    largest: int = 0
    idle: bool = False

    _pool: ThreadPoolExecutor = field(default_factory=ThreadPoolExecutor)
    _writing: list[Future] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return self.gone is None

    def __enter__(self) -> Part:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        """Wait for what is being written; the first failure is raised, unless there was one before."""
        self._pool.shutdown()
        if failed is None:
            for one in self._writing:
                one.result()

    def write(self, name: str, df: DataFrame) -> None:
        """Write the part's rows of a table, in the place of those of before; nothing where nothing changed.

        Of a part several tables are written side by side: small Spark jobs, whose time is latency.
        """
        if self.whole:
            self.run.write(name, df)
        elif not self.idle:
            gone = self.before.select("group_id").distinct() if "group_id" in table(name).keys else self.gone
            self._writing.append(self._pool.submit(self.run.swap, name, gone, df))

    def grouped(self, found: DataFrame) -> DataFrame:
        """The part's rows of silver.duplicates, `found`; as written where they are all."""
        return self.run.read("silver.duplicates") if self.whole else found

    def remember(self) -> None:
        """Write to silver.lsh_index what the next run needs to know."""
        if self.segment is not None:
            self.run.write("silver.lsh_index", self.segment, append=True)
        else:
            every = index.rows(self.run.read("silver.products"), self.run.settings.dedupe)
            self.run.write("silver.lsh_index", _stamped(self.run, every, 0))

    def largest_group(self) -> int:
        """Products of the largest leak group, after they were written."""
        every = self.run.read("silver.leak_groups")
        if self.whole or self.largest == 0:
            largest = groups.group_sizes(every).head()
            return largest.size if largest else 0
        from pyspark.sql import functions as F

        mine = every.join(F.broadcast(self.products.select("product_id")), "product_id", "left_semi")
        largest = groups.group_sizes(mine).head()
        return max(self.largest, largest.size if largest else 0)


def part_of(run: Run) -> Part:
    """The part that this run has to do, all products where that is no dearer or cannot be told; the log says why."""
    try:
        found = _part(run)
    except (TooMuch, index.TooMany) as reason:
        why = str(reason) or "too many products share a title, value or bucket with what changed"
        found = Part(run, why, run.read("silver.products"), run.read("silver.duplicates"), run.read("silver.presence"))
    run.note(scope="all" if found.whole else "changed", scope_because=found.why)
    return found


def _obstacle(run: Run) -> str | None:
    """Why nothing can be told from the run before."""
    if run.since is None:
        return "the first run, or forced"
    if run.settings.dedupe.scorer.model is not None:
        return "a scorer compares all"
    expected = {folder for name in INPUTS for folder in table(name).folders}
    if other := [what for what in run.since.changed if what not in expected]:
        return "changed: " + ", ".join(other)
    if not run.has("silver.lsh_index") or run.read("silver.lsh_index").select("segment").isEmpty():
        return "no silver.lsh_index yet"
    return None


def _part(run: Run) -> Part:
    from pyspark.sql import functions as F

    if obstacle := _obstacle(run):
        raise TooMuch(obstacle)
    settings, last = run.settings.dedupe, run.since.last.metadata
    products = run.read("silver.products")
    total = packed.count(products)
    if total <= FEW:
        raise TooMuch(f"{total:,} products are few")
    fresh, left = changed_products(run, last["input_commit"], total)
    known = run.read("silver.lsh_index")
    gone = index.gone(known)
    added = index.rows(fresh, settings)
    decided = _hashes(_decided_anew(run, last["input_commit"], fresh))
    concerned = _concerned(known, gone, index.collected(added), left, decided)

    old = _leak_groups_of(run, concerned)
    size = old.count() + fresh.count()
    if size > min(PART, max(3 * SHARE * total, 1000)):
        raise TooMuch(f"{size:,} of {total:,} products are in groups with what changed")
    old_ids = old.select("product_id")
    ids = old_ids.union(fresh.select("product_id")).distinct().localCheckpoint()
    # Brought together: a row here and there of a scan's many partitions would be as many small files.
    part = (
        products.join(F.broadcast(ids), "product_id", "left_semi").repartition(packed.shards_of(ids)).localCheckpoint()
    )
    run.parts["silver.products"] = part
    now = index.collected(index.rows(part, settings))

    duplicates = run.read("silver.duplicates")
    before = duplicates.join(F.broadcast(old_ids), "product_id", "left_semi").localCheckpoint()
    named = F.broadcast(ids.withColumnRenamed("product_id", "group_id"))
    names = duplicates.where("group_id <> product_id").join(named, "group_id", "left_semi")
    names = names.join(F.broadcast(old_ids), "product_id", "left_anti").select("group_id").distinct()
    namesakes = before.select(F.col("group_id").alias("product_id")).distinct()

    if len(left):
        added = added.unionByName(index.gone_row(run.spark, left))
    segment = (known.agg(F.max("segment")).head()[0] or 0) + 1
    held = known.where("kind = 'products'").agg(F.sum("products")).head()[0] + fresh.count()
    worn = held - total > WORN * total
    largest, mine = last.get("notes", {}).get("largest_leak_group", 0), groups.group_sizes(old).head()
    changed = len(np.union1d(_hashes(fresh), left))
    return Part(
        run,
        f"{changed:,} products changed, {size:,} of {total:,} are in groups with them",
        part,
        before,
        run.read("silver.presence").join(F.broadcast(namesakes), "product_id", "left_semi"),
        ids,
        index.around(known, gone, now, _hashes(old_ids), packed.shards_of(part)),
        names,
        None if worn else _stamped(run, added, segment),
        0 if mine and mine.size >= largest else largest,
        not size,
    )


def _concerned(
    known: DataFrame, gone: index.Gone, added: index.Known, left: np.ndarray, decided: np.ndarray
) -> np.ndarray:
    """Products (hashes) whose leak groups are to be done: what changed or was decided, and what it touches (`affected`)."""
    removed = index.probe(known, gone, left) if len(left) else index.nothing()
    maybe = np.setxor1d(_real(added.title), _real(removed.title))
    coming, going = np.isin(added.holders, maybe), np.isin(removed.holders, maybe)
    touched = index.probe(
        known,
        gone,
        np.concatenate([left, decided]),
        np.union1d(_real(added.title), _real(removed.title)),
        np.union1d(_real(added.values), _real(removed.values)),
        np.concatenate([added.keys[coming], removed.keys[going]]),
    )
    fresh = added.keys[coming], added.holders[coming]
    return np.unique(np.concatenate([left, decided, affected(touched, added, left, maybe, fresh)]))


def _leak_groups_of(run: Run, products: np.ndarray) -> DataFrame:
    """(product_id, leak_group) of the leak groups, whole, that any of the products (hashes) is in; kept."""
    from pyspark.sql import functions as F

    leak = run.read("silver.leak_groups").select("product_id", "leak_group")
    hashes = F.broadcast(_frame(run.spark, products))
    named = leak.join(hashes, F.xxhash64("product_id") == F.col("hash"), "left_semi").select("leak_group").distinct()
    return leak.join(F.broadcast(named), "leak_group", "left_semi").localCheckpoint()


def changed_products(run: Run, before: str, total: int) -> tuple[DataFrame, np.ndarray]:
    """(rows of silver.products that are new or other than at commit `before`, hashes of the products that changed or went)."""
    from pyspark.sql import functions as F

    pruned = "the tables of the last run are pruned"
    kept = datetime.now(UTC) - timedelta(days=run.settings.retention.history_days)
    if datetime.fromisoformat(run.since.last.time) < kept:  # lakeFS keeps the commit, and may not have its files
        raise TooMuch(pruned)
    try:
        old, new = diff.replaced(run.spark, run.lake, before, run.branch, table("silver.products"))
    except NotFound:
        raise TooMuch(pruned) from None
    limit = min(PART, max(int(SHARE * total), 1000))
    if new is None:
        new = run.read("silver.products").limit(0)
    if old is None:
        if (count := new.count()) > limit:
            raise TooMuch(f"{count:,} of {total:,} products changed")
        return _together(new), np.empty(0, np.uint64)
    sides = [side.select(F.xxhash64("product_id").alias("product"), _content().alias("content")) for side in (old, new)]
    both = sides[0].withColumn("new", F.lit(False)).union(sides[1].withColumn("new", F.lit(True)))
    shards = max(run.spark.sparkContext.defaultParallelism, -(-total // packed.SHARD_ROWS))
    found = _differences(both, shards, limit)
    fresh = new.join(
        F.broadcast(_frame(run.spark, found[True])), F.xxhash64("product_id") == F.col("hash"), "left_semi"
    )
    return _together(fresh), found[False]


def _together(few: DataFrame) -> DataFrame:
    """Few rows of many partitions, kept in as many as there are cores."""
    return few.repartition(few.sparkSession.sparkContext.defaultParallelism).localCheckpoint()


def _content() -> Column:
    """A hash of all that dedupe reads of a product; nulls count, which a hash of columns passes over."""
    from pyspark.sql import functions as F

    beside = ("source", "image_id", "source_updated_at")
    told = [part for name in beside for part in (F.col(name), F.col(name).isNull())]
    return F.xxhash64("content_hash", *told)


def _differences(both: DataFrame, shards: int, limit: int) -> dict[bool, np.ndarray]:
    """Hashes of products whose content is not equal on both sides: {True: as they are new, False: as they were}."""

    def spread(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in packed.gather(batches):
            keys = rows["product"].to_numpy().view(np.uint64)
            yield from packed.pack("row", rows, keys, shards)

    def compare(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        rows = tables["row"]
        product, content = (rows[name].to_numpy().view(np.uint64) for name in ("product", "content"))
        new = rows["new"].to_numpy(zero_copy_only=False)
        # Equal rows of both sides cancel out.
        order = np.lexsort((new, content, product))
        product, content, new = product[order], content[order], new[order]
        pairs = np.flatnonzero((product[1:] == product[:-1]) & (content[1:] == content[:-1]) & (new[1:] != new[:-1]))
        differs = np.ones(len(product), np.bool_)
        differs[pairs] = differs[pairs + 1] = False
        for kind, some in (("new", product[differs & new]), ("old", product[differs & ~new])):
            some = np.unique(some)
            if len(some) > limit:
                yield packed.rows("over", [0], [b""])
            elif len(some):
                yield packed.rows(kind, [0], [some.tobytes()])

    found = packed.step(both.mapInArrow(spread, packed.SCHEMA), compare, shards).collect()
    sides = {
        new: np.concatenate(
            [np.empty(0, np.uint64), *(np.frombuffer(r.blob, np.uint64) for r in found if r.kind == kind)]
        )
        for new, kind in ((True, "new"), (False, "old"))
    }
    if max(map(len, sides.values())) > limit or any(row.kind == "over" for row in found):
        raise TooMuch(f"more than {limit:,} products changed")
    return sides


def affected(
    touched: index.Known,
    added: index.Known,
    left: np.ndarray,
    maybe: np.ndarray,
    fresh: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Products (hashes, of `touched`) with an edge that is no more, or new, to whatever changed.

    `touched`: what the index has of all concerned, before. `added`: the products as they are new. `left`: hashes of
    those that changed or went. `maybe`: titles that only one side has; `fresh` the (key, title) of those that are new.
    """
    stays = ~np.isin(touched.product, left)
    before = np.isin(maybe, touched.title)
    after = np.isin(maybe, touched.title[stays]) | np.isin(maybe, added.title)
    coming, going = maybe[after & ~before], maybe[before & ~after]
    titles = np.union1d(_real(added.title), touched.title[~stays])
    ends = changed_ends(touched.keys, touched.holders, *fresh, coming, going)
    mine = np.isin(touched.title, np.union1d(_real(titles), ends))
    values = _evidence(touched, added, stays)
    mine |= np.isin(touched.values, values).any(axis=1)
    return touched.product[mine]


def changed_ends(
    keys: np.ndarray,
    holders: np.ndarray,
    new_keys: np.ndarray,
    new_holders: np.ndarray,
    coming: np.ndarray,
    going: np.ndarray,
) -> np.ndarray:
    """Titles with a candidate edge that only one side has, when titles come to and go from their buckets.

    `keys` and `holders` are (band key, title) of the buckets before, complete, `new_keys` and `new_holders` those of
    titles that may come.
    """
    moved = np.concatenate([keys[np.isin(holders, going)], new_keys[np.isin(new_holders, coming)]])
    some = np.isin(keys, moved)
    before = keys[some], holders[some]
    stay, come = ~np.isin(before[1], going), np.isin(new_holders, coming)
    after = np.append(before[0][stay], new_keys[come]), np.append(before[1][stay], new_holders[come])
    sides = [_edges(*before), _edges(*after)]
    left, right = (np.concatenate(some) for some in zip(*sides))
    left, right, count = kernel.tally(left, right)
    return np.unique(np.concatenate([left[count == 1], right[count == 1]]))


def _edges(keys: np.ndarray, holders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct candidate edges of (band key, title)."""
    left, right = kernel.star_edges(*kernel.halves(keys), np.arange(len(keys), dtype=np.uint32), holders)
    left, right, _ = kernel.tally(left, right)
    return left, right


def _evidence(touched: index.Known, added: index.Known, stays: np.ndarray) -> np.ndarray:
    """Identity values of products that changed that link products, before or after."""
    concerned = np.union1d(_real(added.values), _real(touched.values[~stays]))
    found = []
    for side in (
        ((touched.values, touched.title),),
        ((touched.values[stays], touched.title[stays]), (added.values, added.title)),
    ):
        value = np.concatenate([values.ravel() for values, _ in side])
        title = np.concatenate([np.repeat(titles, values.shape[1]) for values, titles in side])
        some = np.isin(value, concerned)
        value, title = value[some], title[some]
        names, count = np.unique(value, return_counts=True)
        distinct = np.unique(np.stack([value, title], axis=1), axis=0)[:, 0]
        _, titles = np.unique(distinct, return_counts=True)
        found.append(names[(count > 1) & (titles <= groups.MAX_TITLES)])
    return np.union1d(*found)


def _decided_anew(run: Run, before: str, fresh: DataFrame) -> DataFrame:
    """product_id of what a steward's word is about that was another before, or that is on a product of `fresh`."""
    from pyspark.sql import functions as F

    from shelfmark.run import read_at

    now = decisions.constraints(decisions.known(decisions.held(run.read("silver.match_decisions"))))
    rows = read_at(run.spark, run.lake, before, "silver.match_decisions")
    was = decisions.constraints(decisions.known(decisions.held(rows)))
    differ = {product for product in now.keys() | was.keys() if now.get(product) != was.get(product)}
    named = run.spark.createDataFrame([(product,) for product in sorted(now)], "product_id string")
    back = {
        now[row.product_id][0] for row in fresh.select("product_id").join(F.broadcast(named), "product_id").collect()
    }
    differ |= {product for product, (one, _) in now.items() if one in back}
    return run.spark.createDataFrame([(product,) for product in sorted(differ)], "product_id string")


def _hashes(ids: DataFrame) -> np.ndarray:
    from pyspark.sql import functions as F

    hashed = ids.select(F.xxhash64("product_id").alias("hash")).toPandas()["hash"]
    return hashed.to_numpy(np.int64).view(np.uint64)


def _frame(spark: SparkSession, hashes: np.ndarray) -> DataFrame:
    import pandas as pd

    return spark.createDataFrame(pd.DataFrame({"hash": hashes.view(np.int64)}), "hash long")


def _real(hashes: np.ndarray) -> np.ndarray:
    """Distinct hashes without 0, which is none."""
    hashes = np.unique(hashes)
    return hashes[hashes > 0]


def _stamped(run: Run, stored: DataFrame, segment: int) -> DataFrame:
    from pyspark.sql import functions as F

    own = [F.lit(segment).alias("segment"), F.monotonically_increasing_id().alias("part")]
    return stored.select(*own, "*", F.lit(run.run_id).alias("run_id"))
