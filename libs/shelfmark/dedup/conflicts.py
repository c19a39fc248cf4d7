"""Evidence that two look-alike products are not one: numbers, model, colour, size, unit, brand, wording, price.

On real offers similar titles are mostly variants (a fifth of the pairs with J >= 0.8 are one product), so similarity
only proposes. Everything here is plain Python on one title or two; words are in the languages of the feeds.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from decimal import Decimal
from functools import lru_cache

Attribute = tuple[str, str, str | None]
"""(name, value, unit) as in silver.products."""

PRICE_RATIO = 5.0
"""Prices of one product in one market seldom differ by more than a factor of 2; by 5 it is a case against a single
piece, a spare part against the machine, or a price without its decimal point."""

# Unit -> (base unit, factor). Data sizes in thousands, as they are sold.
_UNITS: dict[str, tuple[str, int | str]] = {
    **dict.fromkeys(("mg",), ("g", "0.001")),
    **dict.fromkeys(("g", "gr", "gm", "gms", "gram", "grams", "gramm", "gramme", "grammes"), ("g", 1)),
    **dict.fromkeys(("kg", "kgs", "kilo", "kilogram", "kilograms", "kilogramm", "कि.ग्रा"), ("g", 1000)),
    **dict.fromkeys(("oz", "ounce", "ounces"), ("oz", 1)),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), ("lb", 1)),
    **dict.fromkeys(("ml", "milliliter", "millilitre"), ("ml", 1)),
    **dict.fromkeys(("cl",), ("ml", 10)),
    **dict.fromkeys(("dl",), ("ml", 100)),
    **dict.fromkeys(("l", "lt", "ltr", "ltrs", "liter", "liters", "litre", "litres", "litro", "litri"), ("ml", 1000)),
    **dict.fromkeys(("mm",), ("mm", 1)),
    **dict.fromkeys(("cm", "cms"), ("mm", 10)),
    **dict.fromkeys(("m", "meter", "metre", "metres", "mtr"), ("mm", 1000)),
    **dict.fromkeys(("inch", "inches", "zoll", "pouces", "pulgadas", "pollici", '"', "″", "”", "''"), ("inch", 1)),
    **dict.fromkeys(("w", "watt", "watts"), ("w", 1)),
    **dict.fromkeys(("kw",), ("w", 1000)),
    **dict.fromkeys(("v", "volt", "volts"), ("v", 1)),
    **dict.fromkeys(("mah",), ("mah", 1)),
    **dict.fromkeys(("mb",), ("mb", 1)),
    **dict.fromkeys(("gb", "go"), ("mb", 1000)),
    **dict.fromkeys(("tb", "to"), ("mb", 1_000_000)),
    **dict.fromkeys(("hz",), ("hz", 1)),
    **dict.fromkeys(("mhz",), ("mhz", 1)),
    **dict.fromkeys(("ghz",), ("mhz", 1000)),
    **dict.fromkeys(("mp", "mpix", "megapixel", "megapixels", "mpx"), ("mp", 1)),
    **dict.fromkeys(("rpm", "u/min", "tr/min"), ("rpm", 1)),
    **dict.fromkeys(
        ("pcs", "pc", "piece", "pieces", "pack", "packs", "pk", "count", "ct", "stk", "stück", "stücke", "pièces")
        + ("pezzi", "piezas", "unidades", "unités", "pièce", "個", "枚", "本"),
        ("pcs", 1),
    ),
    **dict.fromkeys(("%",), ("%", 1)),
}
# Short words that are units only right behind their figure: "55in" is a screen, "4 in 1" and "from 5 to 9" are not.
_ATTACHED = {**_UNITS, "in": ("inch", 1)}
_SPACED = {unit: base for unit, base in _UNITS.items() if unit not in ("to", "go")}

_ROMAN = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9", "xi": "11", "xii": "12"}

_TOKEN = re.compile(r"""\d+(?:[.,/]\d+)+(?=\D|$)[^\W\d_]*|[^\W_]+(?:[-'./][^\W_]+)*|["″”%]""")
_QUANTITY = re.compile(r"""(\d+(?:[.,]\d+)*)([^\W\d_]*)$""")
_TIMES = re.compile(r"(\d)\s*[x×*]\s*(?=\d)")

_COLOURS: dict[str, tuple[str, ...]] = {
    # canonical: en, de, fr, es, it, ja, hi; trade names that mean the same
    "black": ("black", "schwarz", "schwarze", "schwarzer", "schwarzes", "noir", "noire", "negro", "negra", "nero")
    + ("nera", "ブラック", "黒", "काला", "jet black", "matt black", "matte black", "midnight black", "blk"),
    "white": ("white", "weiß", "weiss", "weiße", "weisse", "weißer", "blanc", "blanche", "blanco", "blanca", "bianco")
    + ("bianca", "ホワイト", "白", "सफेद"),
    "grey": ("grey", "gray", "grau", "graue", "grauer", "gris", "grise", "grigio", "grigia", "グレー", "灰色", "स्लेटी")
    + ("space grey", "space gray", "spacegrau", "space grau", "gris sidéral", "gris espacial", "grigio siderale"),
    "silver": ("silver", "silber", "silbern", "argent", "argenté", "plata", "plateado", "argento", "シルバー", "चांदी"),
    "gold": ("gold", "golden", "goldfarben", "or", "doré", "dorado", "oro", "ゴールド", "सुनहरा"),
    "rose gold": ("rose gold", "rosegold", "roségold", "rosé gold", "or rose", "oro rosa", "ローズゴールド"),
    "blue": ("blue", "blau", "blaue", "blauer", "bleu", "bleue", "azul", "blu", "ブルー", "青", "नीला"),
    "red": ("red", "rot", "rote", "roter", "rouge", "rojo", "roja", "rosso", "rossa", "レッド", "赤", "लाल"),
    "green": ("green", "grün", "grüne", "gruen", "vert", "verte", "verde", "グリーン", "緑", "हरा"),
    "yellow": (
        "yellow",
        "gelb",
        "gelbe",
        "jaune",
        "amarillo",
        "amarilla",
        "giallo",
        "gialla",
        "イエロー",
        "黄色",
        "पीला",
    ),
    "orange": ("orange", "naranja", "arancione", "オレンジ", "नारंगी"),
    "pink": ("pink", "rosa", "rose", "rosé", "ピンク", "गुलाबी"),
    "purple": ("purple", "lila", "violett", "violet", "violette", "morado", "viola", "パープル", "紫", "बैंगनी"),
    "brown": ("brown", "braun", "braune", "marron", "marrón", "marrone", "brun", "ブラウン", "茶色", "भूरा"),
    "beige": ("beige", "ベージュ"),
    "cream": ("cream", "creme", "cremefarben", "crème", "crema"),
    "ivory": ("ivory", "elfenbein", "ivoire", "marfil", "avorio"),
    "turquoise": ("turquoise", "türkis", "tuerkis", "turquesa", "turchese", "teal"),
    "burgundy": ("burgundy", "bordeaux", "weinrot", "burdeos", "maroon"),
    "navy": ("navy", "navy blue", "marine", "marineblau", "bleu marine", "azul marino", "blu navy", "ネイビー"),
    "olive": ("olive", "oliv", "olivgrün", "oliva"),
    "khaki": ("khaki", "kaki", "カーキ"),
    "anthracite": ("anthracite", "anthrazit", "antracita", "antracite", "graphite", "graphit", "charcoal"),
    "inox": ("stainless steel", "edelstahl", "inox", "acier inoxydable", "acero inoxidable", "acciaio inox", "s/steel"),
    "copper": ("copper", "kupfer", "cuivre", "cobre", "rame"),
    "bronze": ("bronze", "bronce", "bronzo"),
    "multi": ("multicolour", "multicolor", "multicoloured", "multi colour", "mehrfarbig", "bunt", "multicolore"),
    "transparent": ("transparent", "clear", "durchsichtig", "transparente", "trasparente"),
}
_COLOUR_OF = {word: name for name, words in _COLOURS.items() for word in words}
_SHADES = {
    **dict.fromkeys(("dark", "deep", "dunkel", "foncé", "foncée", "oscuro", "oscura", "scuro"), "dark"),
    **dict.fromkeys(("light", "pale", "hell", "clair", "claire", "claro", "clara", "chiaro"), "light"),
}
for _word, _name in list(_COLOUR_OF.items()):  # German joins the shade: dunkelblau, hellgrau
    _COLOUR_OF.setdefault(f"dunkel{_word}", f"dark {_name}")
    _COLOUR_OF.setdefault(f"hell{_word}", f"light {_name}")
# Words of several meanings are colours only where an attribute says so: or, clear, rose, argent.
_UNSURE = {
    "or",
    "clear",
    "transparente",
    "rame",
    "marine",
    "rose",
    "creme",
    "cream",
    "crema",
    "crème",
    "orange",
    "olive",
}

COLOUR_ATTRIBUTES = frozenset(
    "colour color colours colors farbe couleur colore farve kleur 色 カラー रंग colour_name color_name".split()
)
SIZE_ATTRIBUTES = frozenset(
    "size sizes größe groesse grösse taille pointure talla talle tamaño taglia misura サイズ आकार size_name".split()
)
_SIZES = {
    **dict.fromkeys(("xxs", "2xs"), "xxs"),
    **dict.fromkeys(("xs", "extra small", "x-small"), "xs"),
    **dict.fromkeys(("s", "small", "klein"), "s"),
    **dict.fromkeys(("m", "medium", "mittel"), "m"),
    **dict.fromkeys(("l", "large", "groß"), "l"),
    **dict.fromkeys(("xl", "extra large", "x-large"), "xl"),
    **dict.fromkeys(("xxl", "2xl"), "xxl"),
    **dict.fromkeys(("xxxl", "3xl"), "xxxl"),
    **dict.fromkeys(("4xl", "xxxxl"), "4xl"),
    **dict.fromkeys(("5xl", "xxxxxl"), "5xl"),
}
_BARE_SIZES = {size for size in _SIZES if size.endswith(("xs", "xl"))}  # not s, m, l, small: words of their own
_SIZE_WORD = re.compile(
    r"(?:\b(?:size|gr|größe|groesse|taille|talla|taglia|サイズ)\b[\s.:]*|[(,/\-–|]\s*)([a-z0-9]{1,4})\s*(?:[),/|]|$)"
)

EDITIONS = frozenset(
    "plus pro max mini lite ultra se edge play air compact curved note neo prime xl duo dual kit box tray oem bundle refill "
    "refurbished renewed used generalüberholt reconditionné reacondicionado gebraucht junior kids kinder enfant "
    "men women herren damen homme femme hombre mujer uomo donna boys girls left right links rechts gauche droite "
    "decaf zero diet light organic bio integrated".split()
)
"""Words that make another product of the same name: "iPhone 8" and "iPhone 8 Plus". Both titles must have the same."""

_FILLERS = frozenset(
    "a an the and or of for in on with by to new sim free unlocked tv smart phone smartphone mobile "
    "der die das und oder von für mit in im neu passend zu aus "
    "le la les l un une des et ou de du d avec pour en à nouveau "
    "el los las y o con para nuevo il lo gli e di per nuovo "
    "best sale offer gift idea original genuine".split()
)

_LEGAL = frozenset("inc ltd limited llc gmbh ag co corp corporation company sa sas srl spa kg pvt plc bv oy ab".split())


@lru_cache(maxsize=65_536)
def numbers(title: str) -> tuple[str, ...]:
    """The title's figures as a sorted multiset: quantities in base units, model codes, roman numerals from ii.

    "Galaxy S8 64 GB" and "galaxy s8 64gb" give ("64000mb", "s8"); 5,5 is 5.5, and 1,400 is 1400.
    """
    tokens = _tokens(title)
    found = []
    for i, token in enumerate(tokens):
        if token in _ROMAN and i:
            found.append(_ROMAN[token])
        if not any(c.isdigit() for c in token):
            continue
        quantity = _QUANTITY.match(token)
        if quantity is None:
            # A code is written with and without its dashes (KD-55XE9005); a fraction or a range keeps them.
            found.append(re.sub(r"[-/.']", "", token) if any(c.isalpha() for c in token) else token)
            continue
        figure, suffix = quantity.groups()
        following = tokens[i + 1] if i + 1 < len(tokens) else ""
        if suffix:
            unit = _ATTACHED.get(suffix)
            found.append(_quantity(figure, unit) if unit else token)
        else:
            found.append(_quantity(figure, _SPACED.get(following)))
    return tuple(sorted(found))


@lru_cache(maxsize=65_536)
def editions(title: str) -> frozenset[str]:
    """The words of `EDITIONS` in the title."""
    return frozenset(_words(title)) & EDITIONS


def colours(title: str, attributes: tuple[Attribute, ...] = ()) -> frozenset[str]:
    """Colours, by their English names: the colour attribute's where there is one, else the title's. May be empty."""
    said = [value for name, value, _ in attributes if _name(name) in COLOUR_ATTRIBUTES and value]
    if said:
        known = frozenset().union(*(_colours(value, sure=False) for value in said))
        # A trade name ("sorbet", "ocean wave") is itself.
        return known or frozenset(value.lower().strip() for value in said)
    return _colours(title, sure=True)


@lru_cache(maxsize=65_536)
def _colours(text: str, sure: bool) -> frozenset[str]:
    words = _words(text)
    found = set()
    i = 0
    while i < len(words):
        two = " ".join(words[i : i + 2])
        step, name = (2, _COLOUR_OF[two]) if two in _COLOUR_OF else (1, _COLOUR_OF.get(words[i]))
        if name and not (sure and step == 1 and words[i] in _UNSURE):
            before = words[i - 1] if i else ""
            after = words[i + step] if i + step < len(words) else ""
            shade = _SHADES.get(before) or _SHADES.get(after)
            found.add(f"{shade} {name}" if shade else name)
        i += step
    return frozenset(found)


def sizes(title: str, attributes: tuple[Attribute, ...] = ()) -> frozenset[str]:
    """Clothing and shoe sizes (xs .. 5xl, 42, uk 8): the size attribute's, else the title's letters. May be empty."""
    said = [(value, unit) for name, value, unit in attributes if _name(name) in SIZE_ATTRIBUTES and value]
    if said:
        return frozenset(_size(value, unit) for value, unit in said)
    return _title_sizes(title)


@lru_cache(maxsize=65_536)
def _title_sizes(title: str) -> frozenset[str]:
    lower = title.lower()
    found = {_SIZES[word] for word in _words(lower) if word in _BARE_SIZES}
    found |= {_SIZES[match[1]] for match in _SIZE_WORD.finditer(lower) if match[1] in _SIZES}
    return frozenset(found)


def _size(value: str, unit: str | None) -> str:
    text = " ".join(f"{value} {unit or ''}".lower().split())
    if text in _SIZES:
        return _SIZES[text]
    figures = numbers(text)
    return " ".join(figures) if figures and len(text) < 16 else text


def quantities(attributes: tuple[Attribute, ...]) -> dict[str, str]:
    """Attributes with a unit, as name -> value and unit: a weight, a capacity. Only equal names are compared."""
    return {_name(name): _quantity(value, _UNITS.get(unit.lower(), (unit.lower(), 1))) for name, value, unit in attributes
            if unit and value and _QUANTITY.match(value)}  # fmt: skip


@lru_cache(maxsize=65_536)
def brand(name: str | None) -> str | None:
    """The brand without case, punctuation and legal form: "Bosch GmbH" is "bosch"."""
    words = [word for word in _words(name or "") if word not in _LEGAL]
    return "".join(words) or None


def model(number: str | None) -> str | None:
    """The model number without punctuation and case."""
    return "".join(c for c in (number or "").lower() if c.isalnum()) or None


def price_conflict(one: float | None, other: float | None) -> bool:
    """Whether two prices of one market and currency are too far apart for one product; unknown prices never are."""
    return bool(one and other) and max(one, other) > PRICE_RATIO * min(one, other)


@lru_cache(maxsize=65_536)
def _wording(title: str) -> tuple[str, ...]:
    """The words that are neither figures, units, colours nor fillers: those are compared elsewhere or say nothing."""
    return tuple(
        word
        for word in _words(title)
        if word not in _FILLERS and word not in _COLOUR_OF and word not in _SHADES and word not in _UNITS
        and not any(c.isdigit() for c in word)
    )  # fmt: skip


def substituted(one: str, other: str) -> bool:
    """Whether each title says something where the other says something else: "left hinge" against "right hinge".

    Words that only one title has are no conflict, nor is another spelling: one letter more, less or changed in a
    word of five or more, a shortened word, or words joined.
    """
    a, b = Counter(_wording(one)), Counter(_wording(other))
    left, right = list((a - b).elements()), list((b - a).elements())
    if not left or not right or "".join(left) == "".join(right):
        return False
    few, many = sorted((left, right), key=len)
    return not all(any(_spelling(word, rival) for rival in many) for word in few)


def unlike(one: str, other: str) -> bool:
    """Whether two titles share no word of three or more letters and no figure: then even a GTIN is not believed."""
    shared = set(_words(one)) & set(_words(other))
    return not any(len(word) > 2 or word.isdigit() for word in shared)


def _spelling(a: str, b: str) -> bool:
    if a == b:
        return True
    short, long = sorted((a, b), key=len)
    if len(short) >= 4 and long.startswith(short):
        return True
    if len(short) < 5 or len(long) - len(short) > 1:
        return False
    at = next((i for i, (x, y) in enumerate(zip(short, long)) if x != y), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    return short[at + 1 :] == long[at + 1 :] or (
        short[at : at + 2] == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
    )


@lru_cache(maxsize=65_536)
def _tokens(text: str) -> tuple[str, ...]:
    text = text.lower()
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() and c > "9" else c for c in text)
    return tuple(_TOKEN.findall(_TIMES.sub(r"\1 x ", text)))


@lru_cache(maxsize=65_536)
def _words(text: str) -> tuple[str, ...]:
    lower = text.lower()
    if lower.isascii():
        return tuple(re.findall(r"[a-z0-9]+", lower))
    # Marks belong to the word: the vowels of Brahmic scripts are marks, which \w leaves out.
    return tuple("".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in lower).split())


def _name(name: str) -> str:
    return name.lower().strip().replace(" ", "_")


def _quantity(figure: str, unit: tuple[str, int | str] | None) -> str:
    figure = figure.replace("/", ".")
    if "," in figure:
        head, _, tail = figure.rpartition(",")
        figure = head.replace(",", "").replace(".", "") + ("" if len(tail) == 3 else ".") + tail
    if figure.count(".") > 1:
        figure = figure.replace(".", "")
    try:
        value = Decimal(figure) * Decimal(unit[1] if unit else 1)
    except ArithmeticError:
        return figure
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text + (unit[0] if unit else "")
