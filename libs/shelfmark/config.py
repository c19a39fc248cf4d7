"""Settings: base.yml <- <env>.yml <- --set a.b=c, checked before Spark starts.

An unknown key, a wrong type or a missing file is one clear line (`UsageError`, exit code 2).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shelfmark.errors import UsageError

SECRET_NAME = re.compile(
    r"(?i)(password|passwd|secret|token|credential|(access|api|private)[._-]?key)(?!.*(provider|file|env)$)"
)
SECRET_ADDRESS = re.compile(r"://[^/@\s:]+:[^/@\s]+@")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spark(Section):
    """The Spark session."""

    master: str = Field("local[2]", description="Spark master; empty where the cluster sets it")
    driver_memory: str = Field("3g", description="heap of the driver")
    shuffle_partitions: int = Field(8, ge=1, description="partitions of a shuffle")
    options: dict[str, str] = Field({}, description="any other Spark option, as spark-submit --conf takes it")


class Ingest(Section):
    """Readers and normalising."""

    split_mib: int = Field(32, ge=1, description="size of the byte ranges large line-oriented files are read in, MiB")


class Images(Section):
    """Pictures of products. A change of size, quality or what is refused takes all of them in again."""

    size: int = Field(
        224, ge=16, le=4096, description="longest side of a stored picture; smaller ones stay as they are"
    )
    quality: int = Field(85, ge=1, le=95, description="quality of the JPEGs that are stored")
    min_side: int = Field(32, ge=1, description="pixels of the shorter side below which a picture is too_small")
    max_aspect: float = Field(8.0, ge=1, description="ratio of the sides above which a picture is extreme_aspect")
    max_pixels: int = Field(50_000_000, ge=1, description="pixels above which a picture is a decompression_bomb")
    max_mib: int = Field(20, ge=1, le=1024, description="size of a picture's file above which it is not read, MiB")
    placeholder_titles: int = Field(
        50, ge=1, description="titles of products above which the picture they share is a placeholder"
    )
    noted: list[Literal["wrong_extension", "too_small", "extreme_aspect", "blank", "animated", "placeholder"]] = Field(
        ["wrong_extension"], description="problems that are noted and refuse no picture"
    )
    urls: bool = Field(False, description="whether pictures are fetched by http(s) from where feeds say they are")
    allowed_hosts: list[str] = Field(
        [], description="hosts, or host:port, that may be asked though their addresses are not public"
    )
    connections: int = Field(8, ge=1, le=64, description="pictures fetched from a host at a time")
    timeout_seconds: float = Field(20.0, gt=0, description="time within which a picture must be here whole")
    retries: int = Field(2, ge=0, le=10, description="times a picture is asked for again after a failure that may pass")


Criterion = Literal["source", "gtin", "completeness", "recency", "description"]


class Golden(Section):
    """Which record comes first: of a duplicate group, and for each field of its golden record."""

    order: list[Criterion] = Field(
        ["source", "gtin", "completeness", "description"],
        min_length=1,
        description="what puts a record before another, the strongest first: source, gtin, completeness, recency, "
        "description; the smallest product_id decides last",
    )
    sources: list[str] = Field([], description="sources by trust, the best first; others come after them, all alike")
    fields: dict[str, list[Criterion]] = Field({}, description="orders of single fields, e.g. price: [recency]")
    field_sources: dict[str, list[str]] = Field(
        {}, description="sources by trust for single fields, e.g. description: [vendor_b]"
    )

    @model_validator(mode="after")
    def _known_and_once(self) -> Golden:
        from shelfmark.dedup import fields

        for name in (*self.fields, *self.field_sources):
            if refusal := fields.refusal(name):
                raise ValueError(refusal)
        for key, named in self._lists().items():
            if twice := next((one for one in named if named.count(one) > 1), None):
                raise ValueError(f"{key} names {twice} twice")
            if not named:
                raise ValueError(f"{key} is empty: leave it out")
        for name in self.field_sources:
            if "source" not in self.order_of(name)[0]:
                raise ValueError(f"field_sources.{name} has no effect: the field's order does not name source")
        if self.sources and not any("source" in one for one in (self.order, *self.fields.values())):
            raise ValueError("sources has no effect: no order names source")
        return self

    def _lists(self) -> dict[str, list[str]]:
        lists = {"order": self.order} | ({"sources": self.sources} if self.sources else {})
        lists |= {f"fields.{name}": order for name, order in self.fields.items()}
        return lists | {f"field_sources.{name}": sources for name, sources in self.field_sources.items()}

    def order_of(self, field: str) -> tuple[list[Criterion], list[str]]:
        """The order of a field's records and its sources by trust; those of all fields where it has none of its own."""
        return self.fields.get(field, self.order), self.field_sources.get(field, self.sources)

    def named_sources(self) -> dict[str, list[str]]:
        """Setting -> the sources it names."""
        return {"sources": self.sources} | {f"field_sources.{name}": some for name, some in self.field_sources.items()}


