"""Taxonomy files and the maps of sources, read and checked line by line; no Spark.

Both are small (the largest public taxonomy has ten thousand categories) and written by people, so they are read on the
driver, before any work starts, and what is wrong in them is said with file and line.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from shelfmark.config import resource
from shelfmark.errors import UsageError

SEPARATOR = " > "
_GID = re.compile(r"(gid://\S+)\s+:\s+(\S.*)")
_LOCALE = re.compile(r"(?:^|[_.-])([a-z]{2}(?:[_-][A-Za-z]{2,4})?)$")
_NAME_COLUMN = re.compile(r"name_([A-Za-z]{2,3}(?:[_-][A-Za-z]{2,4})?)")


@dataclass(frozen=True)
class Category:
    """A node of a taxonomy. `names`: (locale, name), sorted by locale."""

    category_id: str
    path: str
    parent_id: str | None
    names: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return self.path.rsplit(SEPARATOR, 1)[-1]

    @property
    def depth(self) -> int:
        return self.path.count(SEPARATOR) + 1


@dataclass(frozen=True)
class Taxonomy:
    """A taxonomy file: its version is made of the content of its files, not of their names."""

    version: str
    categories: tuple[Category, ...]


@dataclass(frozen=True)
class MapLine:
    """A line of a source's map: exactly one of category_id and category_path, or neither: on purpose no category."""

    source: str
    source_path: str
    category_id: str | None
    category_path: str | None
    where: str
    """File and line, for messages."""


def node_id(path: str) -> str:
    """Id of a category that no file gives one: sha256(root, NUL, the levels below it), 32 hex characters.

    For a category derived from a source the root is the source's name, so the id is the hash of (source, path).
    """
    root, _, below = path.partition(SEPARATOR)
    return hashlib.sha256(f"{root}\0{below}".encode()).hexdigest()[:32]


def levels(path: str) -> list[str]:
    """The levels of a path, root first, single spaces between words; an empty one stays, for the caller to refuse."""
    return [" ".join(level.split()) for level in path.split(">")]


def read_taxonomy(path: str) -> Taxonomy:
    """A taxonomy from one or several files.

    `path`: a file, a glob or several of them separated by commas. Formats, told apart by the first line of content:

    - CSV, or TSV where the header holds a tab: `category_id` and `path` (levels joined by `>`), or `category_id`,
      `parent_id` and `name`; with `name_<locale>` columns if wanted. Other columns are left alone.
    - Shopify's text: `gid://... : A > B`, comments begin with `#`. Several such files are one taxonomy in several
      languages: the locale ends the file's name (`shopify_de.txt`) or is its folder's (`de/categories.txt`). Paths are
      those of `en`, else of the first file; the others give names. An id only they know is an older one, and left out.

    Categories between a path and its root that the file does not list are added, with ids of `node_id`.
    Raises `UsageError` with file and line: no file, unknown format, an id or a path given twice, an empty level, an
    unknown parent, a cycle.
    """
    files = _files(path)
    texts = {file: _text(file) for file in files}
    digest = hashlib.sha256()
    for content in sorted(texts.values()):
        digest.update(hashlib.sha256(content.encode()).digest())
    version = f"file-{digest.hexdigest()[:12]}"
    first = {file: next(_content(text), (0, ""))[1] for file, text in texts.items()}
    empty = next((file for file, line in first.items() if not line), None)
    if empty:
        _refuse(empty, 0, "the taxonomy file is empty")
    if all(line.startswith("gid://") for line in first.values()):
        return Taxonomy(version, _with_names(texts))
    if len(files) > 1:
        _refuse(files[1], 1, "only taxonomies in Shopify's text format may be several files; name one file")
    return Taxonomy(version, _from_table(files[0], texts[files[0]]))


def read_map(source: str, path: str | Path) -> list[MapLine]:
    """The lines of a source's map: CSV with the header `source_path,category_id` or `source_path,category_path`.

    A line without a category says that the path means none, on purpose (`New arrivals`). Other columns are for people.
    Raises `UsageError` with file and line.
    """
    path = Path(path)
    rows = _table(path, _text(path))
    header = next(rows)[1]
    if "source_path" not in header or ("category_id" in header) == ("category_path" in header):
        _refuse(
            path, 1, f"the header is {','.join(header)}; write source_path,category_id or source_path,category_path"
        )
    lines: list[MapLine] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        source_path = _path(path, number, row["source_path"], "source_path")
        if source_path in seen:
            _refuse(path, number, f"{source_path!r} is mapped in line {seen[source_path]} already")
        seen[source_path] = number
        target = row.get("category_path", "").strip()
        category_path = _path(path, number, target, "category_path") if target else None
        category_id = row.get("category_id", "").strip() or None
        lines.append(MapLine(source, source_path, category_id, category_path, f"{path}, line {number}"))
    return lines


