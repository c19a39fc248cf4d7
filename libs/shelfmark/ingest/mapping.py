"""A source mapping: how one vendor's feed becomes products. Every option is shown in docs/sources.md.

One file `conf/sources/<name>.yml` describes one source. It is read and checked here, before Spark starts: a wrong
option is a `UsageError` that names file, line and key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from babel import Locale, UnknownLocaleError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from shelfmark.config import resource
from shelfmark.errors import DataRefused, UsageError
from shelfmark.ingest import connections
from shelfmark.ingest.connections import Api, Database
from shelfmark.ingest.formats import NAMED_KINDS, Format
from shelfmark.ingest.jsonpath import parse_path
from shelfmark.ingest.languages import LANGUAGES, undetectable
from shelfmark.ingest.prices import CURRENCIES

FILL_IN = "FILL IN"
"""What `shelfmark init` writes where only a person knows the answer; a mapping that still holds it is refused."""

TEXT_FIELDS = ("title", "description", "brand", "gtin", "model_number", "item_group", "image")
"""Columns of silver.products that `fields:` can fill."""

_REGION = re.compile(r"[A-Z][A-Z0-9-]{1,7}")


class Option(BaseModel):
    """A section of a mapping: unknown options are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _field_or_section(value: Any) -> Any:
    """`title: name` is short for `title: {field: name}`."""
    return {"field": value} if isinstance(value, str) else value