class Scorer(Section):
    """One product in other words: pairs scored by a model of `shelfmark dedupe train`. Off without a model."""

    model: str | None = Field(None, description="file of the trained model; null: similar titles and GTINs only")
    merge: float | None = Field(
        None, gt=0, le=1, description="score from which on a pair is one product; null: the model's own"
    )
    propose: float | None = Field(
        None, gt=0, le=1, description="score from which on a pair is proposed; null: the model's own"
    )
    block: int = Field(100, ge=2, description="offers of a block of candidates; larger ones are dropped and counted")

    @model_validator(mode="after")
    def _in_order(self) -> Scorer:
        if self.merge is not None and self.propose is not None and self.propose > self.merge:
            raise ValueError(f"propose {self.propose:g} is above merge {self.merge:g}")
        return self


class Dedupe(Section):
    """Near duplicates by MinHash LSH."""

    unit: Literal["characters", "words"] = Field(
        "characters", description="what shingles are made of; in scripts without spaces every character is a word"
    )
    shingle: int = Field(5, ge=2, description="characters, or words, of a shingle")
    hashes: int = Field(128, ge=16, description="hashes of a signature")
    bands: int | None = Field(
        None, ge=1, description="bands, of hashes / bands rows each; null: the fewest that reach `recall`"
    )
    recall: float = Field(0.94, gt=0, lt=1, description="probability that a pair just at `similarity` is a candidate")
    similarity: float = Field(0.8, gt=0, le=1, description="Jaccard similarity that confirms a candidate")
    seed: int = Field(42, description="seed of the hash functions")
    golden: Golden = Golden()
    scorer: Scorer = Scorer()

    @model_validator(mode="after")
    def _whole_bands(self) -> Dedupe:
        if self.bands is not None and self.hashes % self.bands:
            raise ValueError(f"{self.hashes} hashes make no {self.bands} bands of equal size")
        return self


class Splits(Section):
    """Sides of the evaluation split, by leak group."""

    train: float = Field(0.70, gt=0, lt=1, description="share of the products a classifier learns from")
    tune: float = Field(0.10, gt=0, lt=1, description="share its settings are chosen on")
    calibrate: float = Field(0.10, gt=0, lt=1, description="share its confidences are measured on")
    test: float = Field(0.10, gt=0, lt=1, description="share it is judged on; the four shares sum to 1")
    seed: int = Field(42, description="seed of the draw")

    @model_validator(mode="after")
    def _sum_to_one(self) -> Splits:
        total = self.train + self.tune + self.calibrate + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, tune, calibrate and test must sum to 1, not {total:g}")
        return self