def find_maps(sources: Iterable[str], folder: str | Path | None = None) -> dict[str, str]:
    """The map files there are for `sources`: source -> path of <folder>/<source>.csv; the default is conf/taxonomy.

    Raises `UsageError` where a named folder is missing.
    """
    if folder and not Path(folder).is_dir():
        raise UsageError(f"taxonomy_maps: no folder {folder}; name one that holds <source>.csv files")
    where = Path(folder) if folder else resource("conf", "taxonomy")
    return {source: str(file) for source in sources if (file := where / f"{source}.csv").is_file()}


def check(taxonomy: str, maps: Mapping[str, str]) -> None:
    """Read the taxonomy (`derived` or as in `read_taxonomy`) and the maps (source -> file), so that what is wrong in
    them is said before Spark starts: `UsageError` with file and line.
    """
    lines = [line for source, file in maps.items() for line in read_map(source, file)]
    if taxonomy == "derived":
        return check_targets(lines)
    categories = read_taxonomy(taxonomy).categories
    ids, paths = {c.category_id for c in categories}, {c.path.lower() for c in categories}
    for line in lines:
        if line.category_id and line.category_id not in ids:
            unknown_category(line.where, line.category_id)
        if line.category_path and line.category_path.lower() not in paths:
            unknown_category(line.where, line.category_path)


def check_targets(lines: Iterable[MapLine]) -> None:
    """The targets of a derived taxonomy are paths, and a path is spelled in one way; else `UsageError`."""
    spelled: dict[str, MapLine] = {}
    for line in lines:
        if line.category_id:
            raise UsageError(
                f"{line.where}: category_id {line.category_id!r}, but a derived taxonomy has no ids of its own: "
                "write the header source_path,category_path"
            )
        if line.category_path:
            other = spelled.setdefault(line.category_path.casefold(), line)
            if other.category_path != line.category_path:
                raise UsageError(
                    f"{line.where}: {line.category_path!r} is spelled {other.category_path!r} in {other.where}; "
                    "spell a category in one way"
                )


def unknown_category(where: str, category: str) -> NoReturn:
    raise UsageError(f"{where}: the taxonomy has no category {category!r}; correct the line or the taxonomy")


def ancestors(parents: dict[str, str | None], category_id: str) -> list[str]:
    """The categories above `category_id`, its parent first, the root last. `parents`: category_id -> parent_id."""
    above = []
    while (category_id := parents.get(category_id)) is not None:
        above.append(category_id)
    return above


# -- reading ------------------------------------------------------------------------------------------------------


def _refuse(file: str | Path, line: int, what: str) -> NoReturn:
    raise UsageError(f"{file}, line {line}: {what}" if line else f"{file}: {what}")


def _files(path: str) -> list[Path]:
    found: list[Path] = []
    for part in filter(None, (part.strip() for part in path.split(","))):
        matches = [Path(part)] if Path(part).is_file() else [Path(p) for p in sorted(glob.glob(part))]
        if not matches:
            raise UsageError(f"taxonomy: no file {part}; write `derived`, a file, a glob or files separated by commas")
        found += [match for match in matches if match not in found]
    if not found:
        raise UsageError("taxonomy: write `derived`, a file, a glob or files separated by commas")
    return found


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(file, raw.count(b"\n", 0, error.start) + 1, "not UTF-8: save the file in that encoding")


def _content(text: str) -> Iterator[tuple[int, str]]:
    """(line number, line) without comments and blank lines."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()


def _path(file: Path, number: int, text: str, column: str) -> str:
    parts = levels(text)
    if not all(parts):
        _refuse(file, number, f"{column} {text!r} has an empty level; write it as A > B")
    return SEPARATOR.join(parts)


def _table(file: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a CSV or TSV with a header; the header itself comes first, as a row of its own names."""
    lines = text.splitlines(keepends=True)
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for row in reader:
            start, number = reader.line_num + 1, start
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [cell.strip() for cell in row]
                twice = {name for name in header if header.count(name) > 1}
                if twice:
                    _refuse(file, number, f"column {sorted(twice)[0]!r} is there twice")
                yield number, {name: name for name in header}
                continue
            if len(row) != len(header):
                _refuse(file, number, f"{len(row)} fields where the header has {len(header)}; quote fields with commas")
            yield number, dict(zip(header, row))
    except csv.Error as error:
        _refuse(file, start, f"not a readable table: {error}")
    if header is None:
        _refuse(file, 0, "the file is empty; it needs at least its header")


# -- taxonomies ---------------------------------------------------------------------------------------------------