class How(Option):
    """Where a value comes from: one of field, first_of, join, constant; then json, extract and split, in this order."""

    field: str | None = Field(None, min_length=1, description="the vendor's field")
    first_of: list[Value] | None = Field(None, min_length=1, description="the first of these that has a value")
    join: list[Value] | None = Field(
        None, min_length=1, description="these values joined by `with`; empty ones left out"
    )
    constant: str | None = Field(None, min_length=1, description="the same value for every record")
    with_: str = Field(" ", alias="with", description="between joined values")
    json_path: str | None = Field(None, alias="json", description="path into the JSON the field holds")
    extract: str | None = Field(None, description="regular expression; its first group, else the whole match")
    split: str | None = Field(None, min_length=1, description="separator of several values in one field")
    optional: bool = Field(False, description="the field may be absent from the file")

    @model_validator(mode="after")
    def _one_origin(self) -> How:
        given = [name for name in ("field", "first_of", "join", "constant") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of field, first_of, join, constant; here: {', '.join(given) or 'none'}")
        return self

    @field_validator("extract")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    @field_validator("json_path")
    @classmethod
    def _parses(cls, path: str | None) -> str | None:
        if path is not None:
            parse_path(path)
        return path

    def vendor_fields(self) -> Iterator[tuple[str, bool]]:
        """(vendor field, whether it may be absent) of everything below."""
        if self.field is not None:
            yield self.field, self.optional
        for part in (*(self.first_of or ()), *(self.join or ())):
            for name, optional in part.vendor_fields():
                yield name, optional or self.optional


Value = Annotated[How, BeforeValidator(_field_or_section)]


def _key_section(value: Any) -> Any:
    if isinstance(value, str):
        return {"parts": [value]}
    if isinstance(value, list):
        return {"parts": value}
    if isinstance(value, dict) and "content_hash" not in value:
        return {"parts": [value]}
    return value


class Key(Option):
    """What tells one product of the source from another: the feed's own id, or a hash of fields that never change."""

    parts: list[Value] = Field([], description="values that together are the key; every one is needed")
    content_hash: list[Value] = Field([], description="where the feed has no key: hash of these values")

    @model_validator(mode="after")
    def _one_kind(self) -> Key:
        if bool(self.parts) == bool(self.content_hash):
            raise ValueError("name the field or fields of the key, or `content_hash: [fields]`")
        return self


def _region_section(value: Any) -> Any:
    return {"constant": value} if isinstance(value, str) else value


class Region(How):
    """The market: a constant, or a field whose values `map` turns into regions."""

    map: dict[str, str] = Field({}, description="the field's value -> region; without it the value is the region")
    default: str | None = Field(None, description="region of values that `map` does not know; without: rejected")

    @model_validator(mode="after")
    def _regions(self) -> Region:
        for region in (self.constant, self.default, *self.map.values()):
            if region is not None and not _REGION.fullmatch(region):
                raise ValueError(f"region {region!r}: write it in capitals, as in IN or US")
        return self


def _language_section(value: Any) -> Any:
    if value == "detect":
        return {"detect": "detect"}
    return {"constant": value} if isinstance(value, str) else value


class Language(Option):
    """Language of the titles: a constant, a field, by region, or detected."""

    constant: str | None = None
    field: str | None = Field(None, description="the vendor's field with an ISO 639-1 code, `en` or `en-GB`")
    by_region: dict[str, str | Annotated[list[str], Field(min_length=1)]] = Field(
        {}, description="region -> code, `detect`, or a list to detect among"
    )
    detect: Literal["detect"] | list[str] = Field(
        [], description="detect, among these codes; unclear titles: the first"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Language:
        given = [name for name in ("constant", "field", "by_region", "detect") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give one of a code, field, by_region, detect; here: {', '.join(given) or 'none'}")
        codes = [self.constant, *(self.detect if self.detect != "detect" else ())]
        for choice in self.by_region.values():
            codes += [None if choice == "detect" else choice] if isinstance(choice, str) else choice
        for code in codes:
            if code is not None and code not in LANGUAGES:
                raise ValueError(f"language {code!r} is not a known ISO 639-1 code such as en, es, id")
        among = {
            code for choice in (self.detect, *self.by_region.values()) if isinstance(choice, list) for code in choice
        }
        if unknown := undetectable(sorted(among)):
            raise ValueError(f"language {', '.join(sorted(unknown))} cannot be detected")
        return self


class UpdatedAt(How):
    """The record's own time stamp, read as UTC where it names no zone."""

    format: str | None = Field(None, description="strptime format, `unix` or `unix_ms`; without it ISO 8601")


def _currency_section(value: Any) -> Any:
    if isinstance(value, str):
        if value not in CURRENCIES:
            raise ValueError(f"{value!r} is no ISO 4217 code; for a field write `currency: {{field: {value}}}`")
        return {"constant": value}
    return value


Currency = Annotated[How, BeforeValidator(_currency_section)]


class Price(How):
    """The price: where it is, its currency, and how its numbers are written where that is not plain."""

    high: Value | None = Field(None, description="high end of a price range, where it has its own field")
    currency: Currency | None = Field(None, description="ISO 4217 code, or where it is; the price's own text wins")
    decimal: Literal[".", ","] | None = Field(None, description="decimal separator, where `1.234` could be both")
    locale: str | None = Field(None, description="locale the numbers are written in, e.g. de_DE, instead of decimal")

    @field_validator("locale")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                Locale.parse(value.replace("-", "_"))
            except (ValueError, UnknownLocaleError):
                raise ValueError(f"{value!r} is no known locale; write e.g. de_DE") from None
        return value

    @model_validator(mode="after")
    def _one_hint(self) -> Price:
        if self.decimal and self.locale:
            raise ValueError("give decimal or locale, not both")
        return self


class Categories(Option):
    """Category paths: fields that are its levels, or one field that holds the path."""

    levels: list[Value] = Field([], description="fields of the levels, root first")
    field: str | None = Field(None, description="a field with the whole path")
    json_path: str | None = Field(None, alias="json", description="path to the levels' names in the field's JSON")
    separator: str = Field("auto", min_length=1, description="between levels; auto knows > » › → :: | and ' / '")
    several: str | None = Field(None, min_length=1, description="between whole paths, where a field holds several")
    drop: list[str] = Field([], description="level names left out at the top, e.g. Home")
    labels: bool = Field(True, description="whether a classifier may learn from these categories")
    optional: bool = Field(False, description="the field may be absent from the file")

    @model_validator(mode="after")
    def _one_kind(self) -> Categories:
        if bool(self.levels) == bool(self.field):
            raise ValueError("give `levels: [fields]` or `field:`, one of them")
        if self.json_path is not None:
            parse_path(self.json_path)
        return self


class AttributeList(Option):
    """Attributes the feed keeps as one JSON text: a list of name/value pairs, or an object."""

    field: str = Field(description="the vendor's field")
    json_path: str | None = Field(None, alias="json", description="path to the list inside the field's JSON")
    name: str = Field("name", description="key of an attribute's name in a pair")
    value: str = Field("value", description="key of its value")
    skip: list[str] = Field([], description="names left out, e.g. the vendor's own ids")
    rename: dict[str, str] = Field({}, description="vendor's name -> our name, e.g. Warna: colour")
    optional: bool = Field(False, description="the field may be absent from the file")


def _pictures_section(value: Any) -> Any:
    return {"places": value} if isinstance(value, str | list) else value


class Pictures(Option):
    """Where the pictures are that `fields.image` names, or how the field itself holds them."""

    places: list[str] = Field(
        [], description="folders and tar archives, relative to the data folder, in which names are looked up"
    )
    encoding: Literal["base64", "hex"] | None = Field(
        None, description="the field holds the picture's bytes, so written"
    )

    @field_validator("places", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Source(Option):
    """One source of products: the whole of conf/sources/<name>.yml. `name` comes from the file's name."""

    name: str
    description: str = Field(description="what the feed is, for people")
    licence: str = Field(min_length=1, description="under which terms we hold the feed")
    files: list[str] = Field([], description="globs, relative to the data folder, or absolute")
    database: Database | None = Field(None, description="instead of files: a table or query")
    api: Api | None = Field(None, description="instead of files: a paged JSON API")
    format: Format | None = Field(None, description="how the files are written; none for a database")
    key: Annotated[Key, BeforeValidator(_key_section)]
    region: Annotated[Region, BeforeValidator(_region_section)]
    language: Annotated[Language, BeforeValidator(_language_section)]
    updated_at: Annotated[UpdatedAt, BeforeValidator(_field_or_section)] | None = None
    fields: dict[Literal[TEXT_FIELDS], Value]
    pictures: Annotated[Pictures, BeforeValidator(_pictures_section)] = Pictures()
    price: Annotated[Price, BeforeValidator(_field_or_section)] | None = None
    categories: Categories | None = None
    attributes: dict[str, Value] = Field({}, description="our name -> where it is")
    attribute_lists: list[AttributeList] = []
    title_quantities: bool = Field(True, description="also read quantities such as `6 x 330 ml` from the title")
    missing: list[str] = Field([], description="texts that mean no value, e.g. null, N/A")

    @model_validator(mode="before")
    @classmethod
    def _format_of_an_api(cls, content: Any) -> Any:
        """Pages of an API are kept as one file, an array of them: its format follows from where their records are."""
        api = content.get("api")
        if not isinstance(api, dict) or content.get("format") or content.get("files"):
            return content
        items = api.get("items") or ""
        path = ".".join(filter(None, ["item", str(items), "item"]))
        return {**content, "format": {"kind": "json", "items": path}}

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("licence", mode="before")
    @classmethod
    def _filled_in(cls, value: Any) -> Any:
        if isinstance(value, str) and FILL_IN in value:
            raise ValueError("still to be filled in: say under which terms you hold this feed")
        return value

    @field_validator("fields")
    @classmethod
    def _has_title(cls, value: dict[str, How]) -> dict[str, How]:
        if "title" not in value:
            raise ValueError("a title is needed: `title: <field>`")
        return value

    @model_validator(mode="after")
    def _pictures_are_named(self) -> Source:
        if self.pictures != Pictures() and "image" not in self.fields:
            raise ValueError("`pictures` needs `image: <field>` below `fields`")
        return self

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        given = [name for name in ("files", "database", "api") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give one of files, database, api; here: {', '.join(given) or 'none'}")
        if self.files and self.format is None:
            raise ValueError("`format` is needed beside `files`")
        if self.database and self.format is not None:
            raise ValueError("`format` is for files: leave it out beside `database`")
        if self.api and self.format.items != self.api.json_path:
            raise ValueError("`format` is for files: leave it out beside `api`")
        return self

    @property
    def hash(self) -> str:
        """sha256 of what decides how a record is read: comments, description, licence, where it and its pictures come from
        do not."""
        content = self.model_dump(
            mode="json",
            by_alias=True,
            exclude_defaults=True,
            exclude={"description", "licence", "files", "database", "api", "pictures"},
        )
        if self.pictures.encoding:
            content["pictures"] = {"encoding": self.pictures.encoding}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def address(self) -> str | None:
        """Address of the database or API it is read from; None for files."""
        if self.database is not None:
            return self.database.address
        return self.api.url if self.api is not None else None

    @property
    def labels(self) -> bool:
        """Whether its categories are labels to learn from."""
        return self.categories is not None and self.categories.labels

    def vendor_fields(self, optional: bool = False) -> set[str]:
        """Vendor fields the mapping reads and the file must have; with `optional` also those that may be absent."""
        return {name for name, may_lack in self._all_fields() if optional or not may_lack}

    def _all_fields(self) -> Iterator[tuple[str, bool]]:
        hows: list[How] = [*self.key.parts, *self.key.content_hash, self.region, *self.fields.values()]
        hows += [*self.attributes.values(), *(self.categories.levels if self.categories else ())]
        hows += [how for how in (self.updated_at, self.price) if how is not None]
        if self.price is not None:
            hows += [how for how in (self.price.high, self.price.currency) if how is not None]
        for how in hows:
            yield from how.vendor_fields()
        if self.language.field:
            yield self.language.field, False
        if self.categories is not None and self.categories.field:
            yield self.categories.field, self.categories.optional
        for listed in self.attribute_lists:
            yield listed.field, listed.optional


def load(name: str, dirs: Sequence[str | Path] = ()) -> Source:
    """The mapping `<name>.yml` from the first of `dirs`, then the built-in conf/sources, that has it.

    Raises `UsageError`: an unknown name (with the known ones), or the file, line and key of a wrong option.
    """
    folders = [*map(Path, dirs), resource("conf", "sources")]
    for folder in folders:
        path = folder / f"{name}.yml"
        if path.is_file():
            return read(path)
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yml")})
    raise UsageError(f"unknown source {name!r}; known: {', '.join(known) or 'none'}")


def where(name: str, dirs: Sequence[str | Path] = ()) -> str | None:
    """The file a mapping is in, as a person would name it; None where there is none."""
    folders = [*map(Path, dirs), resource("conf", "sources")]
    for path in (folder / f"{name}.yml" for folder in folders):
        if path.is_file():
            path = path.resolve()
            return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return None


def load_all(names: Iterable[str], dirs: Sequence[str | Path] = ()) -> list[Source]:
    """The mappings of `names`, in this order, each once."""
    return [load(name, dirs) for name in dict.fromkeys(names)]


def read(path: str | Path) -> Source:
    """The mapping in the file `path`. Raises `UsageError` naming file, line and key."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_repeats(tree, path)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: a mapping is a list of `option: value` lines; see docs/sources.md")
    if "name" in content and content["name"] != path.stem:
        line = _line(tree, ("name",))
        raise UsageError(f"{path}:{line}: name: {content['name']!r} must be the file's name, {path.stem!r}")
    try:
        return Source(**{**content, "name": path.stem})
    except ValidationError as error:
        raise UsageError(_first_error(error, tree, path)) from None


def check_secrets(source: Source) -> None:
    """Whether the environment has what the source names. Raises `UsageError`."""
    for variable in connections.variables(source.database, source.api):
        connections.secret(variable, source.name)


class FeedProblem(DataRefused):
    """A feed file that does not fit its mapping: the source stops, others go on."""


def check_header(source: Source, path: str, header: Sequence[str]) -> None:
    """Whether a file has the fields the mapping reads. Raises `FeedProblem` naming those it lacks.

    `header`: the field names of a kind that names them all (`NAMED_KINDS`) or of a database; otherwise those met in its
    first records, where a sparse field may well be absent, so that only key, region, title, price and categories are
    asked for. An empty header (a file without records) fits.
    """
    if not header:
        return
    named = source.format is None or source.format.kind in NAMED_KINDS
    have, needed = set(header), _needed(source, named)
    lacking = [" or ".join(sorted(group)) for group in needed if not group & have]
    if lacking:
        some = ", ".join(list(header)[:12]) + (", ..." if len(header) > 12 else "")
        hint = (
            f" (is the delimiter {source.format.delimiter!r} right?)"
            if source.format and source.format.kind == "csv" and len(header) == 1
            else ""
        )
        raise FeedProblem(
            f"{path}: the mapping of {source.name} reads {', '.join(sorted(set(lacking)))}, which the file does not "
            f"have; it has {some}{hint}; correct the mapping, or mark the field `optional: true`"
        )


def _needed(source: Source, everything: bool) -> list[set[str]]:
    """Sets of vendor fields of which the file must have one each."""

    def groups(how: How) -> Iterator[set[str]]:
        if how.first_of:
            if not how.optional and all(not may_lack for _, may_lack in how.vendor_fields()):
                yield {name for name, _ in how.vendor_fields()}
            return
        yield from ({name} for name, may_lack in how.vendor_fields() if not may_lack)

    if everything:
        return [{name} for name in source.vendor_fields()]
    hows = [*source.key.parts, *source.key.content_hash, source.region, source.fields["title"]]
    hows += [source.price] if source.price else []
    needed = [group for how in hows for group in groups(how)]
    categories = source.categories
    if categories is not None:
        needed += [group for how in categories.levels[:1] for group in groups(how)]
        needed += [{categories.field}] if categories.field and not categories.optional else []
    return needed


def _first_error(error: ValidationError, tree: yaml.Node, path: Path) -> str:
    wrongs = error.errors()
    # An unknown option says more than the missing one it was meant to be.
    wrong = next((one for one in wrongs if one["type"] == "extra_forbidden"), wrongs[0])
    found = [step for step in wrong["loc"] if step not in ("parts", "[key]")]
    key = ".".join(str(step) for step in found)
    if wrong["type"] == "extra_forbidden":
        message = "unknown option"
        if len(found) == 1 and found[0] in TEXT_FIELDS:
            message += f"; write it below `fields:` ({found[0]}: ...)"
    elif wrong["type"] == "missing":
        message = "is needed"
    elif wrong["type"] == "literal_error" and "[key]" in wrong["loc"]:
        message = f"unknown field; `fields:` knows {', '.join(TEXT_FIELDS)}"
    else:
        message = wrong["msg"].removeprefix("Value error, ")
    place = f"{path}:{_line(tree, wrong['loc'])}: " + (f"{key}: " if key else "")
    return f"{place}{message}; see docs/sources.md"


def _line(node: yaml.Node | None, steps: Sequence[str | int]) -> int:
    """Line, from 1, of the deepest node on the way `steps`; steps the file does not have are passed over."""
    line = node.start_mark.line + 1 if node is not None else 1
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    node, line = value, key.start_mark.line + 1
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _refuse_repeats(node: yaml.Node | None, path: Path) -> None:
    """YAML itself silently keeps the last of two equal keys."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise UsageError(f"{path}:{line}: {key.value}: given twice, first on line {seen[key.value]}")
            seen[key.value] = line
            _refuse_repeats(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeats(item, path)
