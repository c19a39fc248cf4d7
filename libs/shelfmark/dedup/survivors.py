"""Duplicate groups: which look-alikes are one product, and which record speaks for them.

1. Near pairs and shared GTINs make components (as in `groups`); a component is a block: what might be one product.
2. A block is brought together in one place and resolved (`resolve`): records of one GTIN that nothing speaks against,
   then titles that are near and that nothing speaks against, then what the scorer takes for one product.

Strict on purpose: a duplicate that is missed costs a second row in the catalogue, two products merged are lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfmark import traits
from shelfmark.dedup import components, conflicts, decisions, groups, kernel, packed, precedence
from shelfmark.dedup.variants import variant_groups

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.config import Dedupe
    from shelfmark.dedup.index import Around

DUPLICATES = (
    "product_id string, region string, group_id string, survivor boolean, relation string, similarity double, "
    "matched_by string, group_size int, variant_group_id string"
)

FACTS = 2
"""What two records of one seller must state alike beside title and price: with less, garments of one name and price
(another print, another cut) would be one product."""

MAX_RECORDS = 1000
"""A GTIN on more records than this is a default, even if their titles are few; and all its pairs are compared."""

Near = Callable[[int, list[int]], np.ndarray]
"""`near(text, texts)`: the Jaccard similarity of one title to others, all known by their places."""


Constraints = dict[str, tuple[str, frozenset[str]]]
"""For a product that a steward decided on: what it is one with, and what it is apart from (`decisions.constraints`)."""

Scores = dict[tuple[str, str], float]
"""Scores of pairs (product_id, product_id), the smaller first, that the scorer takes for one product."""


@dataclass(slots=True)
class Offer:
    """One record as `resolve` sees it.

    `text` is the place of its title in the shard's shingle sets, `seller` its source and region, `market` its region
    and currency, `gtin` as stated, `link` the GTIN where it is evidence of identity (see `groups.MAX_TITLES`), `rank`
    the order of survivors, `listing` a hash of price, description, model number and attributes, `facts` how many of
    the last three it states (each attribute one; none without a price), `variants` its item_group; `one` what a
    steward said it is one with, and `apart` what it is not (`decisions.constraints`).
    """

    product_id: str
    seller: str
    market: str
    title: str
    text: int
    language: str | None
    brand: str | None
    gtin: str | None
    link: str | None
    model: str | None
    price: float | None
    attributes: tuple[traits.Attribute, ...]
    rank: tuple
    listing: int
    facts: int
    variants: str | None = None
    one: str = ""
    apart: frozenset[str] = frozenset()

    # Read off title and attributes when first asked for: most blocks are settled by figures alone.
    _colours: frozenset[str] | None = None
    _sizes: frozenset[str] | None = None

    @property
    def colours(self) -> frozenset[str]:
        if self._colours is None:
            self._colours = traits.colours(self.title, self.attributes)
        return self._colours

    @property
    def sizes(self) -> frozenset[str]:
        if self._sizes is None:
            self._sizes = traits.sizes(self.title, self.attributes)
        return self._sizes


@dataclass(slots=True)
class Group:
    """Offers that are one product, the survivor first."""

    members: list[Offer]

    @property
    def survivor(self) -> Offer:
        return self.members[0]


def duplicates(
    products: DataFrame,
    pairs: DataFrame,
    settings: Dedupe | None = None,
    likely: DataFrame | None = None,
    said: Constraints | None = None,
    around: Around | None = None,
) -> DataFrame:
    """silver.duplicates: every product with its group, one row each; see `resolve` for the rules.

    `pairs` are `candidates.near_pairs` of the same products, made with the same `settings`; `likely` the pairs that the
    scorer takes for one product (`scored.merging`: left, right, score), if there is a model; `said` what stewards decided
    (`decisions.constraints`); `around` as in `groups.leak_groups`.
    The survivor is the first record by `settings.golden` (`precedence.rank`), then the smallest product_id. relation is
    `single` or `same`; similarity of a member is to the survivor's title; matched_by of a survivor names the evidence
    of all its members. variant_group_id: see `variants.variant_groups`.
    """
    from pyspark.sql import functions as F

    from shelfmark.config import Dedupe

    settings = settings or Dedupe()
    size, words, similarity = settings.shingle, settings.unit == "words", settings.similarity
    shards = packed.shards_of(products)
    gtins = groups.identity_edges(products, ("gtin",), around).withColumn("gtin", F.lit(True))
    edges = pairs.select("left", "right", F.lit(False).alias("gtin")).unionByName(gtins)
    if likely is not None:
        edges = edges.unionByName(likely.select("left", "right", F.lit(False).alias("gtin")))
    if said:
        edges = edges.unionByName(decisions.edges(products, said).withColumn("gtin", F.lit(False)))
    shared = products.sparkSession.sparkContext.broadcast(said or {})
    offers = offered(products, settings)

    def spread(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in packed.gather(batches):
            yield from packed.pack("offer", table, components.hash_ids(table["product_id"]), shards)

    def spread_likely(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in packed.gather(batches):
            yield from packed.pack("likely", table, components.hash_ids(table["left"]), shards)

    def block(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        """Records alone go on as they are; the others to the shard of their block, GTIN only where it links them."""
        if "offer" not in tables:
            return
        offers = tables["offer"]
        ids = offers["product_id"]
        root = components.lookup(ids, tables.get("root"))
        alone = pc.is_null(root)
        single = offers.filter(alone).select(["product_id", "region"])
        yield from packed.pack("single", single, components.hash_ids(single["product_id"]), shards)
        linked = pc.is_in(ids, value_set=tables["gtin"]["product_id"].combine_chunks()) if "gtin" in tables else False
        link = pc.if_else(linked, offers["gtin"], pa.scalar(None, pa.string()))
        offers = offers.append_column("link", link).append_column("block", root).filter(pc.invert(alone))
        yield from packed.pack("block", offers, components.hash_ids(offers["block"]), shards)
        if "likely" in tables:
            likely = tables["likely"]
            place = components.lookup(likely["left"], tables["root"])
            yield from packed.pack("likely", likely, components.hash_ids(place), shards)

    def settle(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "single" in tables:
            yield from _singles(tables["single"])
        if "block" in tables:
            yield from _resolved(tables["block"], size, words, similarity, _scores(tables.get("likely")), shared.value)

    spreads = offers.mapInArrow(spread, packed.SCHEMA)
    if likely is not None:
        spreads = spreads.union(likely.select("left", "right", "score").mapInArrow(spread_likely, packed.SCHEMA))
    spreads = spreads.union(components.roots(edges, packed.count(products), shards, "gtin"))
    blocks = packed.step(spreads, block, shards)
    return packed.step(blocks, settle, shards, DUPLICATES)


def offered(products: DataFrame, settings: Dedupe) -> DataFrame:
    """What `resolve` needs to know of every product, but for the place of its title and what links it."""
    from pyspark.sql import functions as F

    facts = sum((F.col(name).isNotNull().cast("int") for name in ("description", "model_number")), F.lit(0))
    facts = facts + F.greatest(F.coalesce(F.size("attributes"), F.lit(0)), F.lit(0))
    return products.select(
        "product_id",
        "source",
        "region",
        "title",
        "language",
        "brand",
        "gtin",
        "model_number",
        F.col("price").cast("double").alias("price"),
        "currency",
        "attributes",
        "item_group",
        precedence.rank(settings.golden.order, settings.golden.sources).alias("rank"),
        F.xxhash64("description", "model_number", "price", "currency", "attributes").alias("listing"),
        F.when(F.col("price").isNull(), 0).otherwise(facts).alias("facts"),
    )


def resolve(offers: list[Offer], near: Near, similarity: float, likely: Scores | None = None) -> list[Group]:
    """The groups of a block's offers; the same for any order of `offers`. The rules, each with a test:

    0. A steward's word: what is the same is one group before all rules, and others join it as they would join its
       survivor; what is different never comes together.
    1. One GTIN: records of an equal GTIN are one product if brands, colours, sizes and quantities of equal name agree
       or are not stated, and titles of one language share a word (`conflicts.unlike`).
    2. Equal or near titles of different sellers (a seller is a source in a region): one product if the titles have
       equal figures and edition words, nothing stated disagrees (GTIN, brand, model number, colour, size, quantities),
       no word stands against another, and prices in one market and currency are within `conflicts.PRICE_RATIO`.
    3. One seller: a source gives a key to each product, so like titles are not enough. Two records are one product
       only if price, description, model number and attributes are equal too, at least `FACTS` of them stated, and the
       vendor does not list them as variants of one item_group.
       Where a seller uses one title for several products, the title names none, and proves nothing for the records
       of other sellers either.
    4. A record that does not state its colour (brand, size, ...) agrees with one that does, unless the block has
       records of several: then it might be any of them, and is none.
    5. No chains: the first record by `rank` leads; a record joins the leader it is nearest to, and must be
       near to it, and in conflict with no member of its group. So every member is as like the survivor as the
       threshold says, or has its GTIN.
    6. Other words, where there is a scorer: two groups of the rules above are one product if every record of one is
       in a pair of `likely` with every record of the other, and prices in one market are as in rule 2. So no chains, and
       no pair that the scorer's bars keep apart (`features.barred`: 128 GB and 256 GB) is ever in one group.
    """
    offers = sorted(offers, key=lambda offer: offer.rank)
    result = []
    by_gtin = _by_gtin(offers)
    for alike in _refine(by_gtin, _TITLE_FIELDS):
        # The GTIN last: what the other fields tell apart needs no GTIN to be stated.
        for similar in _split(alike, _value(lambda o: o.gtin)):
            result += _by_title(similar, near, similarity)
    return _by_score(result, likely) if likely else result


def _by_score(found: list[Group], likely: Scores) -> list[Group]:
    """Groups that the scorer takes for one product (rule 6), the surest pair first."""
    home = {member.product_id: group for group in found for member in group.members}
    for one, other in sorted(likely, key=lambda pair: (-likely[pair], pair)):
        group, joining = home.get(one), home.get(other)
        if group is None or joining is None or group is joining:
            continue
        if group.survivor.rank > joining.survivor.rank:
            group, joining = joining, group
        if all(_likely(a, b, likely) for a in group.members for b in joining.members):
            group.members += joining.members
            home.update((member.product_id, group) for member in joining.members)
            joining.members = []
    return [group for group in found if group.members]


def _likely(a: Offer, b: Offer, likely: Scores) -> bool:
    pair = (min(a.product_id, b.product_id), max(a.product_id, b.product_id))
    return (
        pair in likely
        and b.one not in a.apart
        and not (a.market == b.market and conflicts.price_conflict(a.price, b.price))
    )


def _scores(likely: pa.Table | None) -> Scores:
    if likely is None:
        return {}
    return dict(zip(zip(likely["left"].to_pylist(), likely["right"].to_pylist()), likely["score"].to_pylist()))


def _value(get: Callable[[Offer], object]) -> Callable[[Group], object]:
    """What the group states of a field: its first member that states anything."""
    return lambda group: next((value for value in map(get, group.members) if value), None)


_VARIANT_FIELDS = (_value(lambda o: o.brand), _value(lambda o: o.colours), _value(lambda o: o.sizes))
_TITLE_FIELDS = (
    # Figures and edition words have to be equal even where one title has none: hence tuples, which are never empty.
    lambda group: (traits.numbers(group.survivor.title), traits.editions(group.survivor.title)),
    _value(lambda o: o.model),
    *_VARIANT_FIELDS,
)


def _refine(found: list[Group], fields: Iterable[Callable[[Group], object]]) -> list[list[Group]]:
    """Split groups into lists that agree on every field in turn; what is not stated agrees while there is one value."""
    settled, lists = [], [found]
    for split in (*(lambda some, get=get: _split(some, get) for get in fields), _refine_quantities):
        settled += [some for some in lists if len(some) < 2]
        lists = [part for some in lists if len(some) > 1 for part in split(some)]
    return settled + lists


def _split(some: list[Group], get: Callable[[Group], object]) -> list[list[Group]]:
    values = [get(group) for group in some]
    if len({value for value in values if value}) < 2:
        return [some]
    parts = defaultdict(list)
    for value, group in zip(values, some):
        parts[value].append(group)
    return list(parts.values())


def _refine_quantities(some: list[Group]) -> list[list[Group]]:
    stated = {id(group): {} for group in some}
    for group in some:
        for member in group.members:
            for name, value in traits.quantities(member.attributes).items():
                stated[id(group)].setdefault(name, value)
    lists = [some]
    for name in sorted(set().union(*stated.values())):
        lists = [part for one in lists for part in _split(one, lambda group, name=name: stated[id(group)].get(name))]
    return lists


def _by_gtin(offers: list[Offer]) -> list[Group]:
    found, sharing = [], defaultdict(list)
    for group in _decided(offers):
        link = next((member.link for member in group.members if member.link), None)
        if link:
            sharing[link].append(group)
        else:
            found.append(group)
    for some in sharing.values():
        if len(some) > MAX_RECORDS:
            found += some
            continue
        for alike in _refine(some, _VARIANT_FIELDS):
            leaders: list[Group] = []
            for group in alike:
                home = next((leader for leader in leaders if _gtin_agrees(group, leader)), None)
                if home is None:
                    leaders.append(group)
                else:
                    home.members += group.members
            found += leaders
    return sorted(found, key=lambda group: group.survivor.rank)


def _decided(offers: list[Offer]) -> list[Group]:
    """A group of each offer, or of all that a steward said are the same (rule 0)."""
    found: dict[str, Group] = {}
    for offer in offers:
        found.setdefault(offer.one or offer.product_id, Group([])).members.append(offer)
    return list(found.values())


def _gtin_agrees(group: Group, other: Group) -> bool:
    return all(same_gtin(a, b) for a in group.members for b in other.members)


def same_gtin(a: Offer, b: Offer) -> bool:
    if b.one in a.apart:
        return False
    one_language = not (a.language and b.language) or a.language == b.language
    if a.title and b.title and one_language and conflicts.unlike(a.title, b.title):
        return False
    if a.seller == b.seller:  # a vendor's own attribute names are comparable: any that differ make a variant
        theirs = {name: (value, unit) for name, value, unit in b.attributes}
        return all(theirs.get(name, (value, unit)) == (value, unit) for name, value, unit in a.attributes)
    return True


def _by_title(found: list[Group], near: Near, similarity: float) -> list[Group]:
    if len(found) < 2:
        return found
    found = _one_seller(found)
    uses = Counter((seller, text) for group in found for seller, text in {(m.seller, m.text) for m in group.members})
    vague = {text for (_, text), count in uses.items() if count > 1}
    leaders: list[Group] = []
    texts: list[int] = []
    result = []
    for group in found:
        offer = group.survivor
        home, score = None, 0.0
        if not offer.title or offer.text in vague:
            result.append(group)
            continue
        scores = near(offer.text, texts)
        for place in np.flatnonzero(scores >= similarity).tolist():
            if scores[place] > score and _compatible(group, leaders[place]):
                home, score = leaders[place], scores[place]
        if home is None:
            leaders.append(group)
            texts.append(offer.text)
            result.append(group)
        else:
            home.members += group.members
    return result


def _one_seller(found: list[Group]) -> list[Group]:
    """Records of one seller and title that agree in everything, put together (rule 3)."""
    result, known = [], {}
    for group in found:
        offer = group.survivor
        if len(group.members) > 1 or not offer.title or offer.facts < FACTS:
            result.append(group)
            continue
        home = known.setdefault((offer.seller, offer.text, offer.listing), group)
        if home is group or _variants(offer, home.members) or any(m.one in offer.apart for m in home.members):
            result.append(group)
        else:
            home.members.append(offer)
    return result


def _variants(offer: Offer, others: list[Offer]) -> bool:
    """Whether the vendor itself lists the record as a variant beside one of `others`."""
    return offer.variants is not None and any(
        offer.variants == other.variants and offer.seller == other.seller for other in others
    )


def _compatible(group: Group, other: Group) -> bool:
    """Whether no record of one conflicts with one of the other. Records that a steward said are one conflict with
    others only if they all do: they may well contradict each other."""
    return not any(
        all(_conflict(a, b) for a in some for b in others) for some in _units(group) for others in _units(other)
    )


def _units(group: Group) -> list[list[Offer]]:
    units: dict[str, list[Offer]] = {}
    for member in group.members:
        units.setdefault(member.one or member.product_id, []).append(member)
    return list(units.values())


def _conflict(a: Offer, b: Offer) -> bool:
    return (
        b.one in a.apart
        or (a.seller == b.seller and (a.listing != b.listing or a.facts < FACTS or _variants(a, [b])))
        or (a.market == b.market and conflicts.price_conflict(a.price, b.price))
        or conflicts.substituted(a.title, b.title)
    )


def _singles(table: pa.Table) -> Iterator[pa.RecordBatch]:
    n = table.num_rows
    rows = pa.table(
        {
            "product_id": table["product_id"],
            "region": table["region"],
            "group_id": table["product_id"],
            "survivor": np.ones(n, np.bool_),
            "relation": pa.array(["single"] * n, pa.string()),
            "similarity": np.ones(n),
            "matched_by": pa.nulls(n, pa.string()),
            "group_size": np.ones(n, np.int32),
            "variant_group_id": pa.nulls(n, pa.string()),
        }
    )
    yield from rows.to_batches(packed.ROWS)


def _resolved(
    table: pa.Table, size: int, words: bool, similarity: float, likely: Scores, said: Constraints
) -> Iterator[pa.RecordBatch]:
    """Resolve all blocks of a shard; `likely` are the pairs of them all."""
    partners: dict[str, list[str]] = defaultdict(list)
    for one, other in likely:
        partners[one].append(other)
    texts = kernel.normalise(table["title"]).dictionary_encode()
    hashes, bounds = kernel.shingle_sets(*kernel.text_buffers(texts.dictionary), size, words)

    def near(text: int, others: list[int]) -> np.ndarray:
        return kernel.jaccard(hashes, bounds, np.full(len(others), text, np.int64), np.array(others, np.int64))

    order = pc.sort_indices(table["block"])
    table = table.take(order)
    places = texts.indices.take(order).to_pylist()
    names = ("place", "group_id", "similarity", "matched_by", "group_size", "variant")
    rows: dict[str, list] = {name: [] for name in names}
    blocks = table["block"].to_pylist()
    regions = table["region"].to_pylist()
    held: list[Offer] = []
    at: dict[str, int] = {}
    variants: dict[str, str] = {}

    def close() -> None:
        mine = {(o.product_id, other): likely[o.product_id, other] for o in held for other in partners[o.product_id]}
        found = resolve(held, near, similarity, mine)
        variants.update(variant_groups(found))
        for group in found:
            lead = group.survivor
            if len(group.members) == 1:
                _add(at[lead.product_id], lead, 1.0, [], group)
                continue
            scores = near(lead.text, [member.text for member in group.members]).tolist()
            united = Counter(member.one for member in group.members)
            every: set[str] = set()
            for member, score in zip(group.members[1:], scores[1:]):
                words = _evidence(lead, member, score, similarity)
                if _likely(lead, member, mine):
                    words.append("scorer")
                if united[member.one] > 1:
                    words.append("steward")
                every |= set(words)
                _add(at[member.product_id], lead, score, sorted(words), group)
            _add(at[lead.product_id], lead, 1.0, sorted(every), group)

    def _add(place: int, lead: Offer, score: float, words: list[str], group: Group) -> None:
        rows["place"].append(place)
        rows["group_id"].append(lead.product_id)
        rows["similarity"].append(score)
        rows["matched_by"].append(",".join(words) or None)
        rows["group_size"].append(len(group.members))
        rows["variant"].append(variants.get(lead.product_id))

    for i, offer in enumerate(offers_of(table, places, said)):
        if held and blocks[i] != blocks[i - 1]:
            close()
            held, at = [], {}
        held.append(offer)
        at[offer.product_id] = i
    close()
    place = pa.array(rows["place"], pa.int64())
    ids = table["product_id"].take(place)
    size = np.array(rows["group_size"], np.int32)
    out = pa.table(
        {
            "product_id": ids,
            "region": pa.array(regions, pa.string()).take(place),
            "group_id": pa.array(rows["group_id"], pa.string()),
            "survivor": pc.equal(ids, pa.array(rows["group_id"], pa.string())),
            "relation": pa.array(np.where(size > 1, "same", "single").tolist(), pa.string()),
            "similarity": pa.array(rows["similarity"], pa.float64()),
            "matched_by": pa.array(rows["matched_by"], pa.string()),
            "group_size": size,
            "variant_group_id": pa.array(rows["variant"], pa.string()),
        }
    )
    yield from out.to_batches(packed.ROWS)


def _evidence(lead: Offer, member: Offer, score: float, similarity: float) -> list[str]:
    words = ["gtin"] if lead.link and lead.link == member.link else []
    return [*words, "title"] if score >= similarity else words


def offers_of(table: pa.Table, places: list[int], said: Constraints) -> Iterator[Offer]:
    columns = (
        "product_id", "source", "region", "currency", "title", "language", "brand", "gtin", "link", "model_number",
        "price", "attributes", "rank", "listing", "facts", "item_group",
    )  # fmt: skip
    records = zip(places, *(table[name].to_pylist() for name in columns))
    for (
        place, product_id, source, region, currency, title, language, brand, gtin, link, model,
        price, attributes, rank, listing, facts, item_group,
    ) in records:  # fmt: skip
        one, apart = said.get(product_id, (product_id, frozenset()))
        yield Offer(
            product_id=product_id,
            seller=f"{source}\x1f{region}",
            market=f"{region}\x1f{currency}",
            title=title or "",
            text=place,
            language=language,
            brand=conflicts.brand(brand),
            gtin=gtin,
            link=link,
            model=conflicts.model(model),
            price=price,
            attributes=tuple((a["name"], a["value"], a["unit"]) for a in attributes or ()),
            rank=(*rank, product_id),
            listing=listing,
            facts=facts,
            variants=item_group,
            one=one,
            apart=apart,
        )