def _complete(file: Path, given: list[tuple[int, str, str, tuple[tuple[str, str], ...]]]) -> tuple[Category, ...]:
    """Categories of (line, id, path, names): checked, parents found, missing ones added; sorted by path."""
    ids: dict[str, int] = {}
    paths: dict[str, tuple[int, str]] = {}
    for number, category_id, path, _ in given:
        if category_id in ids:
            _refuse(file, number, f"category_id {category_id!r} is given in line {ids[category_id]} already")
        # Paths are matched without regard to case, so two that differ in nothing else could not be told apart.
        if path.casefold() in paths:
            _refuse(file, number, f"path {path!r} is given in line {paths[path.casefold()][0]} already")
        ids[category_id] = number
        paths[path.casefold()] = number, category_id
    nodes: dict[str, Category] = {}
    for number, category_id, path, names in given:
        nodes[path] = Category(category_id, path, None, names)
        above = path
        while SEPARATOR in above:
            above = above.rsplit(SEPARATOR, 1)[0]
            if above.casefold() in paths:
                break
            added = node_id(above)
            if added in ids:
                _refuse(file, number, f"{above!r} is missing, and the id made for it is that of line {ids[added]}")
            nodes[above] = Category(added, above, None)
            paths[above.casefold()] = number, added
    nodes = {path: replace(node, parent_id=_parent(path, paths)) for path, node in nodes.items()}
    return tuple(nodes[path] for path in sorted(nodes))


def _parent(path: str, paths: dict[str, tuple[int, str]]) -> str | None:
    above, separator, _ = path.rpartition(SEPARATOR)
    return paths.get(above.casefold(), (0, None))[1] if separator else None


def _from_table(file: Path, text: str) -> tuple[Category, ...]:
    rows = _table(file, text)
    header = next(rows)[1]
    by_parent = "path" not in header
    if "category_id" not in header or (by_parent and not {"parent_id", "name"} <= header.keys()):
        _refuse(file, 1, f"the header is {','.join(header)}; write category_id,path or category_id,parent_id,name")
    locales = {column: match[1].replace("_", "-") for column in header if (match := _NAME_COLUMN.fullmatch(column))}
    content = []
    for number, row in rows:
        category_id = row["category_id"].strip()
        if not category_id:
            _refuse(file, number, "category_id is empty")
        found = ((locale, " ".join(row[column].split())) for column, locale in locales.items())
        content.append((number, category_id, row, tuple(sorted((loc, name) for loc, name in found if name))))
    if not content:
        _refuse(file, 0, "the taxonomy has no categories")
    paths = _paths_of_parents(file, content) if by_parent else {}
    return _complete(
        file,
        [
            (number, category_id, paths.get(number) or _path(file, number, row["path"], "path"), names)
            for number, category_id, row, names in content
        ],
    )


def _paths_of_parents(file: Path, content: list[tuple[int, str, dict[str, str], tuple]]) -> dict[int, str]:
    """Line -> path of categories that name their parents."""
    by_id: dict[str, tuple[int, str, str]] = {}
    for number, category_id, row, _ in content:
        if category_id in by_id:
            _refuse(file, number, f"category_id {category_id!r} is given in line {by_id[category_id][0]} already")
        name = " ".join(row["name"].split())
        if not name or ">" in name:
            _refuse(file, number, f"name {name!r}: a name is not empty and holds no `>`")
        by_id[category_id] = number, row["parent_id"].strip(), name
    paths: dict[str, str] = {}
    for category_id in by_id:
        chain = []
        current = category_id
        while current and current not in paths:
            if current in chain:
                number = by_id[current][0]
                _refuse(file, number, f"a cycle: {' -> '.join([*chain[chain.index(current) :], current])}")
            chain.append(current)
            parent = by_id[current][1]
            if parent and parent not in by_id:
                _refuse(file, by_id[current][0], f"parent_id {parent!r} is no category_id of this file")
            current = parent
        for one in reversed(chain):
            parent = by_id[one][1]
            paths[one] = f"{paths[parent]}{SEPARATOR}{by_id[one][2]}" if parent else by_id[one][2]
    return {number: paths[category_id] for category_id, (number, _, _) in by_id.items()}


def _with_names(texts: dict[Path, str]) -> tuple[Category, ...]:
    """One taxonomy of Shopify texts in several languages."""
    by_locale: dict[str, Path] = {}
    for file in texts:
        locale = _locale(file) or ("" if len(texts) == 1 else None)
        if locale is None:
            _refuse(file, 0, "of several files each names its language, as in shopify_de.txt or de/categories.txt")
        if locale in by_locale:
            _refuse(file, 0, f"{by_locale[locale]} is in {locale} already")
        by_locale[locale] = file
    main = "en" if "en" in by_locale else next(iter(by_locale))
    names: dict[str, list[tuple[str, str]]] = {}
    given: list[tuple[int, str, str]] = []
    for locale, file in by_locale.items():
        for number, line in _content(texts[file]):
            match = _GID.fullmatch(line)
            if not match:
                _refuse(file, number, f"{line[:60]!r} is not of the form `gid://... : A > B`")
            path = _path(file, number, match[2], "path")
            if locale == main:
                given.append((number, match[1], path))
            if locale:
                names.setdefault(match[1], []).append((locale, path.rsplit(SEPARATOR, 1)[-1]))
    full = [
        (number, category_id, path, tuple(sorted(names.get(category_id, ())))) for number, category_id, path in given
    ]
    return _complete(by_locale[main], full)


def _locale(file: Path) -> str | None:
    match = _LOCALE.search(file.stem) or _LOCALE.fullmatch(file.parent.name)
    return match[1].replace("_", "-") if match else None
