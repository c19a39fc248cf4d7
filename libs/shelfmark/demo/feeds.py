"""How each vendor of the demo writes its feed: file format, field names, categories, prices, regions.

Every writer takes the chunk's records and the places of the vendor's own, in file order, and writes one part file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from shelfmark.demo.records import Records, colour_name, material_name
from shelfmark.demo.universe import OUTLET, REGIONS, VENDORS, leaves, vendor_levels

FILES = {
    "demo_outfitter": "demo_outfitter/products-{:05d}.csv",
    "demo_bazaar": "demo_bazaar/items-{:05d}.jsonl",
    "demo_kontor": "demo_kontor/katalog-{:05d}.xml",
    "demo_galerie": "demo_galerie/part-{:05d}.parquet",
}
"""Part files of each vendor below the catalogue's folder."""

MARKETS = {
    "demo_outfitter": ("us", "uk", "de", "fr", "in"),
    "demo_bazaar": ("bazaar.us", "bazaar.uk", "bazaar.de", "bazaar.fr", "bazaar.in"),
    "demo_kontor": ("USA", "Großbritannien", "Deutschland", "Frankreich", "Indien"),
    "demo_galerie": ("USA", "GBR", "DEU", "FRA", "IND"),
}
"""A vendor's names of the regions, in the order of `REGIONS`."""
NOWHERE = {
    "demo_outfitter": "atlantis", "demo_bazaar": "bazaar.zz", "demo_kontor": "Niemandsland", "demo_galerie": "ZZZ",
}  # fmt: skip

_ON_REQUEST = {"en": "call us", "de": "auf Anfrage", "fr": "sur demande"}
_START = datetime(2025, 1, 1)
_HOURS = tuple((_START + timedelta(hours=h)).strftime("%Y-%m-%dT%H:%M:%SZ") for h in range(365 * 24))


def grouped(whole: str, separator: str, indian: bool = False) -> str:
    """Digits in groups of three; in India the last three, then pairs: 1,23,999."""
    head, last = whole[:-3], whole[-3:]
    if not head:
        return last
    step = 2 if indian else 3
    groups = []
    while head:
        groups.append(head[-step:])
        head = head[:-step]
    return separator.join([*reversed(groups), last])


def amount_text(price: float, region: int) -> str:
    """The number as people of the region write it: `1,234.56`, `1.234,56`, `1 234,56`, `1,23,999`."""
    sign = "-" if price < 0 else ""
    whole, _, cents = f"{abs(price):.2f}".partition(".")
    code = REGIONS[region].code
    if code == "DE":
        return f"{sign}{grouped(whole, '.')},{cents}"
    if code == "FR":
        return f"{sign}{grouped(whole, chr(0x202F))},{cents}"
    if code == "IN":
        text = grouped(whole, ",", indian=True)
        return f"{sign}{text}" if cents == "00" else f"{sign}{text}.{cents}"
    return f"{sign}{grouped(whole, ',')}.{cents}"


def price_text(price: float, high: float | None, region: int) -> str:
    """A price or a range with its sign: `£1,234.56`, `1.234,56 €`, `₹1,23,999`, `$9.99 - $12.99`."""
    one = _signed(price, region)
    return one if high is None else f"{one} - {_signed(high, region)}"


def _signed(price: float, region: int) -> str:
    text = amount_text(price, region)
    code = REGIONS[region].code
    if code in ("DE", "FR"):
        return f"{text} €"
    sign = {"US": "$", "GB": "£", "IN": "₹"}[code]
    return f"-{sign}{text[1:]}" if text.startswith("-") else sign + text


def weight_text(grams: int, region: int) -> str:
    """Grams below a kilogram, else kilograms with the region's decimal separator."""
    if grams < 1000:
        return f"{grams} g"
    text = f"{grams / 1000:.2f} kg"
    return text.replace(".", ",") if REGIONS[region].code in ("DE", "FR") else text