class Text(Section):
    """The text classifier."""

    fields: list[Literal["title", "brand", "description"]] = Field(["title"], min_length=1, description="texts read")
    facts: list[Literal["price", "brand", "source", "attributes", "region"]] = Field(
        ["price", "brand", "source", "attributes"],
        description="what is read beside texts; [] for texts alone; region: the region, and a head of its own for each region",
    )
    hash_bits: int = Field(20, ge=10, le=24, description="features are hashed into 1.5 * 2**hash_bits columns")
    pairs: int = Field(
        8, ge=0, le=15, description="title words up to so many places apart are features as a pair; 0: none"
    )
    cost: float = Field(1.0, gt=0, description="C of the linear SVM")
    epochs: int = Field(10, ge=1, description="passes of the solver at the most")
    tolerance: float = Field(0.1, gt=0, description="projected-gradient spread at which the solver stops")
    min_rows: int = Field(2, ge=1, description="training rows a feature must be seen in to be learnt from")
    prune: float = Field(0.05, ge=0, description="weights of rare features smaller than this are not kept")
    min_support: int = Field(2, ge=1, description="training rows a category needs to be learnt")
    reweight: Literal["none", "sqrt", "inverse", "effective", "auto"] = Field(
        "sqrt", description="class weights; auto: the best of all on the tune side, at four times the training"
    )
    logit_tau: float | Literal["auto"] = Field(
        0.0,
        description="logit adjustment: rare categories' scores are raised by tau * ln; auto: the best on the tune side",
    )
    beta: float = Field(0.999, gt=0, lt=1, description="beta of the effective number of samples")
    max_weight: float = Field(10.0, ge=1, description="cap of a class weight")
    half_life_days: float | None = Field(
        None, gt=0, description="days in which the weight of a label halves; null: an old label counts as a new one"
    )
    trim: float | None = Field(
        None,
        ge=0,
        description="labels that the newest audit contradicts by this margin or more are not learnt from; null: all are",
    )
    names: float = Field(
        0.0, ge=0, description="weight of a category's name as a title of it; 0: names are not learnt from"
    )
    pseudo_weight: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="weight of what the champion accepted among products without a label; 0: not learnt from",
    )
    pseudo_share: float = Field(
        1.0, gt=0, description="such rows of a category at the most, in terms of its labelled ones"
    )
    augment: int = Field(
        0, ge=0, le=10, description="altered copies of each title of a rare category that are learnt from"
    )
    augment_below: int = Field(50, ge=2, description="training rows below which a category is rare")
    max_rows_per_category: int = Field(20_000, ge=10, description="training rows taken of a category at the most")
    top_k: int = Field(5, ge=1, description="categories kept per prediction")


