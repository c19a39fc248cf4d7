"""Draft the mapping of an unknown feed: what its files are, what its fields hold, which field is probably what."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lxml import etree

from shelfmark.errors import UsageError
from shelfmark.ingest import archives, excel, formats, readers, sqldump
from shelfmark.ingest.categories import SEPARATOR, split_path
from shelfmark.ingest.formats import HARDENED, FileProblem, Format, open_feed, open_raw
from shelfmark.ingest.languages import DEFAULT_LANGUAGES, detect
from shelfmark.ingest.mapping import FILL_IN, TEXT_FIELDS
from shelfmark.ingest.prices import CURRENCIES, parse_price, region_currency
from shelfmark.ingest.text import clean

SAMPLE = 2_000
"""Records looked at: enough to see a field that one record in a hundred has, read in a second."""

_HEAD = 1 << 20  # bytes looked at to tell the format

# Names vendors use, likeliest first; compared in small letters without blanks, dashes and underscores.
_NAMES = {
    "title": "title name productname producttitle itemname itemtitle productdisplayname label titre titulo nombre",
    "description": "description productdescription longdescription bodyhtml body details shortdescription descripcion",
    "brand": "brand brandname manufacturer vendor marca marque merek",
    "gtin": "gtin gtin13 gtin14 ean ean13 barcode upc isbn isbn13",
    "model_number": "mpn modelnumber model partnumber manufacturerpartnumber",
    "item_group": "itemgroupid itemgroup parentsku parentid groupid parentasin",
    "image": "imagelink mainimage image imageurl img picture pictureurl thumbnail imageurls images",
}
_KEYS = "id sku productid asin itemid uniqid uid code key productcode articlenumber pid variantid"
_PRICES = (
    "finalprice saleprice discountprice currentprice sellingprice offerprice price amount unitprice displayprice "
    "actualprice listprice regularprice oldprice initialprice mrp originalprice precio prix preis harga"
)
_REGIONS = "region country countrycode market marketplace locale domain"
_UPDATED = "updatedat lastmodified modifiedat modified updated lastupdated updatetime timestamp scrapedat"
_CATEGORIES = (
    "categorypath breadcrumb breadcrumbs categorytree googleproductcategory producttype categories category "
    "categoryname subcategory taxonomy categoria categorie"
)
# Fields that are levels of one path, root first.
_LEVELS = (
    re.compile(r"(?:level|cat|category|l)_?(\d)", re.I),
    re.compile(r"(main|root|top|department)_?category|(sub)_?category|(sub_?sub|leaf)_?category", re.I),
)
_ATTRIBUTES = {
    "colour": "color colour",
    "size": "size",
    "material": "material",
    "pattern": "pattern",
    "gender": "gender",
    "age group": "agegroup",
    "weight": "weight netweight",
    "unit": "unit",
    "usage": "usage",
}
_NO_VALUES = ("null", "NULL", "None", "none", "nan", "NaN", "N/A", "n/a", "-", "[]")
_ASIN = r"/dp/([A-Z0-9]{10})"


@dataclass(frozen=True)
class Profile:
    """What a sample says of one vendor field. `values` are those that are neither blank nor a text for no value."""

    name: str
    values: tuple[str, ...]
    records: int

    @property
    def fill(self) -> float:
        return len(self.values) / self.records if self.records else 0.0

    @property
    def distinct(self) -> int:
        return len(set(self.values))


def draft(path: str | Path) -> str:
    """A commented draft of the mapping of the feed file `path`, as YAML; what is guessed says `# guess`.

    The licence is left for a person to fill in, and the loader refuses the draft until then. Raises `UsageError` where
    the file is not there or holds no records, `FileProblem` where it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file" if not path.exists() else f"{path}: name one file of the feed")
    options = sniff(path)
    fmt = Format(**options)
    sample = list(islice(readers.read(readers.Split(formats.expanded([str(path)], fmt)[0]), fmt), SAMPLE))
    records = [record.fields for record in sample if record.fields is not None]
    if not records:
        why = next((f": the first one is {one.problem}" for one in sample), "")
        raise UsageError(f"{path}: no readable record among the first {SAMPLE}{why}")
    missing = _texts_for_nothing(records)
    profiles = [_profile(name, records, missing) for name in dict.fromkeys(n for record in records for n in record)]
    lines = _head(path, options, len(sample), len(sample) - len(records))
    lines += _mapping(profiles, missing)
    lines += ["", *_table(profiles, len(records))]
    return "\n".join(lines) + "\n"