def _shared(records: Records, i: int) -> tuple[str | None, str | None, str | None, str | None, str | None]:
    """(colour, size, material, weight, power) of a record as text in its region's language."""
    region = records.region[i]
    leaf = leaves()[records.leaf[i]]
    return (
        colour_name(records.colour[i], region) if records.colour[i] >= 0 else None,
        records.size[i],
        material_name(leaf.kit, records.material[i], region) if records.material[i] >= 0 else None,
        weight_text(records.weight[i], region) if records.weight[i] else None,
        f"{records.power[i]} W" if records.power[i] else None,
    )


def group_key(records: Records, i: int) -> str | None:
    """The vendor's own key of the item group, where it gives one."""
    return f"G{records.model[i] * 7 + records.vendor[i]:08d}" if records.grouped[i] else None


def picture_name(records: Records, i: int, chunk: int) -> str | None:
    """Path of the record's picture below the vendor's folder: a member of a tar file."""
    key = records.key[records.photo[i] if records.photo[i] >= 0 else i]
    return f"images/{chunk:05d}.tar/{key}.jpg" if key else None


def label_path(records: Records, i: int) -> tuple[str, ...] | None:
    """Levels of the category the vendor files the record under; None where it gives none."""
    label = records.label[i]
    if label < 0:
        return None
    levels = vendor_levels(records.vendor[i])[label]
    # The outfitter sells one in twenty products in its outlet: a second path to the same category.
    return (OUTLET, *levels) if records.vendor[i] == 0 and records.item[i] % 20 == 0 else levels


OUTFITTER_COLUMNS = (
    "sku", "name", "long_text", "maker", "ean", "style_no", "price", "currency", "market", "department", "colour",
    "size_label", "fabric", "net_weight", "power", "parent_sku", "photo", "last_change",
)  # fmt: skip


def write_outfitter(records: Records, rows: list[int], path: Path, chunk: int, pictures: bool) -> None:
    """CSV, comma, UTF-8; prices as the shopper sees them; categories `Department / Group / Name`."""
    vendor = "demo_outfitter"
    lines = [OUTFITTER_COLUMNS]
    for i in rows:
        rule, region = records.rule[i], records.region[i]
        price = price_text(records.price[i], records.price_high[i], region)
        currency = REGIONS[region].currency
        if rule == "price_unreadable":
            price = _ON_REQUEST[REGIONS[region].language]
        elif rule == "currency_unknown":
            price, currency = f"{records.price[i]:.2f}", "XYZ"
        levels = label_path(records, i)
        colour, size, material, weight, power = _shared(records, i)
        line = (
            records.key[i], records.title[i], records.description[i], records.brand[i], records.gtin[i],
            records.model_number[i], price, currency,
            NOWHERE[vendor] if rule == "region_unknown" else MARKETS[vendor][region],
            " / ".join(levels) if levels else None, colour, size, material, weight, power, group_key(records, i),
            picture_name(records, i, chunk) if pictures else None, _HOURS[records.updated[i]],
        )  # fmt: skip
        if rule == "broken_record":
            line = line[:7] if i % 2 else (*line, "?", "?")
        lines.append(line)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    path.write_bytes(text.getvalue().encode())


