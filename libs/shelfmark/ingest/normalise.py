"""One vendor record -> one product: the mapping compiled into plain functions. No Spark in here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from shelfmark import traits
from shelfmark.ingest import identifiers, prices
from shelfmark.ingest.categories import SEPARATOR, join_levels, split_path
from shelfmark.ingest.jsonpath import follow, parse_path
from shelfmark.ingest.languages import LANGUAGES, detect
from shelfmark.ingest.mapping import AttributeList, Categories, How, Language, Price, Source
from shelfmark.ingest.quantities import DIMENSIONS, Quantity, plain, quantities, quantity
from shelfmark.ingest.text import clean

Record = dict[str, Any]
Get = Callable[[Record], str | None]
Attribute = tuple[str, str, str | None]

NO_JSON = object()


@dataclass(slots=True)
class Product:
    """What one record says, in the names of silver.products; `reject_rule` is None for a good record."""

    product_id: str | None = None
    source_key: str | None = None
    region: str | None = None
    title: str | None = None
    description: str | None = None
    brand: str | None = None
    gtin: str | None = None
    model_number: str | None = None
    price: Decimal | None = None
    price_high: Decimal | None = None
    currency: str | None = None
    attributes: list[Attribute] = field(default_factory=list)
    category_paths: list[str] = field(default_factory=list)
    language: str | None = None
    item_group: str | None = None
    image: str | None = None
    colour: str | None = None
    size: str | None = None
    material: str | None = None
    amount: float | None = None
    amount_unit: str | None = None
    model_code: str | None = None
    problems: str | None = None
    source_updated_at: datetime | None = None
    reject_rule: str | None = None
    reject_reason: str | None = None


def product_id(source: str, source_key: str) -> str:
    """The same product keeps it for ever: 32 hex digits of sha256 over source and key."""
    return hashlib.sha256(f"{source}\0{source_key}".encode("utf-8", "replace")).hexdigest()[:32]


def compile_source(source: Source) -> Callable[[Record], Product]:
    """A function that turns a vendor record (field -> text, nested values as JSON text) into a `Product`.

    Reject rules, the first one broken: `key_missing`, `region_unknown`, `title_missing`, `price_unreadable`,
    `currency_unknown`. What is only noted goes to `problems`: `gtin_length`, `gtin_check_digit`, `gtin_restricted`,
    `category_unreadable`, `language_unknown`, `price_ambiguous`, `json_unreadable`, `updated_at_unreadable`.
    """
    missing = frozenset(source.missing)
    texts = {name: _getter(how, missing) for name, how in source.fields.items()}
    none: Get = lambda record: None  # noqa: E731
    title_of, description_of = texts["title"], texts.get("description", none)
    brand_of, gtin_of, model_of = texts.get("brand", none), texts.get("gtin", none), texts.get("model_number", none)
    group_of, image_of = texts.get("item_group", none), texts.get("image", none)
    key_of = _key(source, missing)
    region_of = _region(source, missing)
    language_of = _language(source.language, missing)
    price_of = _price(source.price, missing) if source.price else None
    paths_of = _categories(source.categories, missing) if source.categories else None
    attributes_of = _attributes(source, missing)
    updated_of = _updated(source, missing) if source.updated_at else None
    name = source.name
    key_says = ", ".join(
        sorted({f for how in (*source.key.parts, *source.key.content_hash) for f, _ in how.vendor_fields()})
    )
    price_says = ", ".join(f for f, _ in source.price.vendor_fields()) if source.price else ""
    title_says = ", ".join(f for f, _ in source.fields["title"].vendor_fields())
    region_says = ", ".join(f for f, _ in source.region.vendor_fields())
    hashed_key = bool(source.key.content_hash)
    encoding = source.pictures.encoding

    def normalise(record: Record) -> Product:
        product = Product()
        problems: list[str] = []
        key = key_of(record)
        title = product.title = clean(title_of(record))
        region = product.region = region_of(record)
        if key is not None:
            product.source_key = key
            product.product_id = product_id(name, key)
        elif not hashed_key or title is not None:
            _reject(product, "key_missing", f"no value in {key_says}")
        if region is None:
            _reject(product, "region_unknown", f"no region for the value of {region_says}")
        if title is None:
            _reject(product, "title_missing", f"no text in {title_says}")
        product.description = clean(description_of(record))
        text = brand_of(record)
        if text:
            product.brand = identifiers.clean_brand(text)
        text = gtin_of(record)
        if text:
            product.gtin, problem = identifiers.gtin(text)
            if problem:
                problems.append(problem)
        text = model_of(record)
        if text:
            product.model_number = identifiers.model_number(text)
        if price_of is not None:
            price_of(record, product, problems, price_says)
        if paths_of is not None:
            product.category_paths = paths_of(record, problems)
        product.attributes = attributes_of(record, title, problems)
        if title is not None:
            product.language = language_of(record, title, region, problems)
            _extract_traits(product)
        text = group_of(record)
        if text:
            product.item_group = text.strip() or None
        text = image_of(record)
        if text:
            product.image = text.strip() or None
            if encoding and product.image:
                product.image = f"bytes:{hashlib.sha256(picture_bytes(text, encoding) or text.encode()).hexdigest()}"
        if updated_of is not None:
            product.source_updated_at = updated_of(record, problems)
        if problems:
            product.problems = ",".join(sorted(set(problems)))
        return product

    return normalise


def image_text(source: Source) -> Get:
    """A function that gives what the image field of a vendor record holds, None where nothing."""
    how = source.fields.get("image")
    return _getter(how, frozenset(source.missing)) if how else lambda record: None


def picture_bytes(text: str, encoding: str) -> bytes | None:
    """The bytes of a picture that a field holds as `base64` (also as a data: address) or `hex`; None if it does not."""
    text = "".join(text.split())
    try:
        if encoding == "hex":
            return bytes.fromhex(text.removeprefix("0x").removeprefix("\\x")) or None
        if text[:5].lower() == "data:":
            text = text.partition(",")[2]
        return base64.b64decode(text, validate=True) or None
    except ValueError:
        return None


def _reject(product: Product, rule: str, reason: str) -> None:
    if product.reject_rule is None:
        product.reject_rule, product.reject_reason = rule, f"{rule}: {reason}"


def _getter(how: How, missing: frozenset[str]) -> Get:
    """The raw value a `How` names: text that is not blank and not one of `missing`, else None."""
    values = _all_values(how, missing)
    if how.field is not None and how.json_path is None and how.split is None:
        name, pattern = how.field, re.compile(how.extract) if how.extract else None

        def plain_field(record: Record) -> str | None:
            value = record.get(name)
            if not value or value.isspace() or (missing and value.strip() in missing):
                return None
            return value if pattern is None else _extract(pattern, value)

        return plain_field

    return lambda record: next(iter(values(record)), None)


def _all_values(how: How, missing: frozenset[str]) -> Callable[[Record], list[str]]:
    """All values a `How` names: several where it has `json` with many answers, or `split`."""
    pattern = re.compile(how.extract) if how.extract else None
    steps = parse_path(how.json_path) if how.json_path else None
    firsts = [_all_values(part, missing) for part in how.first_of or ()]
    joined = [_getter(part, missing) for part in how.join or ()]

    def values(record: Record) -> list[str]:
        if how.constant is not None:
            found: list[str] = [how.constant]
        elif how.field is not None:
            value = record.get(how.field)
            found = [value] if value else []
        elif firsts:
            found = next((got for got in (first(record) for first in firsts) if got), [])
        else:
            found = [how.with_.join(value.strip() for value in (part(record) for part in joined) if value)]
        if steps is not None:
            found = [_text(node) for value in found for node in follow(_json(value), steps)]
        if pattern is not None:
            found = [got for value in found if (got := _extract(pattern, value))]
        if how.split is not None:
            found = [part for value in found for part in value.split(how.split)]
        return [value for value in found if value and not value.isspace() and value.strip() not in missing]

    return values


def _extract(pattern: re.Pattern[str], value: str) -> str | None:
    match = pattern.search(value)
    if match is None:
        return None
    return next((group for group in match.groups() if group), None) if pattern.groups else match.group()


def _json(text: str) -> Any:
    """The JSON a field holds; NO_JSON where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return NO_JSON