def sniff(path: Path) -> dict[str, Any]:
    """Options of the `format:` section for a file: kind, and of the rest what differs from the defaults.

    Of several members of a zip archive those count that are named like the first one, of several sheets the first one,
    of several tables of a dump the first one that is named like products.
    """
    with open_raw(str(path)) as raw:
        first = raw.peek(8)
        packed = first.startswith(archives.ZIP_MAGICS)
        if first.startswith(formats.OLE_MAGIC) or (packed and archives.is_workbook(raw)):
            found = excel.sheets(str(path))
            return {"kind": "excel"} | ({"sheet": found[0]} if len(found) > 1 else {})
        members = archives.chosen(raw, "*") if packed else []
    if members:
        inner = sniff(Path(f"{path}{archives.SEPARATOR}{members[0]}"))
        return inner | ({"member": f"*{Path(members[0]).suffix}"} if len(members) > 1 else {})
    with open_feed(str(path)) as stream:
        head = stream.read(_HEAD)
        whole = not stream.read(1)
    if not head.strip():
        raise UsageError(f"{path}: the file is empty")
    if head.startswith(b"PAR1"):
        return {"kind": "parquet"}
    text, encoding = _decoded(head)
    start = text.lstrip("\ufeff \t\r\n")
    named = {"encoding": encoding} if encoding else {}
    if _SQL.match(start) and _SQL_DATA.search(start):
        return _dump(path, start, named)
    if start.startswith("<"):
        return {"kind": "xml", "record": _xml_record(head, path)} | named
    if start.startswith("["):
        return {"kind": "json"} | named
    if start.startswith("{"):
        first = start.partition("\n")[0].strip()
        try:
            alone = isinstance(json.loads(first), dict)
        except ValueError:
            alone = False
        if alone and not (whole and start.strip() == first and _array_in(json.loads(first))):
            return {"kind": "jsonl"} | named
        return {"kind": "json", "items": _json_items(start)} | named
    return {"kind": "csv"} | _delimited(text) | named


def _decoded(head: bytes) -> tuple[str, str | None]:
    """(Text, encoding to state). A byte order mark states itself."""
    for mark, codec in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if head.startswith(mark):
            return head.decode(codec, "replace"), None
    if head[1:200:2].count(0) > 60:
        return head.decode("utf-16-le", "replace"), "utf-16-le"
    try:
        # The last character may be cut in two.
        return head[: len(head) - 4 if len(head) == _HEAD else None].decode("utf-8"), None
    except UnicodeDecodeError as error:
        if len(head) == _HEAD and error.start >= len(head) - 8:
            return head.decode("utf-8", "replace"), None
    # Western feeds that are not UTF-8 come from Windows; cp1252 has its quotation marks and the euro.
    return head.decode("cp1252", "replace"), "cp1252"


def _delimited(text: str) -> dict[str, Any]:
    """Delimiter: the one that cuts most of the first records into equally many fields, more than one."""

    def steadiness(delimiter: str) -> tuple[float, int]:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        try:
            widths = [len(row) for row in islice(reader, 200) if row]
        except csv.Error:
            return 0.0, 0
        widths = widths[:-1] or widths  # the last one may be cut off
        width, count = Counter(widths).most_common(1)[0] if widths else (0, 0)
        return (count / len(widths) if width > 1 else 0.0, width)

    best = max((",", "\t", ";", "|", "#"), key=steadiness)
    # Several signs, such as |+|: what stands between all names of the header, and as often in the other lines.
    header = text.partition("\n")[0]
    runs = {*re.findall(r"[^\w\s\"'(),.-]{2,}", header)}
    if len(runs) == 1 and len(run := runs.pop()) <= 20:
        widths = [line.count(run) for line in text.splitlines()[:200] if line][:-1] or [0]
        if widths.count(header.count(run)) > 0.9 * len(widths):
            best = run
    return {"delimiter": best} if best != "," else {}


_SQL = re.compile(r"--|/\*|\\\w|(?:SET|CREATE|DROP|INSERT|BEGIN|START|PRAGMA|USE|COPY|LOCK|REPLACE)\b", re.I)
_SQL_DATA = re.compile(r"^\s*(?:INSERT\s|REPLACE\s+INTO\s|CREATE\s+TABLE\s|COPY\s[^;]*FROM\s+stdin;)", re.I | re.M)
_PRODUCTS = re.compile("product|item|catalog|article|artikel|listing|offer|goods|sku", re.I)


