"""Write the demo catalogue: feeds of four vendors, a taxonomy with maps to it, pictures, and the truth about it all."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shelfmark.demo import pictures as drawing
from shelfmark.demo import universe
from shelfmark.demo.feeds import FILES, WRITERS
from shelfmark.demo.records import RULES, Records, make_chunk
from shelfmark.demo.universe import LOCALES, REGIONS, SMALL, VENDORS, leaves
from shelfmark.errors import UsageError

CHUNK_ROWS = 50_000
"""Records made at a time: parts of 5,000 to 20,000 records a vendor, under 200 MB of memory a process."""

TRUTH = {
    "categories": ("source", "source_key", "region", "category_id", "path", "label"),
    "duplicates": ("source", "source_key", "truth_group", "gtin"),
    "variants": ("source", "source_key", "item_group", "item", "colour", "size"),
    "dirty": ("source", "file", "record_number", "key", "rule"),
}
"""Columns of truth/<name>.csv."""

README = """# Demo catalogue of Shelfmark

Generated: every name, text, number and picture is invented. Licence: Apache-2.0.

- `demo_outfitter/` CSV, `demo_bazaar/` JSON lines, `demo_kontor/` XML, `demo_galerie/` Parquet: four vendors' feeds;
  their mappings are conf/sources/demo_*.yml. `images/` in each: tar files of JPEGs, an index beside each.