def write_bazaar(records: Records, rows: list[int], path: Path, chunk: int, pictures: bool) -> None:
    """JSON lines; prices as numbers; categories as American slugs `department|group|name`."""
    vendor = "demo_bazaar"
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    lines = []
    for i in rows:
        rule, region = records.rule[i], records.region[i]
        levels = label_path(records, i)
        colour, size, material, weight, power = _shared(records, i)
        line = encode({
            "id": records.key[i],
            "title": records.title[i],
            "about": records.description[i],
            "brand_name": records.brand[i],
            "gtin": records.gtin[i],
            "mpn": records.model_number[i],
            "amount": _ON_REQUEST[REGIONS[region].language] if rule == "price_unreadable" else records.price[i],
            "amount_to": records.price_high[i],
            "currency_code": "XYZ" if rule == "currency_unknown" else REGIONS[region].currency,
            "marketplace": NOWHERE[vendor] if rule == "region_unknown" else MARKETS[vendor][region],
            "browse_node": "|".join(levels) if levels else None,
            "color": colour,
            "size": size,
            "material": material,
            "item_weight": weight,
            "wattage": power,
            "variation_of": group_key(records, i),
            "image": picture_name(records, i, chunk) if pictures else None,
            "updated_at": _HOURS[records.updated[i]],
        })  # fmt: skip
        if rule == "broken_record":
            line = line[: len(line) // 2] if i % 2 else line.replace('":', '"', 3)
        lines.append(line)
    path.write_bytes(("\n".join(lines) + "\n" if lines else "").encode())


def write_kontor(records: Records, rows: list[int], path: Path, chunk: int, pictures: bool) -> None:
    """XML with German element names; prices as text with their sign only; categories `Welt » Gruppe » Name`."""
    vendor = "demo_kontor"
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n<katalog>\n']
    for i in rows:
        rule, region = records.rule[i], records.region[i]
        levels = label_path(records, i)
        colour, size, material, weight, power = _shared(records, i)
        price = price_text(records.price[i], records.price_high[i], region)
        fields = (
            ("artikelnummer", records.key[i]), ("bezeichnung", records.title[i]), ("text", records.description[i]),
            ("hersteller", records.brand[i]), ("ean", records.gtin[i]), ("herstellernummer", records.model_number[i]),
            ("preis", _ON_REQUEST["de"] if rule == "price_unreadable" else price),
            ("land", NOWHERE[vendor] if rule == "region_unknown" else MARKETS[vendor][region]),
            ("warengruppe", " » ".join(levels) if levels else None), ("farbe", colour), ("groesse", size),
            ("material", material), ("gewicht", weight), ("leistung", power),
            ("variantengruppe", group_key(records, i)),
            ("bild", picture_name(records, i, chunk) if pictures else None), ("stand", _HOURS[records.updated[i]]),
        )  # fmt: skip
        body = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields if value)
        parts.append(f"<artikel>{body}</artikel>\n")
    parts.append("</katalog>\n")
    path.write_bytes("".join(parts).encode())


def write_galerie(records: Records, rows: list[int], path: Path, chunk: int, pictures: bool) -> None:
    """Parquet with French column names; prices as numbers with a currency; category levels in three columns."""
    vendor = "demo_galerie"
    shared = [_shared(records, i) for i in rows]
    levels = [label_path(records, i) or (None, None, None) for i in rows]
    text, number = pa.string(), pa.float64()
    regions = [records.region[i] for i in rows]
    columns = {
        "ref": pa.array([records.key[i] or None for i in rows], text),
        "titre": pa.array([records.title[i] for i in rows], text),
        "descriptif": pa.array([records.description[i] for i in rows], text),
        "marque": pa.array([records.brand[i] for i in rows], text),
        "code_barres": pa.array([f"0{records.gtin[i]}" if records.gtin[i] else None for i in rows], text),
        "ref_fabricant": pa.array([records.model_number[i] for i in rows], text),
        "prix": pa.array([records.price[i] for i in rows], number),
        "prix_max": pa.array([records.price_high[i] for i in rows], number),
        "devise": pa.array([
            "XYZ" if records.rule[i] == "currency_unknown" else REGIONS[region].currency for i, region in zip(rows, regions)
        ], text),
        "pays": pa.array([
            NOWHERE[vendor] if records.rule[i] == "region_unknown" else MARKETS[vendor][region]
            for i, region in zip(rows, regions)
        ], text),
        **{name: pa.array([one[at] for one in levels], text) for at, name in enumerate(("univers", "rayon", "famille"))},
        **{
            name: pa.array([one[at] for one in shared], text)
            for at, name in enumerate(("couleur", "taille", "matiere", "poids", "puissance"))
        },
        "modele": pa.array([group_key(records, i) for i in rows], text),
        "visuel": pa.array([picture_name(records, i, chunk) if pictures else None for i in rows], text),
        "maj": pa.array([_HOURS[records.updated[i]] for i in rows], text),
    }  # fmt: skip
    pq.write_table(pa.table(columns), path, row_group_size=20_000)


WRITERS: dict[str, Callable[[Records, list[int], Path, int, bool], None]] = dict(
    zip(VENDORS, (write_outfitter, write_bazaar, write_kontor, write_galerie))
)