def _dump(path: Path, text: str, named: dict[str, str]) -> dict[str, Any]:
    """Options of an SQL dump. Where nothing tells who wrote it, an escaped quote means MySQL."""
    options = {"kind": "sql", "table": "?"} | named
    try:
        formats.sql_dialect(str(path), Format(**options))
    except FileProblem:
        options["dialect"] = "mysql" if "\\'" in text else "postgres"
    tables = sqldump.tables(str(path), Format(**options), _PRODUCTS.search)
    if not tables:
        raise UsageError(f"{path}: an SQL dump without a table that has rows")
    return options | {"table": next(filter(_PRODUCTS.search, tables), tables[0])}


def _xml_record(head: bytes, path: Path) -> str:
    """The outermost element that repeats and has elements inside."""
    pull = etree.XMLPullParser(events=("start",), **HARDENED, recover=True)
    pull.feed(head)
    counts: Counter[tuple[int, str]] = Counter()
    for _, element in pull.read_events():
        if len(element):
            counts[sum(1 for _ in element.iterancestors()), etree.QName(element).localname] += 1
    repeated = [(depth, -count, name) for (depth, name), count in counts.items() if depth and count > 1]
    alone = [(-depth, -count, name) for (depth, name), count in counts.items() if depth]
    if not (repeated or alone):
        raise UsageError(f"{path}: XML without an element that could be a record")
    return min(repeated or alone)[2]


def _array_in(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(v, list) and v and isinstance(v[0], dict) for v in value.values())


def _json_items(text: str) -> str:
    """`products.item` of `{"products": [{...}`: the keys above the first array of objects."""
    found = re.search(r"\[\s*\{", text)
    keys: list[str] = []
    if found:
        for match in re.finditer(r'"((?:[^"\\]|\\.)*)"\s*:\s*(?=[\[{])|([}\]])', text[: found.start() + 1]):
            if match[1] is not None:
                keys.append(match[1])
            elif keys:
                keys.pop()
    return ".".join([*keys, "item"])


def _texts_for_nothing(records: list[dict[str, str | None]]) -> list[str]:
    met = Counter(value.strip() for record in records for value in record.values() if value and len(value) < 6)
    return [text for text in _NO_VALUES if met[text]]


def _profile(name: str, records: list[dict[str, str | None]], missing: list[str]) -> Profile:
    values = (record.get(name) for record in records)
    kept = (value for value in values if value and not value.isspace() and value.strip() not in missing)
    return Profile(name, tuple(kept), len(records))


# What is what


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _named(profiles: Iterable[Profile], names: Iterable[str]) -> Profile | None:
    by_name = {_plain(one.name): one for one in reversed([*profiles]) if one.values}
    return next((by_name[name] for name in names if name in by_name), None)


def _share(profile: Profile, test: Any) -> float:
    values = profile.values[:300]
    return sum(bool(test(value)) for value in values) / len(values) if values else 0.0


def _json_of(profile: Profile) -> Any:
    """The JSON of the first value that is a filled array or object, else None."""
    for value in profile.values[:50]:
        if value[:1] in "[{":
            try:
                content = json.loads(value)
            except ValueError:
                return None
            if content:
                return content
    return None


def _scalar(text: str) -> str:
    """A text as YAML would read it back."""
    plain = re.fullmatch(r"[A-Za-z_][\w ./-]*", text) and text.strip() == text
    words = ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "~")
    return text if plain and text.lower() not in words else json.dumps(text, ensure_ascii=False)


def _flow(items: Iterable[str]) -> str:
    return "[" + ", ".join(_scalar(item) if "," not in item else json.dumps(item) for item in items) + "]"


def _head(path: Path, options: dict[str, Any], read: int, broken: int) -> list[str]:
    lines = [
        f"# A draft from the first {read} records of {path.name}" + (f" ({broken} of them broken)." if broken else "."),
        "# Check every line that says `guess`; docs/sources.md shows all options.",
        f"description: {FILL_IN} what the feed is and where it comes from",
        f"licence: {FILL_IN} under which terms you hold this feed; it is refused until you do",
        f"files: {_scalar(path.name)}    # relative to the data folder; a glob such as feed-*.csv takes several",
        "format:",
    ]
    lines += [
        f"  {name}: {json.dumps(value) if name == 'delimiter' else _scalar(value)}" for name, value in options.items()
    ]
    return [*lines, ""]