def _text(node: Any) -> str:
    if isinstance(node, str):
        return node
    if isinstance(node, bool):
        return "true" if node else "false"
    return json.dumps(node, ensure_ascii=False)


def _key(source: Source, missing: frozenset[str]) -> Get:
    if source.key.content_hash:
        hashed = [_getter(how, missing) for how in source.key.content_hash]

        def content_hash(record: Record) -> str | None:
            # White space is levelled and nothing else: a later, better cleaning rule must not change the keys.
            parts = [" ".join((get(record) or "").split()) for get in hashed]
            if not any(parts):
                return None
            return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:32]

        return content_hash
    gets = [_getter(how, missing) for how in source.key.parts]
    if len(gets) == 1:
        (only,) = gets

        def single(record: Record) -> str | None:
            value = only(record)
            return value.strip() if value else None

        return single

    def several(record: Record) -> str | None:
        parts = [get(record) for get in gets]
        return None if None in parts else "|".join(part.strip() for part in parts)

    return several


def _region(source: Source, missing: frozenset[str]) -> Get:
    region = source.region
    if region.constant is not None:
        return lambda record: region.constant
    get = _getter(region, missing)

    def look_up(record: Record) -> str | None:
        value = get(record)
        if value is None:
            return region.default
        value = value.strip()
        if region.map:
            return region.map.get(value, region.default)
        value = value.upper()
        return value if re.fullmatch(r"[A-Z][A-Z0-9-]{1,7}", value) else region.default

    return look_up