class Multimodal(Section):
    """Models over title, description, picture and fields (docs/multimodal.md)."""

    train: Literal["auto", "always", "never"] = Field(
        "auto", description="auto: where torch is installed and enough labelled golden records have a picture"
    )
    min_pictures: int = Field(1_000, ge=1, description="labelled golden records with a picture that `auto` asks for")
    work: str | None = Field(
        None,
        description="folder for encoded examples and checkpoints that driver, executors and ranks share; null: below home",
    )
    folds: int = Field(
        2,
        ge=1,
        le=10,
        description="folds of the training rows: fusion learns from towers' answers about folds they had not seen; 1: from "
        "the tune side, at less than half the training",
    )
    fusion: Literal["auto", "max", "mean", "ridge", "gated", "policy", "early"] = Field(
        "auto",
        description="rule that fuses the towers' answers, early: their features; auto: the best rule of answers on the tune side",
    )
    modalities: list[Literal["title", "description", "picture", "fields"]] = Field(
        ["title", "description", "picture", "fields"], min_length=1, description="what there are towers for"
    )
    text_tower: str = Field(
        "ngrams",
        description="tower of texts: ngrams, textcnn, or a Hugging Face encoder by name or path (extra encoders)",
    )
    picture_tower: str = Field("resnet10t", description="tower of pictures: a timm model by name")
    pretrained: str | None = Field(
        None, description="weights the picture tower starts from: hub, or a file of its state dict; null: none"
    )
    freeze_all_but: int | None = Field(
        None, ge=0, description="layers of a pretrained tower, from its end, that learn; null: all do"
    )
    adapters: int = Field(0, ge=0, description="rank of LoRA adapters of a Hugging Face encoder; 0: none")
    picture_size: int = Field(64, ge=16, description="edge of the square a picture is drawn into, pixels")
    title_length: int = Field(192, ge=1, description="ids of a title at the most (ngrams: words, pairs and characters)")
    description_length: int = Field(384, ge=1, description="ids of a description at the most")
    hash_bits: int = Field(17, ge=8, le=24, description="ids are hashed into 2**hash_bits rows of an embedding")
    fields_width: int = Field(256, ge=8, description="columns that facts are hashed into")
    loss: Literal["cross_entropy", "focal", "hierarchical"] = Field("cross_entropy", description="loss of a tower")
    multi_label: bool = Field(False, description="several categories a product")
    reweight: Literal["none", "sqrt", "inverse", "effective", "balanced"] = Field(
        "sqrt", description="class weights, mean 1 over rows and capped by text.max_weight"
    )
    logit_tau: float = Field(0.0, ge=0, description="logit adjustment while learning: tau * ln(share) is added")
    paired: bool = Field(
        False,
        description="beside each tower one that learns without class weights, the mean of both answers: better on rare "
        "categories at little cost in accuracy, for twice the training",
    )
    epochs: int = Field(8, ge=1, description="passes over the training rows at the most")
    patience: int = Field(3, ge=1, description="epochs without a better macro-F1 on the tune side before a tower stops")
    batch: int = Field(256, ge=1, description="rows of a global batch: the same on any number of ranks")
    rank_batch: int | None = Field(
        None,
        ge=1,
        description="rows of a rank's batch: the global batch is this times the ranks, and rates grow with it; null: `batch`",
    )
    accumulate: int = Field(1, ge=1, description="parts a rank's batch is computed in, for less memory")
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="learning rate of a modality, e.g. picture: 0.001; else that of its tower"
    )
    warm_up: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises")
    clip: float = Field(1.0, gt=0, description="norm that gradients of dense weights are cut to")
    weight_decay: float = Field(0.02, ge=0, description="decay of dense weights (AdamW)")
    augment: bool = Field(True, description="pictures are mirrored and shifted while learning")
    sparse: bool = Field(True, description="embeddings have sparse gradients")
    candidates: int = Field(
        0,
        ge=0,
        description="categories by nearest prototype that the model chooses among, for thousands of categories; 0: all",
    )
    mixed_precision: bool = Field(True, description="half precision on CUDA")
    compression: bool = Field(False, description="gradients travel between Horovod ranks as half precision")
    modality_dropout: float = Field(
        0.2, ge=0, lt=1, description="chance that early fusion learns a row without one of its modalities"
    )
    seed: int = Field(42, description="seed of weights, order and dropout")
    launcher: Literal["auto", "in_process", "horovod", "torch_distributor"] = Field(
        "auto", description="where ranks run; auto: horovod where it is built and there are two ranks or more"
    )
    ranks: int = Field(0, ge=0, description="ranks; 0: one a GPU, or one a slot of Spark, by powers of two")
    threads: int = Field(0, ge=0, description="torch threads of a rank; 0: cores / ranks")
    retries: int = Field(
        2, ge=0, description="times that ranks are started again after one died, from the last checkpoint"
    )
    checkpoint_steps: int = Field(500, ge=0, description="steps between checkpoints, beside one an epoch; 0: no others")
    lanes: int = Field(8, ge=1, description="parts a global batch is made of: the number of ranks must divide it")
    group_rows: int = Field(256, ge=1, description="rows of a row group of the cache")
    window: int = Field(4, ge=1, description="row groups of a lane that are shuffled together")


Share = Annotated[float, Field(gt=0, lt=1)]


class Ensemble(Section):
    """The ensemble of the champions of text and multimodal (docs/multimodal.md)."""

    train: Literal["auto", "always", "never"] = Field(
        "auto", description="auto: where both lines have a champion of the same taxonomy"
    )
    rows: int = Field(
        50_000, ge=100, description="rows of the tune and of the calibrate side that weights and thresholds rest on"
    )


class Decision(Section):
    """What is done with a prediction."""

    target_accuracy: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="accuracy of what is accepted: the calibrate side must show it, with 95 % confidence",
    )
    by_region: dict[str, Share] = Field({}, description="target accuracy of a region, in place of the general one")
    by_category: dict[str, Share] = Field(
        {},
        description="target accuracy of a category and all below it, by path; where a region has one too, the stricter",
    )
    min_accepted: int = Field(300, ge=1, description="calibrate rows that a threshold must rest on")
    out_of_scope: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="share of the labelled products that may fit worse than what counts as a product in scope",
    )
    contradicts: float = Field(
        0.005,
        ge=0,
        lt=1,
        description="share of the labelled products with picture and text whose picture may be said to contradict the text: the "
        "same bar sends others to review; 0: none",
    )
    roll_up_depth: int = Field(2, ge=1, description="highest level a roll-up may reach; 1 is a root")