def _mapping(profiles: list[Profile], missing: list[str]) -> list[str]:
    title = _named(profiles, _NAMES["title"].split()) or _longest_text(profiles)
    price, price_lines, currency = _price(profiles)
    region, region_lines = _region(profiles, currency)
    lines = [_key(profiles, title), *region_lines, _language(title)]
    updated = _named(profiles, _UPDATED.split())
    if updated is not None and _share(updated, lambda value: re.match(r"\d{4}-\d\d-\d\d", value)) > 0.9:
        lines.append(f"updated_at: {_scalar(updated.name)}    # guess")
    if missing:
        lines.append(f"missing: {_flow(missing)}    # texts met that seem to mean no value")
    lines += ["", "fields:", f"  title: {_scalar(title.name)}    # guess"]
    taken = {title.name}
    for field in TEXT_FIELDS[1:]:
        found = _named((one for one in profiles if one.name not in taken), _NAMES[field].split())
        if found is None:
            continue
        taken.add(found.name)
        content = _json_of(found)
        if isinstance(content, list):
            lines.append(f'  {field}: {{field: {_scalar(found.name)}, json: "[0]"}}    # guess')
        else:
            sparse = ", optional: true" if found.fill < 0.5 else ""
            how = f"{{field: {_scalar(found.name)}{sparse}}}" if sparse else _scalar(found.name)
            lines.append(f"  {field}: {how}    # guess")
    if price is not None:
        if currency is None:
            local = region_currency(region) or "USD"
            price_lines[-1] = f"  currency: {local}    # guess: nothing in the feed says it"
        lines += price_lines
    lines += _category_lines(profiles)
    attributes = []
    for name, names in _ATTRIBUTES.items():
        found = _named(profiles, names.split())
        if found is not None and found.name not in taken and _json_of(found) is None:
            how = f"{{field: {_scalar(found.name)}, optional: true}}" if found.fill < 0.5 else _scalar(found.name)
            attributes.append(f"  {name}: {how}")
    lines += ["attributes:    # guess", *attributes] if attributes else []
    listed = [one for one in profiles if _is_attribute_list(_json_of(one))]
    if listed:
        lines += ["attribute_lists:    # guess", *(f"  - field: {_scalar(one.name)}" for one in listed)]
    return lines


def _longest_text(profiles: list[Profile]) -> Profile:
    """No field is named like a title: the one whose values look most like one, varied texts of some words."""

    def like_a_title(one: Profile) -> float:
        words = sum(len(value.split()) for value in one.values[:200]) / max(1, len(one.values[:200]))
        return one.fill * one.distinct / max(1, len(one.values)) * min(words, 12) * (1 - _share(one, _is_address))

    return max(profiles, key=like_a_title)


def _is_address(value: str) -> bool:
    return value.startswith(("http://", "https://", "//", "[", "{"))


def _key(profiles: list[Profile], title: Profile) -> str:
    whole = [one for one in profiles if one.fill > 0.99]
    named = _named(whole, _KEYS.split())
    # Half of the records may repeat a key, for example once for each category; a code of a few values is no key.
    if named is not None and named.distinct > named.records / 2:
        return f"key: {_scalar(named.name)}    # guess: {_distinct(named)}"
    for one in whole:
        if _share(one, lambda value: re.search(_ASIN, value)) > 0.95:
            return f'key: {{field: {_scalar(one.name)}, extract: "{_ASIN}"}}    # guess: Amazon\'s number in the link'
    for one in whole:
        if (
            one is not title
            and one.distinct == one.records > 1
            and _share(one, lambda v: len(v) < 200 and " " not in v) == 1
        ):
            return f"key: {_scalar(one.name)}    # guess: {_distinct(one)}"
    return (
        f"key: {{content_hash: [{_scalar(title.name)}]}}    # guess: no field looks like a key, so the title is hashed"
    )


def _distinct(one: Profile) -> str:
    return f"{one.distinct} distinct values in {one.records} records"


def _price(profiles: list[Profile]) -> tuple[Profile | None, list[str], str | None]:
    def is_price(value: str) -> bool:
        return parse_price(value).problem is None

    named = [
        one
        for one in (_named(profiles, [name]) for name in _PRICES.split())
        if one is not None and _share(one, is_price) > 0.9
    ]
    if not named:
        return None, [], None
    best, others = named[0], named[1:]
    # Where the price asked is often absent, a fuller field is the list price that then holds.
    second = next((one for one in others if best.fill < 0.99 and one.fill > best.fill), None)
    if second is not None:
        lines = ["price:", f"  first_of: {_flow([best.name, second.name])}    # guess"]
    else:
        lines = ["price:", f"  field: {_scalar(best.name)}    # guess"]
    field = next((one for one in profiles if "currency" in _plain(one.name) and one.values), None)
    if field is not None and _share(field, lambda value: value.strip().upper() in CURRENCIES) > 0.9:
        code = Counter(field.values).most_common(1)[0][0].strip().upper()
        return best, [*lines, f"  currency: {{field: {_scalar(field.name)}}}    # guess"], code
    met = Counter(parse_price(value).currency for value in best.values).most_common(1)[0][0]
    lines.append(f"  currency: {met}    # guess: from the prices' own signs")
    return best, lines, met