def _language(
    language: Language, missing: frozenset[str]
) -> Callable[[Record, str, str | None, list[str]], str | None]:
    def decide(choice: str | list[str] | None, title: str, problems: list[str]) -> str | None:
        if isinstance(choice, list):
            return detect(title, choice, home=choice[0])
        found = detect(title) if choice == "detect" else choice
        if found is None:
            problems.append("language_unknown")
        return found

    def of(record: Record, title: str, region: str | None, problems: list[str]) -> str | None:
        if language.constant is not None:
            return language.constant
        if language.field is not None:
            stated = (record.get(language.field) or "").strip().lower()[:2]
            if stated in LANGUAGES:
                return stated
            problems.append("language_unknown")
            return None
        return decide(
            language.by_region.get(region) if language.by_region else language.detect or None, title, problems
        )

    return of


def _price(price: Price, missing: frozenset[str]) -> Callable[[Record, Product, list[str], str], None]:
    low_of = _getter(price, missing)
    high_of = _getter(price.high, missing) if price.high else None
    constant = price.currency.constant if price.currency else None
    currency_of = _getter(price.currency, missing) if price.currency and constant is None else None
    decimal = price.decimal or (prices.decimal_separator(price.locale) if price.locale else None)

    def read(record: Record, product: Product, problems: list[str], says: str) -> None:
        text = low_of(record)
        if text is None:
            return
        region = product.region
        stated, stated_text = constant, None
        if currency_of is not None:
            stated_text = currency_of(record)
            stated = prices.currency_code(stated_text, region) if stated_text else None
        found = prices.parse_price(text, region, stated, decimal)
        if found.problem == "price_unreadable":
            _reject(product, "price_unreadable", f"no price in {says}: {text.strip()[:100]!r}")
            return
        if found.problem:
            problems.append(found.problem)
        product.price, product.price_high, product.currency = found.low, found.high, found.currency
        if found.currency is None:
            _reject(product, "currency_unknown", f"no currency for the price {text.strip()[:60]!r}: {stated_text!r}")
        if high_of is not None and (high_text := high_of(record)):
            high = prices.parse_price(high_text, region, stated, decimal)
            if high.low is not None and high.low > product.price:
                product.price_high = high.low

    return read


def _categories(categories: Categories, missing: frozenset[str]) -> Callable[[Record, list[str]], list[str]]:
    drop = tuple(categories.drop)
    if categories.levels:
        gets = [_getter(how, missing) for how in categories.levels]

        @lru_cache(maxsize=16_384)
        def joined(levels: tuple[str | None, ...]) -> tuple[str | None, bool]:
            return join_levels(levels, drop), any(levels)

        def from_levels(record: Record, problems: list[str]) -> list[str]:
            path, given = joined(tuple(get(record) for get in gets))
            if path is None:
                if given:
                    problems.append("category_unreadable")
                return []
            return [path]

        return from_levels
    get = _getter(How(field=categories.field), missing)
    steps = parse_path(categories.json_path) if categories.json_path else None

    @lru_cache(maxsize=16_384)
    def read(text: str) -> tuple[str, ...]:
        if steps is not None:
            reached = follow(_json(text), steps)
            # `[]` reaches the names of one path; a list inside the list is a path of its own.
            nested = [node for node in reached if isinstance(node, list)]
            found = [join_levels(map(_text, node), drop) for node in nested or [reached]]
        elif text.lstrip().startswith("[") and isinstance(nodes := _json(text), list):
            found = _listed(nodes, categories.separator, drop)
        else:
            parts = text.split(categories.several) if categories.several else [text]
            found = [split_path(part, categories.separator, drop) for part in parts]
        return tuple(sorted({path for path in found if path}))

    def from_field(record: Record, problems: list[str]) -> list[str]:
        text = get(record)
        if text is None:
            return []
        paths = read(text)
        if not paths:
            problems.append("category_unreadable")
        return list(paths)

    return from_field


