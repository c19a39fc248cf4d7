"""Every table of the lake: its name, grain, keys, columns with comments, partitions and owner.

This is the one source of the contracts: jobs write through it, Delta column comments, `shelfmark tables` and
docs/tables.md are made from it. Adding a nullable column is automatic; any other change needs a new `version`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Field:
    """One column: `type` is a Spark DDL type, `comment` is what an analyst reads."""

    name: str
    type: str
    comment: str
    nullable: bool = True


@dataclass(frozen=True)
class Table:
    """One table contract.

    `writers`: None for a table with one owner; otherwise each job in it writes a Delta table of its own below the
    table's path, and readers see their union.
    `packed`: a rewrite brings rows together by partition first: few files, at the price of a shuffle. For partitioned
    tables of narrow rows, of which every task would write a small file into each partition.
    """

    name: str
    grain: str
    fields: tuple[Field, ...]
    keys: tuple[str, ...]
    owner: str
    partitions: tuple[str, ...] = ()
    writers: tuple[str, ...] | None = None
    version: int = 1
    packed: bool = False

    @property
    def path(self) -> str:
        """Path below the lake's root: `silver.products` -> `silver/products`."""
        return self.name.replace(".", "/")

    def made_by(self, job: str) -> bool:
        """Whether the job is one that makes the table's rows, not one that only keeps or erases them."""
        return job in (self.writers or (self.owner,))

    @property
    def folders(self) -> list[str]:
        """Folders of its Delta tables below the lake's root: one, or one a writer."""
        return [self.path] if self.writers is None else [f"{self.path}/{writer}" for writer in self.writers]

    @property
    def columns(self) -> list[str]:
        return [field.name for field in self.fields]

    @property
    def ddl(self) -> str:
        """Spark DDL of the columns, for `createDataFrame` and `StructType.fromDDL`."""
        return ", ".join(f"`{field.name}` {field.type}" for field in self.fields)


JOBS = (
    "ingest", "images", "taxonomy", "dedupe", "labels", "train_text", "train_multimodal", "train_ensemble", "predict", "evaluate",
)  # fmt: skip
"""The jobs of a pipeline, in the order it runs them."""

WRITERS = (*JOBS, "maintain", "erase", "decide", "audit", "review", "models", "embed")
"""All jobs that write journals (refused rows, check results, run records): those of a pipeline, and upkeep."""

_PRODUCT_ID = Field("product_id", "string", "hash of (source, source_key): the same product keeps it for ever", False)
_REGION = Field("region", "string", "market the offer is for, upper case, e.g. IN, US, MY", False)
_RUN_ID = Field("run_id", "string", "run that wrote the row", False)
_RUN_DATE = Field("run_date", "date", "day of the run, taken from run_id", False)
_VERSION = Field("taxonomy_version", "string", "version of the taxonomy the category belongs to", False)