def _region(profiles: list[Profile], currency: str | None) -> tuple[str, list[str]]:
    found = _named(profiles, _REGIONS.split())
    if found is not None and _share(found, lambda value: re.fullmatch("[A-Z]{2}", value.strip())) > 0.95:
        return found.values[0].strip(), [f"region: {{field: {_scalar(found.name)}}}    # guess"]
    # The euro and the dollar are used in many places; the currency's own country is only a beginning.
    region = {"EUR": "DE"}.get(currency or "", (currency or "US")[:2])
    lines = [f"region: {region}    # guess: " + ("from the currency" if currency else "nothing in the feed says it")]
    if found is not None and 1 < found.distinct <= 50:
        top = [value for value, _ in Counter(found.values).most_common(8)]
        lines.append(
            f"# {found.name} may tell the region: region: {{field: {_scalar(found.name)}, map: {{{top[0]}: {region}}}}}"
        )
        lines.append(f"#   its values: {', '.join(top)}")
    return region, lines


def _language(title: Profile) -> str:
    titles = [clean(value) or "" for value in title.values[:500]]
    met = Counter(code for code in (detect(one, DEFAULT_LANGUAGES) for one in titles) if code)
    if not met:
        return "language: detect    # guess: the titles do not tell"
    code, count = met.most_common(1)[0]
    share = count / met.total()
    # Short titles are often taken for a neighbour's language: beyond nine in ten it is one language.
    if share >= 0.9:
        return f"language: {code}    # guess: {share:.0%} of the titles"
    likely = [one for one, n in met.most_common() if n >= 0.02 * met.total()]
    shares = ", ".join(f"{one} {met[one] / met.total():.0%}" for one in likely)
    return f"language: {{detect: [{', '.join(map(_scalar, likely))}]}}    # guess: {shares}"


def _category_lines(profiles: list[Profile]) -> list[str]:
    filled = [one for one in profiles if one.values]
    end = ["  labels: false    # true if a classifier may learn from these categories"]
    for pattern in _LEVELS:
        levels = [one for one in filled if pattern.fullmatch(re.sub(r"[\s-]", "_", one.name))]
        if len(levels) > 1:
            return ["categories:", f"  levels: {_flow(one.name for one in levels)}    # guess", *end]
    found = _named(filled, _CATEGORIES.split())
    if found is None:
        return ["# No field looks like a category."]
    content = _json_of(found)
    if isinstance(content, list):
        path = "[].name" if isinstance(content[0], dict) and "name" in content[0] else "[]"
        return ["categories:", f"  field: {_scalar(found.name)}    # guess", f'  json: "{path}"    # guess', *end]
    if _share(found, lambda value: SEPARATOR in (split_path(value) or "")) < 0.1:
        return ["categories:", f"  levels: [{_scalar(found.name)}]    # guess: one level only", *end]
    return ["categories:", f"  field: {_scalar(found.name)}    # guess", *end]


def _is_attribute_list(content: Any) -> bool:
    return (
        isinstance(content, list)
        and all(isinstance(one, dict) for one in content)
        and sum("name" in one and "value" in one for one in content) == len(content)
    )


def _table(profiles: list[Profile], records: int) -> list[str]:
    """The profile as comments: one line a field."""
    width = min(40, max(len(one.name) for one in profiles))
    lines = [f"# Fields in {records} records: how many have a value, how many different ones, examples", "#"]
    lines.append(f"# {'field':<{width}}  filled  different  examples")
    for one in profiles:
        shown = []
        for value in islice(dict.fromkeys(one.values), 2):
            text = " ".join("".join(c if c.isprintable() else " " for c in value[:200]).split())
            shown.append(text[:40] + ("…" if len(text) > 40 else ""))
        name = "".join(c if c.isprintable() else " " for c in one.name)
        lines.append(f"# {name:<{width}}  {one.fill:>6.1%}  {one.distinct:>9}  {' | '.join(shown)}".rstrip())
    return lines
