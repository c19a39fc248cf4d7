"""What tasks of the images job do with batches of rows, each a function of Arrow batches. No Spark, and imports of little else: a
worker that starts for a few seconds' work is to be at it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from shelfmark.images import decode, fetch, places
from shelfmark.images.decode import Rules
from shelfmark.images.places import Place, Refused

Row = dict[str, Any]

BATCH_BYTES, BATCH_ROWS = 16 << 20, 2048
"""Pictures that a task holds decoded before it hands them on."""

PLACED = (
    "source string, reference string, file string, offset bigint, size bigint, version string, rule string, said string"
)
MEMBERS = "file string, member string, offset bigint, size bigint, version string, rule string, said string"
KNOWN = "image_id string, problems array<string>"
TAKEN = (
    f"source string, reference string, version string, rule string, said string, {KNOWN}, new boolean, bytes binary, "
    "format string, width int, height int, perceptual_hash string, original_bytes bigint"
)
_ARROW = {
    "string": pa.string(), "bigint": pa.int64(), "int": pa.int32(), "boolean": pa.bool_(), "binary": pa.binary(),
    "array<string>": pa.list_(pa.string()),
}  # fmt: skip
PLACED_OR_NOT = f"{PLACED}, member string, rank int"


def placed(
    source: str, reference: str, among: list[Place], urls: bool, limit: int, how: str
) -> Iterator[tuple[Any, ...]]:
    """Rows of `PLACED_OR_NOT` of a reference: one, or one for each archive that may have it (its member is looked up)."""
    try:
        kind = places.kind(reference)
        if kind == "content":
            yield source, reference, None, None, None, how, None, None, None, 0
            return
        if kind == "url":
            if not urls:
                raise Refused("urls_off", "the picture is an address, and images.urls is off")
            yield source, reference, None, None, None, how, None, None, None, 0
            return
        missing, archived = None, False
        for rank, ((file, member), place) in enumerate(zip(places.candidates(reference, among), among)):
            if member is not None:
                archived = True
                yield source, reference, file, None, None, None, None, None, member, rank
                continue
            try:
                size, version = places.file_of(file, place.path, limit)
            except Refused as refused:
                if refused.rule != "picture_missing":
                    raise
                missing = missing or refused
                continue
            yield source, reference, file, 0, size, f"{how} {version}", None, None, None, rank
            return
        if not archived:
            raise missing or Refused("picture_missing", "the source's `pictures` name no place that is there")
    except Refused as refused:
        yield source, reference, None, None, None, None, refused.rule, refused.said, None, 99


def members_of(archive: str, how: str) -> Iterator[tuple[Any, ...]]:
    """Rows of `MEMBERS` of an archive: its plain files, and a row without a member if it is broken."""
    try:
        version = f"{how} {places.version(archive)}"
        for member, offset, size in places.members(archive):
            yield archive, member, offset, size, f"{version} {offset}.{size}", None, None
    except Refused as refused:
        yield archive, None, None, None, None, refused.rule, refused.said


def decoder(rules: Rules, limits: fetch.Limits) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Rows of `PLACED`, `KNOWN` and content -> rows of `TAKEN`."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        reader, held, size = places.Reader(), [], 0
        for row, data in _read(batches, reader, limits):
            made = decode.picture(data, rules) if isinstance(data, bytes) else None
            held.append((row, made, data if isinstance(data, Refused) else None))
            size += len(made.bytes or b"") if made else 0
            if size >= BATCH_BYTES or len(held) >= BATCH_ROWS:
                yield _taken(held)
                held, size = [], 0
        if held:
            yield _taken(held)
        reader.close()

    return work


def _read(
    batches: Iterator[pa.RecordBatch], reader: places.Reader, limits: fetch.Limits
) -> Iterator[tuple[Row, bytes | Refused | None]]:
    """Each row with its bytes, or why there are none; None where nothing was to be read."""
    for batch in batches:
        addresses: list[Row] = []
        for row in batch.to_pylist():
            if row["rule"] is not None or row["image_id"] is not None:
                yield row, None
            elif row["content"] is not None:
                yield row, row["content"]
            elif row["file"] is not None:
                try:
                    yield row, reader.read(row["file"], row["offset"], row["size"])
                except Refused as refused:
                    yield row, refused
            elif row["reference"].startswith(places.CONTENT):
                yield row, Refused("picture_unreadable", "the record's bytes cannot be decoded as its mapping says")
            else:
                addresses.append(row)
        answers = fetch.fetch_all((row["reference"] for row in addresses), limits)
        yield from ((row, data) for row, (_, data) in zip(addresses, answers))


def _taken(held: list[tuple[Row, decode.Picture | None, Refused | None]]) -> pa.RecordBatch:
    """Rows of `TAKEN`."""
    hashed = decode.hashes([made.grey if made else None for _, made, _ in held])
    rows = []
    for (row, made, refused), looks in zip(held, hashed):
        named = (row["source"], row["reference"], row["version"])
        if made is None:
            rule, said = (refused.rule, refused.said) if refused else (row["rule"], row["said"])
            version = None if refused else row["version"]
            rows.append((*named[:2], version, rule, said, row["image_id"], row["problems"], False, *[None] * 6))
            continue
        problems = list(made.problems)
        if decode.misnamed(row["reference"], made.format):
            problems.append("wrong_extension")
        about = (made.bytes, made.format, made.width, made.height, looks, made.original_bytes)
        rows.append((*named, None, None, made.image_id, problems, True, *about))
    return as_batch(rows, TAKEN)


def once(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The first row of each image_id: all of one are in one partition."""
    seen: set[str] = set()
    for batch in batches:
        keep = []
        for image_id in batch.column(0).to_pylist():
            keep.append(image_id not in seen)
            seen.add(image_id)
        yield batch if all(keep) else batch.filter(pa.array(keep))


def columns(ddl: str) -> list[tuple[str, str]]:
    """(Name, type) of each column that a schema names."""
    return [tuple(part.split(" ", 1)) for part in ddl.split(", ")]


def as_batch(rows: list[tuple[Any, ...]], ddl: str) -> pa.RecordBatch:
    """Rows as an Arrow batch; a name that is not UTF-8, as old archives have, with a replacement sign."""
    named = columns(ddl)
    arrays = []
    for values, (_, kind) in zip(zip(*rows) if rows else [()] * len(named), named):
        try:
            arrays.append(pa.array(values, _ARROW[kind]))
        except UnicodeEncodeError:
            sound = [value and value.encode("utf-8", "replace").decode() for value in values]
            arrays.append(pa.array(sound, _ARROW[kind]))
    return pa.RecordBatch.from_arrays(arrays, names=[name for name, _ in named])


def chunks(rows: Iterator[tuple[Any, ...]], ddl: str) -> Iterator[pa.RecordBatch]:
    """Rows as Arrow batches of ten thousand at the most."""
    held = []
    for row in rows:
        held.append(row)
        if len(held) >= 10_000:
            yield as_batch(held, ddl)
            held = []
    if held:
        yield as_batch(held, ddl)