def _listed(nodes: list[Any], separator: str, drop: tuple[str, ...]) -> list[str | None]:
    """Paths of a JSON list: of levels, of lists of levels, or of whole paths (as of an XML element that repeats)."""
    if any(isinstance(node, list) for node in nodes):
        return [join_levels(map(_name, node), drop) for node in nodes if isinstance(node, list)]
    names = [_name(node) for node in nodes]
    whole = [split_path(name, separator, drop) for name in names]
    if separator != "auto" or any(path and SEPARATOR in path for path in whole):
        return whole
    return [join_levels(names, drop)]


def _name(node: Any) -> str:
    return _text(node.get("name", "")) if isinstance(node, dict) else _text(node)


def _attributes(source: Source, missing: frozenset[str]) -> Callable[[Record, str | None, list[str]], list[Attribute]]:
    named = [(name, _all_values(how, missing)) for name, how in source.attributes.items()]
    listed = [
        (one, parse_path(one.json_path) if one.json_path else None, frozenset(one.skip))
        for one in source.attribute_lists
    ]

    def read(record: Record, title: str | None, problems: list[str]) -> list[Attribute]:
        found: set[Attribute] = set()
        for name, values in named:
            for value in values(record):
                if (attribute := _attribute(name, value)) is not None:
                    found.add(attribute)
        for one, steps, skip in listed:
            text = record.get(one.field)
            if not text or text in missing:
                continue
            for name, value in _pairs(text, one, steps, problems):
                if name not in skip and value not in missing:
                    attribute = _attribute(one.rename.get(name, name), value)
                    if attribute is not None:
                        found.add(attribute)
        if title is not None and source.title_quantities:
            found.update(_title_quantities(title))
        # A unit may be None, which does not compare with text.
        return sorted(found, key=lambda one: (one[0], one[1], one[2] or "")) if len(found) > 1 else list(found)

    return read


def _pairs(text: str, one: AttributeList, steps: Any, problems: list[str]) -> Iterable[tuple[str, str]]:
    content = _json(text)
    if content is NO_JSON:
        problems.append("json_unreadable")
        return
    for node in follow(content, steps) if steps else [content]:
        if isinstance(node, dict) and one.name not in node:
            for name, value in node.items():
                if value is not None:
                    yield name, _text(value)
            continue
        for pair in node if isinstance(node, list) else [node]:
            if isinstance(pair, dict) and pair.get(one.name) and pair.get(one.value) is not None:
                yield _text(pair[one.name]), _text(pair[one.value])


@lru_cache(maxsize=65_536)
def _attribute(name: str, value: str) -> Attribute | None:
    """(name in small letters, value, base unit or None), None where either is empty."""
    name, value = (clean(name) or "").casefold(), clean(value) or ""
    if not name or not value:
        return None
    if value[0].isdigit():
        measured = quantity(value)
        if measured is not None:
            return name, plain(measured.total), measured.unit
    return name, value, None


def _extract_traits(product: Product) -> None:
    """What title and attributes say of colour, size, material, amount and model, in one spelling for all languages."""
    title, attributes = product.title or "", tuple(product.attributes)
    colours = traits.colours(title, attributes) - {"inox"}  # a finish that tells variants apart, and a material
    product.colour = ", ".join(sorted(colours)) or None
    product.size = ", ".join(sorted(traits.sizes(title, attributes))) or None
    product.material = ", ".join(sorted(traits.materials(title, attributes))) or None
    if amount := next((one for one in _quantities(title) if one.unit != "pcs"), None):
        product.amount, product.amount_unit = float(amount.total), amount.unit
    product.model_code = traits.model_code(title)


@lru_cache(maxsize=1024)
def _quantities(title: str) -> tuple[Quantity, ...]:
    """`quantities` of a title, which are attributes of a record and a column of it: looked for once."""
    return tuple(quantities(title))


def _title_quantities(title: str) -> Iterable[Attribute]:
    for one in _quantities(title):
        yield f"title {DIMENSIONS[one.unit]}", plain(one.total), one.unit
        if one.count > 1:
            yield "title packs", str(one.count), "pcs"


def _updated(source: Source, missing: frozenset[str]) -> Callable[[Record, list[str]], datetime | None]:
    get, form = _getter(source.updated_at, missing), source.updated_at.format

    @lru_cache(maxsize=16_384)
    def parse(text: str) -> datetime | None:
        try:
            if form in ("unix", "unix_ms"):
                moment = datetime.fromtimestamp(float(text) / (1000 if form == "unix_ms" else 1), UTC)
            else:
                moment = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
        except (ValueError, OverflowError, OSError):
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    def read(record: Record, problems: list[str]) -> datetime | None:
        text = get(record)
        if text is None:
            return None
        moment = parse(text.strip())
        if moment is None:
            problems.append("updated_at_unreadable")
        return moment

    return read