class Metrics(Section):
    """Evaluation."""

    min_support: int = Field(10, ge=1, description="test rows below which a figure is not shown, only n")
    target_f1: float = Field(0.8, gt=0, lt=1, description="F1 that `shelfmark run audit` says the lacking labels for")


class Gate(Section):
    """When a newly trained model takes the champion's place."""

    margin: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="macro-F1 that a challenger may be worse by: the one-sided 95 % lower bound must lie above -margin",
    )
    # At 300 rows, one in twenty of them answered otherwise, a difference has a standard error of 0.013.
    max_region_drop: float = Field(
        0.03, ge=0, lt=1, description="macro-F1 that a challenger may be worse by in any one region, as measured"
    )
    min_region_rows: int = Field(300, ge=1, description="test rows below which a region is not judged by itself")
    promote: bool = Field(True, description="promote a challenger that passes; false: a person promotes it")
    shadow: bool = Field(False, description="a challenger that is not promoted predicts in shadow from then on")
    # One test in twenty that should fail passes: after 20 looks that has happened with a chance of 64 %.
    many_looks: int = Field(20, ge=1, description="looks at the test side from which on reports warn")


class Notify(Section):
    """Called when a run fails, with run id and reason."""

    command: str | None = Field(None, description="program, called with job, run id, exit code and reason")
    webhook: str | None = Field(None, pattern="^(https?://.*)?$", description="http(s) address, gets a JSON POST")


class LakeFS(Section):
    """The lakeFS server of `lake: lakefs`. Its keys come from the environment: LAKECTL_CREDENTIALS_ACCESS_KEY_ID and
    LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY, the names lakeFS' own tools read."""

    endpoint: str | None = Field(
        None, pattern="^(https?://[^@]*)?$", description="address of the server; empty: the one of `shelfmark lake up`"
    )
    repository: str = Field("shelfmark", pattern="^[a-z0-9][a-z0-9-]{2,62}$", description="repository, made if absent")
    storage_namespace: str | None = Field(
        None, description="where a new repository keeps its data, e.g. s3://bucket/lake; needed with an endpoint"
    )
    server_binary: str | None = Field(None, description="lakefs program that `shelfmark lake up` starts; empty: found")


class Retention(Section):
    """What `shelfmark lake prune` and the job maintain keep."""

    history_days: int = Field(90, ge=0, description="commits and releases older than this may go; the newest stay")
    branches_days: int = Field(7, ge=0, description="branches of refused and dead runs are kept for inspection so long")
    bronze_days: int | None = Field(None, ge=1, description="bronze records older than this are deleted; empty: never")


