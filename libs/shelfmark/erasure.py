"""The verbs of an erasure: products, or all of a source, removed from every table and, if asked, from history.

1. `targets`: which products, and which bronze records any of them was ever made of (by the mapping in force).
2. `steps`: per table folder, the rows to delete or to empty; of pictures those that no other product shows. Bronze and
   refused records of single products stay as empty rows (`problem` erased), so that the books of their files balance; of a
   source everything goes.
3. `apply`, `clear`: deletes them on the branch, then VACUUM and a log that begins anew, because Delta's log quotes
   values too; and what sources left where their pages land.
4. `mend`: groups of duplicates that lost a member are resolved again among the rest; golden records follow.
5. `record`: silver.erasures says what was done and keeps nothing of what was erased; silver.suppressed holds hashes
   of product ids, by which ingest refuses the products when a feed brings them again.
6. `forget`: history before a date is pruned; what a tag or a reader keeps is named.

Models hold weights of hashed n-grams and category ids, no text of a product. leak_group, variant_group_id and what
silver.duplicate_events says of other products are hashes as product ids are, and may stay until the next dedupe.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfmark import migrations, upkeep
from shelfmark.errors import DataRefused, UsageError
from shelfmark.ingest import api
from shelfmark.ingest.suppressed import ERASED, key_hash
from shelfmark.lake import NotFound
from shelfmark.lake.diff import table_of
from shelfmark.tables import TABLES, table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from shelfmark.config import Settings
    from shelfmark.lake import Commit, Lake
    from shelfmark.run import Run

PRODUCT_ID = re.compile(r"[0-9a-f]{32}")
QUOTING = {
    "silver.check_results": ("observed", r'"examples"'),
    "gold.runs": ("reason", r'"examples"'),
}
"""Journals that quote values of rows a check refused: table -> column, and the text by which a quotation is known."""


@dataclass(frozen=True)
class Request:
    """What to erase: a source, or products by id; why, and who asks. `history_before`: commits before it go too."""

    why: str
    who: str
    source: str | None = None
    products: tuple[str, ...] = ()
    history_before: datetime | None = None

    @property
    def scope(self) -> str:
        return "source" if self.source else "products"


@dataclass(frozen=True)
class Step:
    """Rows of one folder that meet `on` (`t` is the folder, `s` are rows of `given`): deleted, or columns set."""

    folder: str
    on: str
    given: DataFrame | None = None
    change: dict[str, Column] | None = None


def parse(text: str) -> tuple[str, ...]:
    """Product ids of a file (one a line) or a comma separated text; an item is a product_id or `source:source_key`.

    Raises `UsageError` naming the item that is neither.
    """
    from shelfmark.ingest.normalise import product_id

    file = Path(text)
    items = file.read_text().splitlines() if file.is_file() else text.split(",")
    found: dict[str, None] = {}
    for number, item in enumerate((item.strip() for item in items), 1):
        if not item:
            continue
        source, colon, key = item.partition(":")
        if not PRODUCT_ID.fullmatch(item) and not (colon and re.fullmatch(r"\w+", source) and key):
            where = f"{file}:{number}" if file.is_file() else f"--products, item {number}"
            raise UsageError(f"{where}: {item[:60]!r} is no product_id (32 hex digits) and no source:source_key")
        found[item if PRODUCT_ID.fullmatch(item) else product_id(source, key)] = None
    if not found:
        raise UsageError(f"--products {text}: names no product")
    return tuple(found)


# -- what is meant ------------------------------------------------------------------------------------------------


def targets(run: Run, request: Request) -> DataFrame:
    """`product_id` of the products to erase, each once."""
    from pyspark.sql import functions as F

    if request.source is None:
        return run.spark.createDataFrame([(one,) for one in request.products], "product_id string")
    known = [run.read(name).where(F.col("source") == request.source) for name in ("silver.products", "silver.presence")]
    # Kept as it is now: the tables it comes from are about to lose these rows.
    return known[0].select("product_id").union(known[1].select("product_id")).distinct().localCheckpoint()


def records(run: Run, ids: DataFrame) -> DataFrame:
    """`source`, `file_hash`, `record_number` of every bronze record that any of the products was made of.

    Older records of a product are found by mapping them again. Raises `UsageError` where a source's mapping is not
    the one its records were taken in by: `ingest` is to run first.
    """
    from pyspark.sql import functions as F

    from shelfmark.ingest import mapping, silver

    empty = run.spark.createDataFrame([], "source string, file_hash string, record_number bigint")
    found = [empty]
    for name, hashes in _sources(run, ids).items():
        source = mapping.load(name, run.settings.source_dirs)
        if hashes != {source.hash}:
            raise UsageError(
                f"the mapping of {name} changed since its records were taken in: run `shelfmark run ingest --sources "
                f"{name}` first, so that its records are known by the keys it has now"
            )
        raw = run.read("bronze.raw_products").where((F.col("source") == name) & F.col("payload").isNotNull())
        made = silver.candidates(raw.withColumn("sequence", F.lit(0).cast("bigint")), source)
        mine = made.join(ids, "product_id", "left_semi")
        found.append(mine.select(F.lit(name).alias("source"), "file_hash", "record_number"))
    return reduce(lambda one, other: one.unionByName(other), found).distinct().localCheckpoint()


def _sources(run: Run, ids: DataFrame) -> dict[str, set[str]]:
    """Source -> mappings its files were taken in by; of all sources where a product is not known to any."""
    from pyspark.sql import functions as F

    register = run.read("bronze.files").groupBy("source").agg(F.collect_set("mapping_hash").alias("hashes")).collect()
    known = run.read("silver.presence").join(ids, "product_id", "left_semi").select("product_id", "source").distinct()
    of = {row.source for row in known.select("source").distinct().collect()}
    everywhere = known.count() < ids.count()
    return {row.source: set(row.hashes) for row in register if everywhere or row.source in of}


def steps(run: Run, request: Request, ids: DataFrame) -> Iterator[Step]:
    """All that is to be deleted or emptied, folder by folder."""
    from pyspark.sql import functions as F

    null = F.lit(None).cast("string")
    made_of = records(run, ids) if request.source is None else None
    theirs = _pictures(run, ids)
    for name, contract in TABLES.items():
        for folder in upkeep.of_table(run, name):
            if name in QUOTING:
                column, sign = QUOTING[name]
                emptied = F.expr(f"regexp_replace({column}, '(?s)\\\\{{.*\\\\}}', '{{\"erased\": true}}')")
                yield Step(folder, f"t.{column} LIKE '%{sign}%'", change={column: emptied})
            elif name in ("silver.erasures", "silver.suppressed"):
                continue
            elif name == "gold.category_issues":
                # Whose titles its examples are is not known by a column: all go, and the next audit brings others.
                empty = F.lit(None).cast("array<struct<product_id:string,title:string,category_id:string>>")
                yield Step(folder, "t.examples IS NOT NULL", change={"examples": empty})
            elif name == "silver.images":
                yield Step(folder, "t.image_id = s.image_id", theirs)
            elif name == "gold.slices" and request.source:
                yield Step(folder, f"t.slice = 'source' AND t.value = '{request.source}'")
            elif request.source and "source" in contract.columns:
                yield Step(folder, f"t.source = '{request.source}'")
            elif name == "bronze.raw_products":
                same = "t.source = s.source AND t.file_hash = s.file_hash AND t.record_number = s.record_number"
                yield Step(
                    folder, f"{same} AND t.payload IS NOT NULL", made_of, {"payload": null, "problem": F.lit(ERASED)}
                )
            elif name == "silver.rejected":
                empty = {"payload": null, "key": null, "reason": F.lit(ERASED)}
                by_place = "t.source = s.source AND t.file_hash = s.file_hash AND t.record_number = s.record_number"
                yield Step(folder, f"{by_place} AND t.payload IS NOT NULL", made_of, empty)
                for key in ("t.key", _hashed_key("t.source", "t.key")):
                    yield Step(folder, f"{key} = s.product_id AND t.payload IS NOT NULL", ids, empty)
            else:
                for column in ("product_id", "left_product_id", "right_product_id"):
                    if column in contract.columns:
                        yield Step(folder, f"t.{column} = s.product_id", ids)


def _pictures(run: Run, ids: DataFrame) -> DataFrame:
    """`image_id` of pictures that the products show and no other; kept, as the links are about to go."""
    links = run.read("silver.image_links").where("image_id IS NOT NULL").select("product_id", "image_id")
    others = links.join(ids, "product_id", "left_anti").select("image_id")
    mine = links.join(ids, "product_id", "left_semi").select("image_id").distinct()
    return mine.join(others, "image_id", "left_anti").localCheckpoint()


def _hashed_key(source: str, key: str) -> str:
    """`normalise.product_id` as a SQL expression."""
    return f"substring(sha2(concat({source}, chr(0), {key}), 256), 1, 32)"


def matching(run: Run, step: Step) -> int:
    """Rows of a folder that a step is about."""
    from pyspark.sql import functions as F

    rows = upkeep.of_branch(run, step.folder).alias("t")
    if step.given is None:
        return rows.where(step.on).count()
    return rows.join(step.given.alias("s"), F.expr(step.on), "left_semi").count()


def preview(run_id: str, request: Request, settings: Settings, spark: SparkSession, lake: Lake) -> dict[str, int]:
    """Rows per table that an erasure would remove or empty; nothing is written."""
    from shelfmark.run import Run

    run = Run("erase", f"{run_id}-preview", 1, settings, spark, lake)
    try:
        found: dict[str, int] = {}
        for step in steps(run, request, targets(run, request)):
            if count := matching(run, step):
                found[table_of(step.folder)] = found.get(table_of(step.folder), 0) + count
        return found
    finally:
        lake.drop(run.branch)


# -- doing it -----------------------------------------------------------------------------------------------------


def apply(run: Run, doing: Iterable[Step]) -> dict[str, int]:
    """Delete or empty the rows of all steps; table -> rows. A folder without such rows is not written."""
    from delta.tables import DeltaTable

    done: dict[str, int] = {}
    for step in doing:
        name = table_of(step.folder)
        count = matching(run, step)
        if not count:
            continue
        path = run.rewrite_path(name, step.folder)
        migrations.prepare(run.spark, path, table(name))
        target = DeltaTable.forPath(run.spark, path)
        if step.given is not None:
            merge = target.alias("t").merge(step.given.alias("s"), step.on)
            (merge.whenMatchedUpdate(set=step.change) if step.change else merge.whenMatchedDelete()).execute()
        elif step.change:
            target.alias("t").update(step.on, step.change)
        else:
            target.alias("t").delete(step.on)
        if left := matching(run, step):
            raise DataRefused(
                f"{step.folder}: {left} rows that were to be erased are still there; nothing is published"
            )
        done[name] = done.get(name, 0) + count
    return done


def touched_groups(run: Run, ids: DataFrame) -> DataFrame:
    """`group_id` of the duplicate groups that any of the products is in; kept, as the groups are about to go."""
    groups = run.read("silver.duplicates").join(ids, "product_id", "left_semi").select("group_id").distinct()
    return groups.localCheckpoint()


def mend(run: Run, groups: DataFrame) -> int:
    """Resolve the groups anew among the products that are left, and make their golden records; how many products."""
    from delta.tables import DeltaTable
    from pyspark.sql import functions as F

    from shelfmark.dedup import candidates, decisions, golden, lifecycle, scored, survivors
    from shelfmark.run import conform

    if not all(run.has(name) for name in ("silver.products", "silver.duplicates", "silver.catalogue")):
        return 0
    members = run.read("silver.duplicates").join(groups, "group_id", "left_semi").localCheckpoint()
    products = run.read("silver.products").join(members, "product_id", "left_semi").localCheckpoint()
    pairs = candidates.near_pairs(products, run.settings.dedupe)
    likely = scored.merging(scored.scored_pairs(products, run.settings.dedupe))
    said = decisions.constraints(decisions.known(decisions.held(run.read("silver.match_decisions"))))
    resolved = survivors.duplicates(products, pairs, run.settings.dedupe, likely, said).persist()
    # A group is not called after who is erased; and no events, which would tell of it.
    named = products.select(F.col("product_id").alias("group_id"))
    known = members.join(named, "group_id", "left_semi")
    resolved, _ = lifecycle.keep_ids(resolved, known, run.read("silver.presence"), run.run_id)
    resolved = resolved.persist()
    made = {
        "silver.duplicates": resolved,
        "silver.catalogue": golden.catalogue(products, resolved, run.settings.dedupe.golden),
    }
    left = members.count()
    derived = "gold.predictions", "gold.shadow_predictions", "gold.embeddings"
    for name in ("silver.duplicates", "silver.catalogue", *derived):
        for folder in upkeep.of_table(run, name):
            on = Step(folder, "t.group_id = s.group_id", groups)
            stale, fresh = matching(run, on), left if name in made else 0
            if not stale and not fresh:
                continue
            path = run.rewrite_path(name, folder)
            rows = conform(made[name], table(name)).localCheckpoint() if fresh else None
            if stale:
                target = DeltaTable.forPath(run.spark, path).alias("t")
                target.merge(groups.alias("s"), on.on).whenMatchedDelete().execute()
            if rows is not None:
                # A table of before a nullable column was added gets it here.
                rows.write.format("delta").mode("append").option("mergeSchema", "true").save(path)
    return left


def clear(run: Run, request: Request) -> None:
    """Leave no file and no log behind that holds what was erased.

    In all folders rewritten on the branch, in those where it may be in rows that are only marked as deleted, and where
    pages and snapshots land: which products those hold is not known, so of single products all of them go, and the next
    ingest fetches them again. silver.lsh_index, which has hashes of titles, is emptied; the next dedupe makes it anew.
    """
    from delta.tables import DeltaTable

    if run.rewritten and run.has("silver.lsh_index"):
        name = "silver.lsh_index"
        DeltaTable.forPath(run.spark, run.rewrite_path(name, table(name).path)).delete()
    for name in TABLES:
        for folder in upkeep.of_table(run, name):
            if upkeep.has_marked(run.spark, run.lake.read_path(run.branch, folder)):
                run.rewrite_path(name, folder)
    for folder in run.rewritten:
        upkeep.leave_no_trace(run.spark, run.lake.read_path(run.branch, folder), run.run_id)
    landing = api.landing(run.settings.home, request.source or "")
    if landing.exists():
        shutil.rmtree(landing)  # what cannot be removed is not erased: that ends the run


def record(run: Run, request: Request, ids: DataFrame, rows: dict[str, int]) -> None:
    """Suppress what was named, and write what was done; nothing where nothing was to do."""
    from pyspark.sql import functions as F

    keys = _key_hashes(run, request, ids)
    known = run.read("silver.suppressed").select("scope", "key_hash")
    fresh = keys.join(known, ["scope", "key_hash"], "left_anti").persist()
    count = fresh.count()
    run.note(erased=rows, suppressed=count)
    if not rows and not count:
        return
    if count:
        stamped = fresh.withColumn("erasure_id", F.lit(run.run_id)).withColumn("run_id", F.lit(run.run_id))
        run.write("silver.suppressed", stamped.coalesce(1), append=True)
    contract = table("silver.erasures")
    row: dict[str, Any] = {
        "erasure_id": run.run_id,
        "scope": request.scope,
        "source": request.source,
        "products": ids.count(),
        "why": request.why,
        "who": request.who,
        "rows": json.dumps(rows, sort_keys=True),
        "history_before": request.history_before,
        "erased_at": run.started,
        "run_id": run.run_id,
        "run_date": run.run_date,
    }
    values = tuple(row.get(column) for column in contract.columns)
    run.write(contract.name, run.spark.createDataFrame([values], contract.ddl).coalesce(1), append=True)


def _key_hashes(run: Run, request: Request, ids: DataFrame) -> DataFrame:
    """`scope`, `key_hash` of silver.suppressed. A source is one row: its products are not known beforehand."""
    from pyspark.sql import functions as F

    if request.source:
        rows = run.spark.createDataFrame([("source", request.source)], "scope string, value string")
    else:
        rows = ids.select(F.lit("product").alias("scope"), F.col("product_id").alias("value"))
    return rows.select("scope", key_hash(F.col("value")).alias("key_hash"))


def lift(run: Run, erasure_id: str) -> None:
    """Let what an erasure suppressed be taken in again; the erasure stays on record."""
    from pyspark.sql import functions as F

    mine = F.col("erasure_id") == erasure_id
    count = run.read("silver.suppressed").where(mine).count()
    if not count:
        raise UsageError(f"--lift {erasure_id}: no such erasure suppresses anything; see silver.erasures")
    run.delete("silver.suppressed", mine)
    run.note(lifted=count)


# -- history ------------------------------------------------------------------------------------------------------


def release_follows(lake: Lake) -> bool:
    """Whether main is what readers get: then the erased state may be released at once, no half-done pipeline with it."""
    from shelfmark.run import JOURNALS, origin

    release, head = lake.release(), lake.head()
    if release is None or head is None:
        return False
    journals = tuple(table(name).path for name in (*JOURNALS, "silver.erasures", "silver.suppressed"))
    seen = origin(lake)
    states = [
        {f: seen(f, p) for f, p in lake.folders(c.id).items() if not f.startswith(journals)} for c in (release, head)
    ]
    return states[0] == states[1]


def holding(lake: Lake, erased: Commit, names: Iterable[str]) -> list[Commit]:
    """Commits older than an erasure's that can still be read and have other versions of the tables it rewrote."""
    paths = {table(name).path for name in names}
    clean = lake.folders(erased.id)
    history = lake.log()
    older = history[[commit.id for commit in history].index(erased.id) + 1 :]
    found = []
    for commit in older:
        try:
            folders = lake.folders(commit.id)
        except NotFound:
            continue
        if any(clean.get(f) != p for f, p in folders.items() if any(f == x or f.startswith(f"{x}/") for x in paths)):
            found.append(commit)
    return found