_PRODUCT = (
    Field("title", "string", "title, cleaned: mojibake repaired, entities decoded, NFKC, single spaces"),
    Field("description", "string", "description, cleaned as the title; null where the feed has none"),
    Field("brand", "string", "brand in its most usual spelling"),
    Field("gtin", "string", "14-digit GTIN with a valid check digit (GTIN-8, UPC, EAN, ISBN padded); else null"),
    Field("model_number", "string", "manufacturer's model or part number, upper case without spaces"),
    Field("price", "decimal(18,2)", "price in `currency`; of a range, its low end"),
    Field("price_high", "decimal(18,2)", "high end where the feed gives a price range; else null"),
    Field("currency", "string", "ISO 4217 code of the price"),
    Field(
        "attributes",
        "array<struct<name:string,value:string,unit:string>>",
        "attributes sorted by name; quantities in base units (g, ml, mm, W, ...), value then a plain decimal",
    ),
    Field("category_paths", "array<string>", "category paths as the source gives them, levels joined by ' > ', sorted"),
    Field("language", "string", "ISO 639-1 code of the title's language, stated by the source or detected"),
    Field("item_group", "string", "the vendor's own group of variants (size, colour); null where it has none"),
    Field("image", "string", "path or address of the main picture as the vendor gives it"),
    Field("image_id", "string", "silver.images key of the picture; null where there is none, or none that can be used"),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "bronze.files",
            "a feed file taken in",
            (
                Field("source", "string", "name of the source: conf/sources/<source>.yml", False),
                Field("file", "string", "path of the file as read, or address of the database or API", False),
                Field(
                    "file_hash", "string", "sha256 of the file's bytes; of an extraction, of it and those before", False
                ),
                Field("mapping_hash", "string", "sha256 of the source's mapping; with file_hash the idempotence key"),
                Field("bytes", "bigint", "size of the file in bytes"),
                Field("sequence", "bigint", "order of intake: a later file's records are newer where no time is given"),
                Field("records_counted", "bigint", "records counted independently of the parser (lines, elements)"),
                Field("records_read", "bigint", "records the parser gave, broken ones included"),
                Field("new", "bigint", "records that made a product not known before"),
                Field("changed", "bigint", "records that changed a known product"),
                Field("unchanged", "bigint", "records equal to the known product"),
                Field("rejected", "bigint", "records refused, see silver.rejected"),
                Field("superseded", "bigint", "records replaced by a newer or merged record of the same key"),
                Field("watermark", "string", "what a database was read up to; the next extraction starts there"),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("file_hash", "mapping_hash"),
            "ingest",
            ("source",),
        ),
        Table(
            "bronze.raw_products",
            "a record as read; appended, never changed",
            (
                Field("source", "string", "name of the source", False),
                Field("file", "string", "path of the file as read, or address of the database or API"),
                Field("file_hash", "string", "the extraction or file, as in bronze.files", False),
                Field("record_number", "bigint", "position of the record in the file, from 1", False),
                Field("line", "bigint", "line the record starts on, from 1; null in formats without lines"),
                Field("payload", "string", "every vendor field as text, a JSON object; the raw text if unreadable"),
                Field("problem", "string", "why the reader could not believe the record; null when it could"),
                Field("ingest_date", "date", "day of the run that read it", False),
                _RUN_ID,
            ),
            ("file_hash", "record_number"),
            "ingest",
            ("source", "ingest_date"),
        ),
        Table(
            "silver.products",
            "a product of a source: the current record of a key",
            (
                _PRODUCT_ID,
                Field("source", "string", "name of the source", False),
                Field("source_key", "string", "the source's own key, or a content hash where it has none", False),
                _REGION,
                *_PRODUCT,
                Field(
                    "colour",
                    "string",
                    "colours by their English names, comma separated: of the attribute, else the title",
                ),
                Field("size", "string", "size of clothes and shoes, e.g. xl or 42: of the attribute, else the title"),
                Field("material", "string", "materials by their English names: of the attribute, else the title"),
                Field(
                    "amount", "double", "weight, volume or length that the title states, in `amount_unit`, of all packs"
                ),
                Field("amount_unit", "string", "base unit of the amount: g, ml, mm, ..."),
                Field(
                    "model_code", "string", "the title's word that looks like a model number; model_number is as stated"
                ),
                Field("problems", "string", "what normalising could not use, comma separated, e.g. gtin_check_digit"),
                Field("source_updated_at", "timestamp", "the record's own time stamp where the feed has one"),
                Field("content_hash", "string", "hash of the business columns: equal means unchanged", False),
                Field("file_hash", "string", "file of the current record, see bronze.files"),
                Field("record_number", "bigint", "its position in that file"),
                Field("run_id", "string", "run that last changed the row"),
            ),
            ("product_id",),
            "ingest",
            ("region",),
        ),
        Table(
            "silver.presence",
            "when a product was seen in its feed",
            (
                _PRODUCT_ID,
                Field("source", "string", "name of the source", False),
                _REGION,
                Field("first_run", "string", "first run that saw the product", False),
                Field("last_run", "string", "last run that saw it", False),
                Field("first_seen", "date", "day of first_run", False),
                Field("last_seen", "date", "day of last_run", False),
            ),
            ("product_id",),
            "ingest",
            ("region",),
            packed=True,
        ),
        Table(
            "silver.images",
            "a picture that products show: equal bytes are one picture",
            (
                Field("image_id", "string", "sha256 of the original's bytes, as hexadecimal digits", False),
                Field("bytes", "binary", "upright JPEG, at most images.size pixels a side; null where it is refused"),
                Field("format", "string", "format of the original: JPEG, PNG, GIF, ...; null where it is none"),
                Field("width", "int", "width of the original in pixels, upright"),
                Field("height", "int", "height of the original in pixels, upright"),
                Field(
                    "perceptual_hash",
                    "string",
                    "pHash, 16 hexadecimal digits: pictures that look alike differ in few bits; null where it was not decoded",
                ),
                Field(
                    "problems",
                    "array<string>",
                    "what is wrong with it: not_an_image, truncated, decompression_bomb, animated, too_small, extreme_aspect, "
                    "blank, placeholder; empty where nothing is",
                    False,
                ),
                Field("original_bytes", "bigint", "size of the original in bytes", False),
                Field("made_as", "string", "fingerprint of the settings it was made by", False),
                Field("shard", "int", "first digit of image_id, 0 to 15: partition", False),
                Field("run_id", "string", "run that took it in", False),
            ),
            ("image_id",),
            "images",
            ("shard",),
        ),
        Table(
            "silver.image_links",
            "a product whose feed names a picture, and what became of it",
            (
                _PRODUCT_ID,
                Field("source", "string", "name of the source", False),
                Field("reference", "string", "the picture as silver.products.image names it", False),
                Field("image_id", "string", "the picture in silver.images; null where no bytes were had"),
                Field("usable", "boolean", "whether the product shows it: then it is silver.products.image_id", False),
                Field(
                    "problems",
                    "array<string>",
                    "those of the picture, and wrong_extension; without bytes the rule it has in silver.rejected",
                    False,
                ),
                Field(
                    "version",
                    "string",
                    "what was read: file size and time, place in the archive, settings; null: nothing",
                ),
                Field("run_id", "string", "run that last changed the row", False),
            ),
            ("product_id",),
            "images",
        ),
        Table(
            "silver.rejected",
            "a row that broke a rule",
            (
                Field("table", "string", "table the row was meant for", False),
                Field("rule", "string", "name of the rule it broke first", False),
                Field("action", "string", "what was done with it: reject", False),
                Field("reason", "string", "the rule as a sentence, with the value that broke it"),
                Field("source", "string", "name of the source"),
                Field("file", "string", "feed file, where the row comes from one"),
                Field("file_hash", "string", "its sha256"),
                Field("record_number", "bigint", "position of the record in the file"),
                Field("line", "bigint", "line the record starts on"),
                Field("key", "string", "key of the row, where it has one"),
                Field("payload", "string", "the row as JSON, or the raw text where it could not be parsed"),
                Field(
                    "resolved_by",
                    "string",
                    "run that judged the record again: it passed, or was refused anew in that run's own row; null while open",
                ),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("table", "source", "file_hash", "record_number", "run_id"),
            "every job that writes a checked table",
            ("run_date",),
            WRITERS,
        ),
        Table(
            "silver.check_results",
            "an expectation evaluated",
            (
                Field("table", "string", "table that was checked", False),
                Field("suite", "string", "suite file: expectations/<suite>.json", False),
                Field("expectation", "string", "Great Expectations type, e.g. expect_column_values_to_not_be_null"),
                Field("column", "string", "column it speaks of; null for a whole-table expectation"),
                Field("severity", "string", "critical stops the run; warning and info do not", False),
                Field("success", "boolean", "whether it held", False),
                Field("observed", "string", "observed value or the share of rows that broke it, as JSON"),
                Field("sentence", "string", "the expectation in words"),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("table", "suite", "expectation", "column", "sentence", "run_id"),
            "every job that writes a checked table",
            ("run_date",),
            WRITERS,
        ),
        Table(
            "silver.taxonomy",
            "a category of a taxonomy version",
            (
                _VERSION,
                Field("category_id", "string", "id of the category; derived: hash of (source, path)", False),
                Field("path", "string", "levels joined by ' > ', root first", False),
                Field("name", "string", "last level of the path", False),
                Field("parent_id", "string", "category above; null for a root"),
                Field("depth", "int", "1 for a root", False),
                Field("names", "array<struct<locale:string,name:string>>", "name by locale, sorted by locale"),
            ),
            ("taxonomy_version", "category_id"),
            "taxonomy",
            ("taxonomy_version",),
        ),
        Table(
            "silver.category_map",
            "a category path of a source, and the category it means",
            (
                Field("source", "string", "name of the source", False),
                Field("source_path", "string", "path as in silver.products.category_paths", False),
                _VERSION,
                Field("category_id", "string", "category it means; null when unmapped"),
                Field("origin", "string", "derived, file (conf/taxonomy/<source>.csv) or unmapped", False),
                Field("products", "bigint", "products that carry the path", False),
            ),
            ("source", "source_path", "taxonomy_version"),
            "taxonomy",
        ),
        Table(
            "silver.labels",
            "a product said to be in a category, by whom",
            (
                _PRODUCT_ID,
                Field("category_id", "string", "category the product is said to be in", False),
                _VERSION,
                Field("origin", "string", "who says so: source, rule, person or model", False),
                Field("who", "string", "the source's name, the rule, the person or the model version"),
                Field("primary", "boolean", "the one category of the product to train on", False),
                Field("weight", "double", "trust in the label, 0 to 1", False),
                Field(
                    "inclusion_probability",
                    "double",
                    "chance that the row was picked for labelling; 1 for feeds and for what a person chose to look at. Below "
                    "1 it was drawn: such a label measures models and trains none",
                ),
                Field("labelled_at", "timestamp", "when it was said"),
                Field("run_id", "string", "run that added the label", False),
            ),
            ("product_id", "category_id", "origin"),
            "labels",
            ("origin",),
            ("labels", "review"),
            version=2,
        ),
        Table(
            "silver.reviews",
            "a person's word on the category of a product; of a product the newest holds",
            (
                _PRODUCT_ID,
                Field(
                    "verdict",
                    "string",
                    "ok (the model's best category is right), label (the one that the source gave is), other (it is another), "
                    "out_of_scope (no category is right), withdrawn (what was said before holds no more)",
                    False,
                ),
                Field("category_id", "string", "category the product is in; null for out_of_scope and withdrawn"),
                Field("taxonomy_version", "string", "version of the taxonomy that the category was named in"),
                Field("listed_for", "string", "why it was listed: review, sample, label_issue, comma separated"),
                Field("model_version", "string", "version of the model that the person saw"),
                Field("model_category_id", "string", "its best category, as the person saw it"),
                Field(
                    "inclusion_probability",
                    "double",
                    "chance that the product was picked: the share of the sample it was drawn in, else 1",
                    False,
                ),
                Field("sample_seed", "bigint", "seed of that sample; null where it was not drawn"),
                Field("sample_regions", "string", "regions of that sample, comma separated, or * for all"),
                Field("reviewed_by", "string", "who said it", False),
                Field("reviewed_at", "timestamp", "when it was recorded", False),
                Field("note", "string", "why, in the person's words"),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("run_id", "product_id"),
            "review",
        ),
        Table(
            "silver.leak_groups",
            "a product and everything that would leak across a split",
            (
                _PRODUCT_ID,
                Field("leak_group", "string", "smallest product_id of the group", False),
                Field("bucket", "int", "hash of leak_group, 0 to 15: partition", False),
            ),
            ("product_id",),
            "dedupe",
            ("bucket",),
            packed=True,
        ),
        Table(
            "silver.duplicates",
            "a product and the group of records that are the same product",
            (
                _PRODUCT_ID,
                _REGION,
                Field(
                    "group_id",
                    "string",
                    "group: the product_id of its first survivor; stays when the survivor changes",
                    False,
                ),
                Field("survivor", "boolean", "the record the group is known by", False),
                Field("relation", "string", "single (alone), same (one product, several records)", False),
                Field("similarity", "double", "exact Jaccard similarity of the titles to the survivor's, 0 to 1"),
                Field("matched_by", "string", "evidence: gtin, title, scorer, steward; null for a single"),
                Field("group_size", "int", "records in the group", False),
                Field(
                    "variant_group_id",
                    "string",
                    "the same in groups that differ in a capacity, a colour or a size alone, or that a vendor lists as variants: "
                    "the smallest product_id of their survivors; null where no variant is known",
                ),
            ),
            ("product_id",),
            "dedupe",
            ("region",),
            packed=True,
        ),
        Table(
            "silver.lsh_index",
            "products as dedupe knows them from run to run, packed to arrays; of no use but to it",
            (
                Field("segment", "int", "0: made anew of all products; then one more a run that added to it", False),
                Field("part", "bigint", "row of the segment", False),
                Field("kind", "string", "products, or gone (they count no more in earlier segments)", False),
                Field("products", "int", "products of the row", False),
                Field("product", "binary", "xxhash64 of each product_id, little-endian"),
                Field("title", "binary", "64-bit hash of each normalised title, 0 where there is none"),
                Field(
                    "identity", "binary", "64-bit hashes of image_id, image, gtin and item_group of each, 0 where none"
                ),
                Field("low", "binary", "low 32 bits of the band keys of each title, in the order of the bands"),
                Field("high", "binary", "high 8 bits of the band keys"),
                _RUN_ID,
            ),
            ("segment", "part"),
            "dedupe",
        ),
        Table(
            "silver.duplicate_events",
            "a product whose duplicate group has another id than in the run before",
            (
                _PRODUCT_ID,
                Field(
                    "event", "string", "joined (its group was taken in by an older one), split (it left a group)", False
                ),
                Field("group_id", "string", "group it is in now", False),
                Field("from_group_id", "string", "group it was in", False),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("run_id", "product_id"),
            "dedupe",
            ("run_date",),
        ),
        Table(
            "silver.proposed_pairs",
            "two products that may be one, for a person to decide; only where there is a scorer",
            (
                Field("left_product_id", "string", "the smaller product_id of the pair", False),
                Field("right_product_id", "string", "the larger one", False),
                Field("score", "double", "calibrated probability that they are one product, 0 to 1", False),
                Field("reasons", "array<string>", "features that speak loudest for and against, see docs/dedup.md"),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("left_product_id", "right_product_id"),
            "dedupe",
        ),
        Table(
            "silver.match_decisions",
            "a person's word on two products; of a pair the newest holds",
            (
                Field("left_product_id", "string", "the smaller product_id of the pair", False),
                Field("right_product_id", "string", "the larger one", False),
                Field("verdict", "string", "same, different, or withdrawn (what was said before holds no more)", False),
                Field("reason", "string", "why", False),
                Field("decided_by", "string", "who decided", False),
                Field("decided_at", "timestamp", "when it was recorded", False),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("run_id", "left_product_id", "right_product_id"),
            "decide",
        ),
        Table(
            "silver.catalogue",
            "a golden record: one product in one region",
            (
                Field("group_id", "string", "duplicate group, see silver.duplicates", False),
                _REGION,
                Field("product_id", "string", "the region's survivor of the group", False),
                Field("source", "string", "source of the survivor"),
                Field("sources", "array<string>", "all sources of the group's records in the region, sorted"),
                Field("members", "int", "records of the group in the region", False),
                *_PRODUCT,
                Field("content_hash", "string", "hash of the business columns"),
                Field(
                    "provenance",
                    "array<struct<product_id:string,source:string,fields:array<string>>>",
                    "the records the fields are from, the first of the order first; `fields`: the columns a record gave, "
                    "one attribute as attributes.<name>; category_paths may be from several. What is in no list is null",
                ),
                Field(
                    "conflicts",
                    "array<struct<field:string,values:array<struct<value:string,product_ids:array<string>,"
                    "sources:array<string>>>>>",
                    "fields (brand, gtin, model_number, price, attributes.<name>) of which records state different "
                    "things: each value, the golden record's first, and who states it; null where there are none",
                ),
            ),
            ("group_id", "region"),
            "dedupe",
            ("region",),
        ),
        Table(
            "silver.splits",
            "a product and the side of the split it is on, for ever",
            (
                _PRODUCT_ID,
                Field("leak_group", "string", "group that must stay on one side", False),
                Field("side", "string", "train, tune, calibrate or test", False),
                Field("moved_from", "string", "earlier side, when a merged group moved to test"),
                Field("bucket", "int", "hash of leak_group, 0 to 15: partition", False),
                Field("run_id", "string", "run that put it there", False),
            ),
            ("product_id",),
            "labels",
            ("bucket",),
            packed=True,
        ),
        Table(
            "gold.models",
            "a trained model",
            (
                Field("model", "string", "name of the model line, e.g. text", False),
                Field("model_version", "string", "version: the run that trained it", False),
                Field("path", "string", "folder of its files below the lake's root", False),
                Field("checksum", "string", "sha256 over its files", False),
                _VERSION,
                Field("lake_commit", "string", "commit of the tables it was trained on"),
                Field("categories", "int", "categories it can predict"),
                Field("training_rows", "bigint", "rows it was trained on"),
                Field("settings", "string", "training settings as JSON"),
                Field("metrics", "string", "metrics on the tune side as JSON"),
                Field("champion", "boolean", "whether predictions are made with it", False),
                Field("champion_since", "timestamp", "when it became the champion; null for one that never was"),
                _RUN_ID,
                Field("shadow", "boolean", "whether it predicts beside the champion, into gold.shadow_predictions"),
                Field(
                    "published",
                    "boolean",
                    "whether the champion of its line predicts the catalogue; those of other lines predict into "
                    "gold.shadow_predictions. Null where there was one line",
                ),
            ),
            ("model", "model_version"),
            "train_text",
        ),
        Table(
            "gold.model_decisions",
            "a decision on a version of a model, or a comparison of two; appended, never changed",
            (
                Field("model", "string", "name of the model line", False),
                Field(
                    "model_version",
                    "string",
                    "version decided on: promoted, kept, gone back to, compared, shadowed",
                    False,
                ),
                Field(
                    "decision",
                    "string",
                    "promoted (it is the champion now), kept (the champion stays), rolled_back (it is the champion again), "
                    "compared (nothing changed), shadow_on, shadow_off, published (its line predicts the catalogue now), "
                    "not_published (the line that did still does)",
                    False,
                ),
                Field("decided_by", "string", "gate, or the person who decided", False),
                Field("reason", "string", "why", False),
                Field(
                    "champion_before",
                    "string",
                    "champion at that moment; null for the first of a line. Of published, not_published: what predicted the "
                    "catalogue",
                ),
                Field("champion", "string", "champion from then on; likewise"),
                Field("compared_with", "string", "version measured beside it; null where nothing was measured"),
                Field("macro_f1", "double", "macro-F1 of model_version on the test side"),
                Field("compared_macro_f1", "double", "macro-F1 of compared_with on the same rows"),
                Field("difference", "double", "macro_f1 less compared_macro_f1"),
                Field(
                    "difference_low", "double", "one-sided 95 % lower bound of the difference, by a paired bootstrap"
                ),
                Field("margin", "double", "gate.margin: difference_low had to lie above its negative"),
                Field("worst_region", "string", "of the regions with rows enough, the one where it drops most"),
                Field("worst_region_drop", "double", "macro-F1 it drops by there; negative where it gains in all"),
                Field("max_region_drop", "double", "gate.max_region_drop: what a region might drop by"),
                Field(
                    "regions",
                    "array<struct<region:string,rows:bigint,macro_f1:double,compared_macro_f1:double>>",
                    "both models in each region, sorted by region",
                ),
                Field("test_rows", "bigint", "rows of the test side that both were measured on"),
                Field("looks", "bigint", "comparisons of this line on the test side so far, this one included", False),
                Field("lake_commit", "string", "commit of the tables that was decided on"),
                Field("decided_at", "timestamp", "when it was decided", False),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("model", "run_id", "decision"),
            "train_text",
            writers=("train_text", "train_multimodal", "train_ensemble", "models"),
        ),
        Table(
            "gold.predictions",
            "a predicted category of a golden record",
            (
                Field("product_id", "string", "the region's survivor, see silver.catalogue", False),
                Field("group_id", "string", "duplicate group of the golden record"),
                _REGION,
                _RUN_DATE,
                Field("model", "string", "name of the model line", False),
                Field("model_version", "string", "version that predicted", False),
                _VERSION,
                Field("category_id", "string", "category decided on: the leaf, its ancestor after roll_up", False),
                Field("category_path", "string", "its path"),
                Field("confidence", "double", "calibrated probability that category_id is right, 0 to 1", False),
                Field(
                    "top_k",
                    "array<struct<category_id:string,confidence:double>>",
                    "best leaf categories, most likely first",
                ),
                Field("decision", "string", "accept, roll_up or review", False),
                Field("reason", "string", "why this decision"),
                Field(
                    "evidence",
                    "array<struct<feature:string,weight:double>>",
                    "words, phrases and facts that speak loudest for the best leaf (weight above 0) or for the next one "
                    "(below 0), of predictions for review; null for others",
                ),
                Field("lake_commit", "string", "commit of the catalogue that was predicted"),
                _RUN_ID,
                Field(
                    "contributions",
                    "array<struct<modality:string,weight:double>>",
                    "what title, description, picture and fields (of an ensemble also its text model, as text) each brought to the "
                    "best leaf: Shapley values of the logarithm of its probability, above 0 for it, below 0 against it; null for "
                    "models of text alone",
                ),
            ),
            ("product_id", "region", "model", "run_date"),
            "predict",
            ("region", "run_date", "model"),
        ),
        Table(
            "gold.embeddings",
            "the vector of a golden record: what is like what",
            (
                Field("product_id", "string", "the region's survivor, see silver.catalogue", False),
                Field("group_id", "string", "duplicate group of the golden record"),
                _REGION,
                Field("model", "string", "name of the model line", False),
                Field("model_version", "string", "version whose space it lies in: others are not comparable", False),
                Field("vector", "array<float>", "unit length: the cosine of two is their similarity, -1 to 1", False),
                Field("lake_commit", "string", "commit of the catalogue that was read"),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("product_id", "region", "model"),
            "embed",
            ("region", "model"),
        ),
        Table(
            "gold.metrics",
            "a measured figure",
            (
                Field("model", "string", "name of the model line", False),
                Field("model_version", "string", "version that was measured", False),
                Field("region", "string", "region, or * for all", False),
                Field(
                    "level",
                    "string",
                    "leaf, or a level of the taxonomy truth and prediction are cut to, 1: roots",
                    False,
                ),
                Field("category_id", "string", "category, or * for all", False),
                Field("category_path", "string", "its path; null for *"),
                Field(
                    "metric",
                    "string",
                    "accuracy, accuracy_any, accuracy_accepted, accuracy_decided, macro_f1, weighted_f1, micro_f1_listed, categories, "
                    "coverage, "
                    "roll_up_share, review_share, coverage_all, ece, ece_by_chance, brier, bin_accuracy_<bin>, "
                    "bin_confidence_<bin>, precision, recall, f1, hierarchical_precision, hierarchical_recall, hierarchical_f1, "
                    "tree_distance, recall_at_1, recall_at_3, recall_at_5, aurc, aurc_perfect, macro_f1_head, macro_f1_middle, "
                    "macro_f1_tail, categories_head, categories_middle, categories_tail; of golden records that people checked: "
                    "checked_accuracy, checked_accuracy_accepted, checked_accuracy_decided, checked_share; see docs/metrics.md",
                ),
                Field("value", "double", "the figure; null below minimum support"),
                Field("support", "bigint", "test rows behind the figure", False),
                Field("low", "double", "lower end of the 95 % interval, where there is one"),
                Field("high", "double", "upper end of the 95 % interval, where there is one"),
                Field(
                    "side",
                    "string",
                    "side of the split measured on; all for coverage_all, checked for checked_*",
                    False,
                ),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("model", "region", "level", "category_id", "metric", "run_id"),
            "evaluate",
            ("run_date",),
        ),
        Table(
            "gold.slices",
            "a measured figure of the rows that have one thing in common",
            (
                Field("model", "string", "name of the model line", False),
                Field("model_version", "string", "version that was measured", False),
                Field(
                    "slice",
                    "string",
                    "what the rows are told apart by: all, region, language, source, brand, brand_seen (was the brand trained "
                    "on), price (by currency, about as many rows in each band), title_length (words), top_category",
                    False,
                ),
                Field(
                    "slice_value",
                    "string",
                    "what they have in common; * in slice all; (none): not stated; (others): beyond the 50 largest",
                    False,
                ),
                Field(
                    "metric",
                    "string",
                    "accuracy, accuracy_any, accuracy_accepted, accuracy_decided, macro_f1, weighted_f1, micro_f1_listed, categories, "
                    "coverage, roll_up_share, review_share, ece, ece_by_chance, brier, recall_at_1, recall_at_3, "
                    "recall_at_5, hierarchical_precision, hierarchical_recall, hierarchical_f1, tree_distance, aurc, "
                    "aurc_perfect, macro_f1_head, macro_f1_middle, macro_f1_tail, categories_head, categories_middle, "
                    "categories_tail; see docs/metrics.md",
                    False,
                ),
                Field("value", "double", "the figure; null below minimum support"),
                Field("support", "bigint", "test rows behind the figure", False),
                Field("low", "double", "lower end of the 95 % interval, where there is one"),
                Field("high", "double", "upper end of the 95 % interval, where there is one"),
                Field("side", "string", "side of the split measured on", False),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("model", "slice", "slice_value", "metric", "run_id"),
            "evaluate",
            ("run_date",),
        ),
        Table(
            "gold.curves",
            "a point of an accuracy-coverage curve: what a threshold of confidence would accept, and how much of it is right",
            (
                Field("model", "string", "name of the model line", False),
                Field("model_version", "string", "version that was measured", False),
                Field("slice", "string", "all, region, language or top_category, as in gold.slices", False),
                Field("slice_value", "string", "which; * in slice all", False),
                Field("threshold", "double", "least confidence in the best leaf that is accepted, 0 to 1", False),
                Field("coverage", "double", "share of the test rows at the threshold or above", False),
                Field("accuracy", "double", "share of these that are right"),
                Field("support", "bigint", "test rows at the threshold or above", False),
                Field("low", "double", "lower end of the 95 % interval of accuracy, where there is one"),
                Field("high", "double", "upper end of the 95 % interval of accuracy, where there is one"),
                Field("side", "string", "side of the split measured on", False),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("model", "slice", "slice_value", "threshold", "run_id"),
            "evaluate",
            ("run_date",),
        ),
        Table(
            "gold.label_issues",
            "a label that looks wrong: another category fits the product better, by a model that has not seen it",
            (
                _PRODUCT_ID,
                _REGION,
                Field("title", "string", "its title"),
                Field("category_id", "string", "category the product is said to be in", False),
                Field("category_path", "string", "its path"),
                Field("origin", "string", "who says so: source, rule or model", False),
                Field("who", "string", "the source's name, the rule or the model version"),
                Field("suggested_id", "string", "category that fits better", False),
                Field("suggested_path", "string", "its path"),
                Field(
                    "margin", "double", "score of the suggestion less that of the label: the larger, the surer", False
                ),
                Field("given_confidence", "double", "probability of the label, 0 to 1", False),
                Field("suggested_confidence", "double", "probability of the suggestion, 0 to 1", False),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("product_id",),
            "audit",
        ),
        Table(
            "gold.category_issues",
            "a pair of categories that the labels themselves confuse",
            (
                Field("left_id", "string", "the smaller category_id of the pair", False),
                Field("left_path", "string", "its path"),
                Field("right_id", "string", "the larger one", False),
                Field("right_path", "string", "its path"),
                Field("left_rows", "bigint", "labelled products of the left category", False),
                Field("right_rows", "bigint", "labelled products of the right category", False),
                Field(
                    "left_as_right", "bigint", "of the left, those a model that has not seen them calls right", False
                ),
                Field("right_as_left", "bigint", "of the right, those it calls left", False),
                Field("listed_in_both", "bigint", "products that are listed in both", False),
                Field("alike_apart", "bigint", "leak groups, look-alikes, with products labelled each way", False),
                Field(
                    "action",
                    "string",
                    "merge (each is taken for the other), allow_both (products are listed in both), redefine (say what "
                    "belongs where, and label again)",
                    False,
                ),
                Field("gain", "double", "what macro-F1 over all categories would gain by it, at the most", False),
                Field(
                    "examples",
                    "array<struct<product_id:string,title:string,category_id:string>>",
                    "products that were taken for the other, with the category they are said to be in",
                ),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("left_id", "right_id"),
            "audit",
        ),
        Table(
            "gold.category_needs",
            "a category, how well it is told from the others, and how many labels it lacks",
            (
                Field("category_id", "string", "category", False),
                Field("category_path", "string", "its path"),
                Field("labels", "bigint", "labelled products there are", False),
                Field(
                    "f1",
                    "double",
                    "F1 by models that have not seen the product, drawn towards a half by two rows",
                    False,
                ),
                Field("f1_of_a_third", "double", "the same, learnt from a third as many labels", False),
                Field("target_f1", "double", "F1 that is aimed at: metrics.target_f1", False),
                Field(
                    "more_labels",
                    "bigint",
                    "labels until it is likely met; 0: it is met; null: labels alone are not likely to do it",
                ),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("category_id",),
            "audit",
        ),
        Table(
            "gold.runs",
            "a run of a job",
            (
                Field("job", "string", "job", False),
                _RUN_ID,
                Field("attempt", "int", "attempt, from 1", False),
                Field("status", "string", "done, refused (a check failed), failed, skipped (nothing to do)", False),
                Field("reason", "string", "why it was refused or failed"),
                Field("input_commit", "string", "commit of the lake it read"),
                Field("config_hash", "string", "sha256 of its settings"),
                Field("code_version", "string", "version of shelfmark that ran"),
                Field("rows", "string", "rows written per table, as JSON"),
                Field("notes", "string", "counts the job reported, as JSON"),
                Field("seconds", "double", "wall time"),
                Field("started_at", "timestamp", "when it started"),
                _RUN_DATE,
            ),
            ("job", "run_id", "attempt"),
            "every job",
            ("run_date",),
            WRITERS,
        ),
        Table(
            "silver.erasures",
            "an erasure: what was removed on request, by whom and why; it keeps nothing of what was removed",
            (
                Field("erasure_id", "string", "run that removed it", False),
                Field("scope", "string", "source (all of one) or products", False),
                Field("source", "string", "name of the source; null for single products"),
                Field("products", "bigint", "products that were named, or that the source had", False),
                Field("why", "string", "reason as given", False),
                Field("who", "string", "who asked: user of the command"),
                Field("rows", "string", "rows removed or emptied per table, as JSON", False),
                Field(
                    "history_before", "timestamp", "commits before this were to go too; null: history as retention says"
                ),
                Field("commits", "array<string>", "commits removed from history for it; null until that is done"),
                Field("remaining", "array<string>", "commits that still hold it, and what keeps them; null as above"),
                Field("erased_at", "timestamp", "when it was removed", False),
                _RUN_ID,
                _RUN_DATE,
            ),
            ("erasure_id",),
            "erase",
        ),
        Table(
            "silver.suppressed",
            "a product, or all of a source, that is not taken in again after its erasure",
            (
                Field("scope", "string", "product or source", False),
                Field("key_hash", "string", "sha256 of `erased:` and the product_id or the source's name", False),
                Field("erasure_id", "string", "erasure it belongs to, see silver.erasures", False),
                _RUN_ID,
            ),
            ("scope", "key_hash"),
            "erase",
        ),
    )
}

# One contract for both: a challenger in shadow says what it would say as the champion.
TABLES["gold.shadow_predictions"] = replace(
    TABLES["gold.predictions"],
    name="gold.shadow_predictions",
    grain="what a challenger in shadow, or the champion of a line that is not published, says of a golden record; "
    "gold.predictions has what holds",
)


def table(name: str) -> Table:
    """The contract of `name`; a `KeyError` with the known names when there is none."""
    try:
        return TABLES[name]
    except KeyError:
        raise KeyError(f"no table {name!r}; there are: {', '.join(sorted(TABLES))}") from None