class Settings(Section):
    """All settings of a run."""

    env: str = "base"
    home: str = Field(".shelfmark", description="folder of the lake, models, reports and logs")
    lake: Literal["local", "lakefs"] = Field("local", description="where versions are kept: below home, or in lakeFS")
    # Longer than a lock outlives a process of another machine that died: then the run again goes on by itself.
    lock_wait: int = Field(150, ge=0, description="seconds a job waits for another run of it to end")
    data: str = Field(".", description="folder the sources' files are relative to")
    sources: list[str] = Field([], description="sources to take in: names of conf/sources/*.yml")
    source_dirs: list[str] = Field([], description="more folders of source mappings, before the built-in ones")
    taxonomy: str = Field("derived", description="`derived` or the path of a taxonomy file")
    taxonomy_maps: str | None = Field(
        None,
        description="folder of <source>.csv: what a source's category paths mean; empty: the built-in conf/taxonomy",
    )
    mlflow_uri: str | None = Field(None, description="MLflow tracking address; empty: SQLite below home")
    mlflow_artifacts: str | None = Field(
        None, description="where MLflow keeps artifacts, for a database that is no SQLite"
    )
    accept: list[str] = Field(
        [], description="checks that may fail in this one run, table:check; on the command line: --accept"
    )
    branch: str | None = Field(
        None,
        description="the one category, path or id, below which train_text learns anew; on the command line: --branch",
    )
    accepted_by: str | None = Field(None, description="who accepts them; empty: the user of the process")
    spark: Spark = Spark()
    ingest: Ingest = Ingest()
    images: Images = Images()
    dedupe: Dedupe = Dedupe()
    splits: Splits = Splits()
    text: Text = Text()
    multimodal: Multimodal = Multimodal()
    ensemble: Ensemble = Ensemble()
    decision: Decision = Decision()
    metrics: Metrics = Metrics()
    gate: Gate = Gate()
    notify: Notify = Notify()
    lakefs: LakeFS = LakeFS()
    retention: Retention = Retention()

    @property
    def hash(self) -> str:
        """sha256 of all settings: two runs with one hash were asked the same."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def describe(section: BaseModel, prefix: str = "") -> list[tuple[str, str, str]]:
    """(dotted name, value, meaning) of every setting."""
    rows = []
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            rows += describe(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, "" if value is None else str(value), info.description or ""))
    return rows


def resource(*parts: str) -> Path:
    """A file of conf/, expectations/ or tools/: from the installed wheel, else from the checkout."""
    package = Path(__file__).parent
    root = package if (package / "conf").is_dir() else package.parent.parent
    return root.joinpath(*parts)


OF_ONE_RUN = {
    "accept": "a check is accepted for one run, on the command line: --accept TABLE:CHECK",
    "branch": "a branch is trained in one run, on the command line: --branch PATH",
}
"""Settings that no file may have, and where they belong."""


def load(env: str | None = None, overrides: list[str] | None = None, **values: Any) -> Settings:
    """Settings of an environment.

    `overrides` are `a.b=c` texts (YAML values); `values` are top-level keys that are not None.
    Raises `UsageError` naming file and key.
    """
    env = env or os.environ.get("SHELFMARK_ENV") or "base"
    merged: dict[str, Any] = {}
    origin = "settings"
    for name in dict.fromkeys(["base", env]):
        path = resource("conf", f"{name}.yml")
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in resource("conf").glob("*.yml")))
            raise UsageError(f"no settings file {path}: --env is one of {known}")
        origin = str(path)
        try:
            content = yaml.safe_load(path.read_text()) or {}
        except yaml.YAMLError as error:
            raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
        for name, why in OF_ONE_RUN.items():
            if name in content:
                raise UsageError(f"{path}: {name}: {why}")
        _merge(merged, content)
    for text in overrides or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: write it as a.b=c")
        node = merged
        *parents, last = key.strip().split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UsageError(f"--set {text}: {parent} is a value, not a section")
        try:
            # An empty value is an empty text, which YAML would read as null.
            node[last] = yaml.safe_load(value) if value.strip() else ""
        except yaml.YAMLError:
            raise UsageError(f"--set {text}: {value!r} is not valid YAML") from None
    merged.update({key: value for key, value in values.items() if value is not None})
    merged["env"] = env
    if held := _secret(merged):
        raise UsageError(
            f"{origin} and --set: {held} holds a secret: secrets come from the environment only, never from settings or "
            "the command line (docs/operations.md says which variables)"
        )
    try:
        return _sources_known(Settings(**merged), origin)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise UsageError(f"{origin} and --set: {key}: {hint}") from None


def _sources_known(settings: Settings, origin: str) -> Settings:
    """The settings; `UsageError` where an order of golden records names a source that there is none of."""
    folders = [*map(Path, settings.source_dirs), resource("conf", "sources")]
    known = {path.stem for folder in folders for path in folder.glob("*.yml")}
    for setting, names in settings.dedupe.golden.named_sources().items():
        if unknown := next((name for name in names if name not in known), None):
            raise UsageError(
                f"{origin} and --set: dedupe.golden.{setting}: unknown source {unknown!r}; known: "
                f"{', '.join(sorted(known)) or 'none'}"
            )
    return settings


def _secret(node: Any, name: str = "") -> str | None:
    """The dotted name of a setting that is a secret by its name, or an address with a password in it."""
    if isinstance(node, dict):
        found = (_secret(value, f"{name}.{key}".lstrip(".")) for key, value in node.items())
        return next(filter(None, found), None)
    if not isinstance(node, str) or not node:
        return None
    return name if SECRET_NAME.search(name) or SECRET_ADDRESS.search(node) else None


def _merge(into: dict, other: dict) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