def keeper(lake: Lake, commit: Commit) -> str:
    """A commit that stays, and why, as far as the lake says: its tags, or a reader or run that needs it."""
    tags = sorted(name for name, named in lake.tags().items() if named == commit.id)
    return f"{commit.id[:10]} ({'tag ' + ', '.join(tags) if tags else 'kept by its age, a reader or a run'})"


def forget(run: Run, request: Request) -> None:
    """Prune history before `request.history_before`, and note on the erasures of this request what went and what stays."""
    from pyspark.sql import functions as F

    ids = targets(run, request)
    keys = _key_hashes(run, request, ids)
    mine = run.read("silver.suppressed").join(keys, ["scope", "key_hash"], "left_semi").select("erasure_id").distinct()
    erasures = run.read("silver.erasures").join(mine, "erasure_id", "left_semi")
    # Under a lock that names this branch, prune takes it for one of a living run.
    with run.lake.lock("erase-history", f"erase {run.run_id}", branch=run.branch):
        pruned = run.lake.prune(request.history_before, datetime.now(request.history_before.tzinfo))
    published = [c for c in run.lake.log() if (c.metadata.get("job"), c.metadata.get("status")) == ("erase", "done")]
    by_run = {commit.metadata["run_id"]: commit for commit in published}
    notes = []
    for row in erasures.select("erasure_id", "rows").collect():
        names = json.loads(row.rows)
        older = holding(run.lake, by_run[row.erasure_id], names) if row.erasure_id in by_run and names else []
        notes.append(
            (row.erasure_id, request.history_before, list(pruned.commits), [keeper(run.lake, c) for c in older])
        )
    run.note(pruned=len(pruned.commits), remaining=notes[-1][3] if notes else [])
    if notes:
        said = run.spark.createDataFrame(
            notes, "erasure_id string, history_before timestamp, gone array<string>, remaining array<string>"
        )
        columns = table("silver.erasures").columns
        rows = erasures.drop("history_before", "remaining").join(F.broadcast(said), "erasure_id")
        rows = rows.withColumn("commits", F.array_distinct(F.concat(F.coalesce("commits", F.array()), "gone")))
        run.merge("silver.erasures", rows.select(*columns).localCheckpoint())