- `taxonomy.csv`: the categories. `taxonomy/<source>.csv`: what the vendors' paths mean.
- `truth/`: right categories, duplicate groups, variants, dirty records, and counts in `summary.json`.
"""


def generate(
    rows: int,
    seed: int,
    out: str | Path,
    pictures: bool = True,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write a catalogue of `rows` records below `out` and return the counts that truth/summary.json holds.

    The bytes depend on rows, seed and pictures only, never on `processes` (default: every core). `progress` is called
    with (chunks done, chunks). `out` must be new, empty or an earlier demo catalogue, which is replaced. Raises
    `UsageError`.
    """
    out = Path(out)
    if rows < 50:
        raise UsageError(f"{rows} rows: a demo catalogue has 50 or more")
    if seed < 0:
        raise UsageError(f"seed {seed}: give 0 or more")
    if processes is not None and processes < 1:
        raise UsageError(f"{processes} processes: give 1 or more")
    _clear(out)
    for vendor in VENDORS:
        (out / vendor).mkdir(parents=True)
    (out / "truth").mkdir()
    _write_taxonomy(out)

    small = min(SMALL, rows // 10)
    # Two chunks at least, so that two cores are busy with pictures even for a small catalogue.
    count = max(2 if rows >= 1000 else 1, -(-rows // CHUNK_ROWS))
    edges = [rows * i // count for i in range(count + 1)]
    small_edges = [small * i // count for i in range(count + 1)]
    tasks = [
        (str(out), seed, i, edges[i], edges[i + 1] - edges[i], small_edges[i + 1] - small_edges[i], pictures)
        for i in range(count)
    ]
    processes = min(processes or len(os.sched_getaffinity(0)), count)
    parts = []
    if processes == 1:
        for task in tasks:
            parts.append(write_chunk(task))
            if progress:
                progress(len(parts), count)
    else:
        # Spawned, not forked: the caller may hold threads (Spark's gateway, Arrow's pools).
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for part in pool.imap(write_chunk, tasks):
                parts.append(part)
                if progress:
                    progress(len(parts), count)
    for name, columns in TRUTH.items():
        _join(out / "truth", name, columns, count)
    summary = _summary(rows, seed, pictures, parts)
    (out / "truth" / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (out / "README.md").write_text(README)
    return summary


def _clear(out: Path) -> None:
    if not out.exists():
        out.mkdir(parents=True)
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder")
    known = {*VENDORS, "taxonomy", "taxonomy.csv", "truth", "README.md"}
    strange = sorted(path.name for path in out.iterdir() if path.name not in known)
    if strange:
        raise UsageError(f"{out} holds other files ({strange[0]}); give a new folder for the demo catalogue")
    for name in known:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _csv(path: Path, rows: list[tuple]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_bytes(text.getvalue().encode())


def _write_taxonomy(out: Path) -> None:
    header = ("category_id", "path", *(f"name_{locale}" for locale in LOCALES))
    _csv(out / "taxonomy.csv", [header, *((node, path, *names) for node, path, names in universe.nodes())])
    (out / "taxonomy").mkdir()
    for vendor, name in enumerate(VENDORS):
        _csv(out / "taxonomy" / f"{name}.csv", [("source_path", "category_id"), *universe.vendor_map(vendor)])


def write_chunk(task: tuple[str, int, int, int, int, int, bool]) -> dict[str, Counter]:
    """Write one file a vendor, of a chunk: (folder, seed, number, first record, records, of them small ones, pictures).

    Returns what it wrote, counted. A chunk past those of a catalogue is feeds of new products.
    """
    folder, seed, chunk, start, count, small, pictures = task
    out = Path(folder)
    records = make_chunk(seed, chunk, start, count, small)
    counts: dict[str, Counter] = {name: Counter() for name in ("source", "region", "rule", "label")}
    drawn = 0
    truth: dict[str, list[tuple]] = {name: [] for name in TRUTH}
    paths = [leaf.path for leaf in leaves()]
    ids = [leaf.category_id for leaf in leaves()]
    for vendor, name in enumerate(VENDORS):
        rows = [i for i, one in enumerate(records.vendor) if one == vendor]
        file = FILES[name].format(chunk)
        if rows:
            WRITERS[name](records, rows, out / file, chunk, pictures)
            if pictures:
                drawn += drawing.write_shard(records, rows, out / name / "images", chunk, seed, vendor)
        for number, i in enumerate(rows, 1):
            _note_truth(truth, records, i, name, file, number, paths, ids)
    for i, rule in enumerate(records.rule):
        counts["source"][VENDORS[records.vendor[i]]] += 1
        if rule:
            counts["rule"][rule] += 1
        else:
            counts["region"][REGIONS[records.region[i]].code] += 1
            counts["label"][records.label_state[i]] += 1
    for name, lines in truth.items():
        _csv(out / "truth" / f"{name}-{chunk:05d}.part", lines)
    groups = Counter(line[2] for line in truth["duplicates"])
    variants = Counter(line[2] for line in truth["variants"])
    counts["planted"] = Counter({
        "duplicate_records": len(truth["duplicates"]),
        "duplicate_groups": len(groups),
        "duplicate_pairs": sum(n * (n - 1) // 2 for n in groups.values()),
        "variant_records": len(truth["variants"]),
        "variant_groups": len(variants),
        "pictures": drawn,
    })  # fmt: skip
    counts["category"] = Counter(line[3] for line in truth["categories"])
    return counts


def _note_truth(
    truth: dict[str, list[tuple]],
    records: Records,
    i: int,
    name: str,
    file: str,
    number: int,
    paths: list[str],
    ids: list[str],
) -> None:
    key, rule = records.key[i], records.rule[i]
    if rule:
        # Of a record that cannot be parsed nobody can read the key.
        truth["dirty"].append((name, file, number, "" if rule == "broken_record" else key, rule))
        return
    leaf = records.leaf[i]
    truth["categories"].append(
        (name, key, REGIONS[records.region[i]].code, ids[leaf], paths[leaf], records.label_state[i])
    )
    if records.copied[i]:
        truth["duplicates"].append((name, key, f"D{records.item[i]:09d}", "yes" if records.gtin[i] else "no"))
    if records.model[i] >= 0:
        group = f"V{records.model[i]:09d}"
        colour, size = records.colour[i], records.size[i]
        truth["variants"].append((name, key, group, f"I{records.item[i]:09d}", colour, size or ""))


def _join(folder: Path, name: str, columns: tuple[str, ...], count: int) -> None:
    """One CSV of the chunks' parts, in order; parts are removed."""
    with (folder / f"{name}.csv").open("wb") as whole:
        whole.write((",".join(columns) + "\n").encode())
        for chunk in range(count):
            part = folder / f"{name}-{chunk:05d}.part"
            with part.open("rb") as lines:
                shutil.copyfileobj(lines, whole, 1 << 20)
            part.unlink()


def _summary(rows: int, seed: int, pictures: bool, parts: list[dict[str, Counter]]) -> dict[str, Any]:
    total: dict[str, Counter] = {}
    for part in parts:
        for name, counter in part.items():
            total.setdefault(name, Counter()).update(counter)
    dirty = {rule: total["rule"].get(rule, 0) for rule in RULES}
    return {
        "rows": rows,
        "seed": seed,
        "clean": rows - sum(dirty.values()),
        "dirty": sum(dirty.values()),
        "dirty_by_rule": dirty,
        "sources": {name: total["source"].get(name, 0) for name in VENDORS},
        "clean_by_region": {region.code: total["region"].get(region.code, 0) for region in REGIONS},
        "categories": len(leaves()),
        "categories_used": len(total["category"]),
        "labels": {state: total["label"].get(state, 0) for state in ("right", "wrong", "missing")},
        **{name: total["planted"][name] for name in total["planted"]},
    }
