"""A line of models over its life: trained, judged, kept back or promoted, in shadow, rolled back; what a person decides."""

import hashlib
import json
import random
import re
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pyspark.sql import functions as F
from sklearn.metrics import f1_score

from shelfmark import config, mirror, reports
from shelfmark.cli.app import app
from shelfmark.errors import UsageError
from shelfmark.lake import open_lake
from shelfmark.metrics import report
from shelfmark.models import challenger, champion
from shelfmark.models import lines as model_lines
from shelfmark.pipeline import _execute
from shelfmark.query import read
from shelfmark.run import Run, execute

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]

WORDS = {
    "home > kettles": ["kettle", "wasserkocher", "litre", "boil", "cordless"],
    "home > toasters": ["toaster", "slice", "bread", "crumb", "browning"],
    "home > towels": ["towel", "handtuch", "soft", "bath", "absorbent"],
    "wear > sneakers": ["sneaker", "trainers", "running", "mesh", "lace"],
    "wear > sandals": ["sandal", "strap", "summer", "leather", "buckle"],
}
NOISE = ["new", "sale", "blue", "red", "original", "pack", "for", "men", "women", "best"]
REGIONS = ("IN", "MY", "US")
SIDES = ["train"] * 10 + ["tune", "calibrate"] + ["test"] * 6
GATE = ["gate.min_region_rows=60", "text.hash_bits=14", "decision.min_accepted=30"]


ROWS = 1100


def products(n):
    """n golden records, the first ones always the same: id, region, category, title, side of the split."""
    draw = random.Random(4)
    for i in range(n):
        path = draw.choice(list(WORDS))
        words = draw.sample(WORDS[path], 2) + draw.sample(NOISE, 2)
        draw.shuffle(words)
        yield hashlib.sha256(str(i).encode()).hexdigest()[:32], REGIONS[i % 3], path, " ".join(words), SIDES[i % 18]


def fill(run, n=ROWS, wrong=0.0, taxonomy="v1", tested=True, unlabelled=0.0):
    """The tables that training reads; shares of the train side: `wrong` is labelled at random, `unlabelled` by nobody."""
    draw, made = random.Random(9), list(products(n))
    make = run.spark.createDataFrame
    nodes = {"home": None, "wear": None} | {path: path.split(" > ")[0] for path in WORDS}
    rows = [(taxonomy, c, c, c.split(" > ")[-1], parent, 1 if parent is None else 2) for c, parent in nodes.items()]
    columns = "taxonomy_version string, category_id string, path string, name string, parent_id string, depth int"
    run.write("silver.taxonomy", make(rows, columns))
    rows = [(p, region, p, "shop", ["shop"], 1, title, "10.00") for p, region, _, title, _ in made]
    columns = (
        "group_id string, region string, product_id string, source string, sources array<string>, members int, title string, "
        "price string"
    )
    run.write("silver.catalogue", make(rows, columns).selectExpr("*", "'EUR' currency", "'en' language"))
    said = {
        p: draw.choice(list(WORDS)) if side == "train" and draw.random() < wrong else path
        for p, _, path, _, side in made
    }
    for p, _, _, _, side in made:
        if side == "train" and draw.random() < unlabelled:
            del said[p]
    rows = [(p, c, taxonomy, "source", "shop", True, 1.0, 1.0, run.started, run.run_id) for p, c in said.items()]
    columns = (
        "product_id string, category_id string, taxonomy_version string, origin string, who string, primary boolean, "
        "weight double, inclusion_probability double, labelled_at timestamp, run_id string"
    )
    run.write("silver.labels", make(rows, columns))
    rows = [(p, p, side if tested or side != "test" else "tune", 0, run.run_id) for p, _, _, _, side in made]
    run.write(
        "silver.splits", make(rows, "product_id string, leak_group string, side string, bucket int, run_id string")
    )


class Line:
    """A lake with what training reads, and the jobs and commands of a model's life, each on a day of its own."""

    def __init__(self, spark, home):
        self.spark, self.day, self.home = spark, 0, str(home)
        self.settings = config.load(overrides=GATE, home=self.home)

    def next(self, what):
        self.day += 1
        return f"202601{self.day:02d}-{what}"

    def fill(self, **data):
        execute("labels", lambda run: fill(run, **data), self.settings, self.spark, self.next("data"), always=True)

    def run(self, job, force=False, settings=(), **gate):
        overrides = [*GATE, *settings, *(f"gate.{k}={v}" for k, v in gate.items())]
        settings = config.load(overrides=overrides, home=self.home)
        return _execute(job, settings, self.spark, self.next(job), force)

    def train(self, **gate):
        """The decision on a new version: its row of gold.model_decisions."""
        outcome = self.run("train_text", **gate)
        assert outcome.status == "done"
        return self.decisions()[-1]

    def command(self, *arguments):
        by = [] if "--by" in arguments else ["--by", "ann"]
        app(["models", *arguments, *by, "--home", self.home], standalone_mode=False)
        return self.decisions()[-1]

    def rows(self, name, where="true"):
        lake = open_lake(self.settings)
        return read(self.spark, lake, lake.resolve("main").id, name).where(where).collect()

    def decisions(self):
        return sorted(self.rows("gold.model_decisions"), key=lambda row: row.decided_at)

    def champion(self):
        (row,) = self.rows("gold.models", "champion")
        return row.model_version

    def tags(self, version):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=mirror.default_uri(self.home))
        experiment = client.get_experiment_by_name(mirror.EXPERIMENT).experiment_id
        (run,) = client.search_runs([experiment], f"tags.`{mirror.RUN_ID_TAG}` = '{version}'")
        return run.data.tags


@pytest.fixture(scope="module")
def line(spark, tmp_path_factory):
    """A champion, and a challenger that learnt from wrong labels: kept back, it predicts in shadow."""
    line = Line(spark, tmp_path_factory.mktemp("line"))
    line.fill()
    line.first = line.train()
    line.fill(wrong=0.85)
    line.worse = line.train(shadow="true")
    line.predicted = line.run("predict")
    return line


@pytest.fixture
def trial(line):
    """A run whose branch is dropped: what the gate would say."""
    run = Run("models", line.next("trial"), 1, line.settings, line.spark, open_lake(line.settings))
    yield run
    run.lake.drop(run.branch)


def test_the_first_of_a_line_is_promoted_and_said_to_be_the_first(line):
    first = line.first
    assert (first.decision, first.decided_by, first.champion_before) == ("promoted", "gate", None)
    assert first.champion == first.model_version == first.run_id
    assert (first.compared_with, first.looks) == (None, 0)
    assert "the first of its line" in first.reason


def test_a_worse_challenger_is_kept_the_champion_stays_and_people_are_told_how_to_go_on(line):
    worse, first = line.worse, line.first.model_version
    assert (worse.decision, worse.champion_before, worse.champion, worse.compared_with) == ("kept", first, first, first)
    assert worse.looks == 1
    assert worse.difference == pytest.approx(worse.macro_f1 - worse.compared_macro_f1)
    assert worse.difference_low < worse.difference < -worse.margin
    assert (
        worse.worst_region_drop == max(r.compared_macro_f1 - r.macro_f1 for r in worse.regions) > worse.max_region_drop
    )
    assert worse.test_rows == sum(r.rows for r in worse.regions) == sum(p[4] == "test" for p in products(ROWS))
    assert "is not ruled out" in worse.reason
    assert f"in {worse.worst_region} macro-F1 drops by" in worse.reason
    versions = {row.model_version: row for row in line.rows("gold.models")}
    assert [versions[v].champion for v in (first, worse.model_version)] == [True, False]
    assert versions[worse.model_version].champion_since is None
    (record,) = line.rows("gold.runs", f"job = 'train_text' AND run_id = '{worse.run_id}'")
    assert record.status == "done"
    noted = json.loads(record.notes)["decision"]
    assert noted["decision"] == "kept"
    (told,) = reports.told([SimpleNamespace(job="train_text", status="done", notes={"decision": noted})])
    assert f"the champion stays {first}: macro-F1 " in told
    assert f"shelfmark models promote {worse.model_version} --why" in told


def test_the_figures_are_those_of_scikit_learn_on_the_test_side(line, trial):
    """Counted by another way: all predictions of both, joined with the labels here."""
    truth = {row.product_id: row.category_id for row in line.rows("silver.labels")}
    test = {row.product_id for row in line.rows("silver.splits", "side = 'test'")}
    for name, said in (
        ("gold.predictions", line.worse.compared_macro_f1),
        ("gold.shadow_predictions", line.worse.macro_f1),
    ):
        rows = [row for row in line.rows(name) if row.product_id in test]
        pairs = [(truth[row.product_id], row.top_k[0].category_id) for row in rows]
        assert said == pytest.approx(f1_score(*zip(*pairs), average="macro"))


def test_in_shadow_it_predicts_the_same_records_elsewhere_and_the_agreement_is_noted(line):
    published, shadowed = line.rows("gold.predictions"), line.rows("gold.shadow_predictions")
    assert {row.model_version for row in published} == {line.first.model_version}
    assert {row.model_version for row in shadowed} == {line.worse.model_version}
    key = {(row.product_id, row.region): row for row in published}
    assert len(key) == len(shadowed) == ROWS
    told = line.predicted.notes["shadow"]
    regions = {row["region"]: row for row in told["regions"]}
    assert list(regions) == [*sorted(REGIONS), "*"]
    both = [(key[row.product_id, row.region], row) for row in shadowed]
    same = {
        "same_leaf": [a.top_k[0].category_id == b.top_k[0].category_id for a, b in both],
        "same_decision": [a.decision == b.decision for a, b in both],
        "same_answer": [(a.decision, a.category_id) == (b.decision, b.category_id) for a, b in both],
        "shadow_accepted": [b.decision == "accept" for _, b in both],
    }
    for name, each in same.items():
        assert regions["*"][name] == pytest.approx(sum(each) / ROWS)
        here = [one for one, (a, _) in zip(each, both) if a.region == "MY"]
        assert regions["MY"][name] == pytest.approx(sum(here) / len(here))
    differ = Counter((a.top_k[0].category_id, b.top_k[0].category_id) for a, b in both)
    counted = {(row["category"], row["shadow_category"]): row["rows"] for row in told["differ"]}
    assert counted == {pair: n for pair, n in differ.items() if pair[0] != pair[1]}
    (sentence,) = reports.told([line.predicted])
    assert f"in shadow text {line.worse.model_version} names the leaf of the champion for" in sentence


def test_a_comparison_is_a_look_once_and_told_from_the_record_after_that(line, capsys):
    first, worse = line.first.model_version, line.worse.model_version
    before = len(line.decisions())
    made = line.command("compare", worse, first)
    assert (made.decision, made.model_version, made.compared_with, made.looks) == ("compared", first, worse, 2)
    assert made.difference == pytest.approx(-line.worse.difference)
    assert made.reason.startswith("would pass the gate: macro-F1")
    assert made.champion == made.champion_before == first
    line.command("compare", worse, first)
    line.command("compare", first, worse)  # the gate compared these
    assert len(line.decisions()) == before + 1
    said = " ".join(capsys.readouterr().out.split())
    assert "no new look" in said
    assert "Looks at the test side of text so far: 2" in said
    assert "B would pass the gate" in said


def test_what_a_person_promotes_predicts_next_and_a_roll_back_undoes_it(line, capsys):
    first, worse = line.first.model_version, line.worse.model_version
    assert line.run("predict").status == "skipped"
    made = line.command("promote", worse, "--why", "to see it at work")
    assert (made.decision, made.decided_by, made.reason) == ("promoted", "ann", "to see it at work")
    assert (made.champion_before, made.champion, made.looks) == (first, worse, 2)
    assert line.champion() == worse
    assert not any(row.shadow for row in line.rows("gold.models"))
    assert line.run("train_text", shadow="true").status == "skipped"  # with the settings it ran with
    outcome = line.run("predict")
    assert outcome.status == "done"
    assert "shadow" not in outcome.notes
    day = f"run_id = '{outcome.commit.metadata['run_id']}'"
    assert {row.model_version for row in line.rows("gold.predictions", day)} == {worse}
    assert (line.tags(worse)["champion"], line.tags(first)["champion"]) == ("true", "false")
    assert line.tags(worse)["decision.reason"] == "to see it at work"
    assert line.tags(worse)["decision.difference"] == "-"

    back = line.command("rollback", "--why", "worse everywhere")
    assert (back.decision, back.model_version, back.champion_before) == ("rolled_back", first, worse)
    assert line.champion() == first
    assert line.run("train_text", shadow="true").status == "skipped"  # with the settings it ran with
    assert line.run("predict").status == "done"
    with pytest.raises(UsageError, match=f"is its first: {first}"):
        line.command("rollback", "--why", "once more")
    capsys.readouterr()
    app(["models", "list", "--home", line.home], standalone_mode=False)
    said = " ".join(capsys.readouterr().out.split())
    assert f"champion text {first}" in said
    assert "rolled_back by ann" in said
    assert "text: the test side was looked at 2 times" in said


def test_the_run_report_shows_the_decisions_the_newest_first(line):
    lake = open_lake(line.settings)
    at = reports.At(line.spark, lake, lake.resolve("main").id)
    shown = reports._decisions(at)
    assert [row["decision"] for row in shown] == ["rolled_back", "promoted", "compared", "kept", "promoted"]
    page = report.render(report.Report("r", "today", decisions=shown, shadow=line.predicted.notes["shadow"]))
    assert "Looks at the test side so far: 2." in page
    assert "worse everywhere" in page
    assert "home &gt; towels" in page


@pytest.mark.nightly
def test_what_the_gate_says_where_there_is_nothing_to_measure(line, trial, monkeypatch):
    """After the roll back: the first version is the champion."""
    first, worse = (champion.of_version(trial, "text", row.model_version) for row in (line.first, line.worse))
    copy = challenger.judge(trial, replace(first, version="copy"))
    assert (copy["decision"], copy["copy"], copy.get("compared_with")) == ("kept", True, None)
    assert "byte for byte" in copy["reason"]
    again = challenger.judge(trial, replace(worse, version="again"))
    assert (again["decision"], again["copy"]) == ("kept", True)
    assert f"those of {worse.version}, from which ann went back: worse everywhere" in again["reason"]
    other = challenger.judge(trial, replace(worse, version="other", taxonomy_version="v2"))
    assert (other["decision"], other["champion_before"]) == ("promoted", first.version)
    assert "the champion is of taxonomy v1, the labels are of v2" in other["reason"]
    with monkeypatch.context() as patch:
        patch.setattr(model_lines, "readable", lambda line, folder: False)
        old = challenger.judge(trial, replace(worse, version="old", checksum="0" * 64))
        assert (old["decision"], old["champion_before"]) == ("promoted", first.version)
        assert "whose models this one does not read" in old["reason"]
        request = challenger.parse("promote", "text", "ann", "x", version=worse.version)
        with pytest.raises(UsageError, match="cannot be promoted: another version of Shelfmark trained it"):
            challenger.promote(trial, request)
    fill(trial, tested=False)
    blind = challenger.judge(trial, replace(worse, version="blind", checksum=None))
    assert (blind["decision"], blind.get("compared_with")) == ("kept", None)
    assert "no golden record with a label is on the test side" in blind["reason"]
    with pytest.raises(UsageError, match="there is nothing to compare them on"):
        challenger.compare(
            trial,
            challenger.parse("compare", "text", "ann", "", version=first.version, other=worse.version, again=True),
        )


@pytest.mark.nightly
def test_a_better_challenger_passes_unless_a_person_is_to_promote_it(line, trial):
    """On a branch where the worse one is the champion, the first version challenges it."""
    first, worse = (champion.of_version(trial, "text", row.model_version) for row in (line.first, line.worse))
    trial.write("gold.models", champion.crowned(trial.read("gold.models"), "text", worse.version, trial.started))
    made = challenger.judge(trial, first)
    assert (made["decision"], made["champion"], made["compared_with"]) == ("promoted", first.version, worse.version)
    assert made["difference_low"] > 0 > made["worst_region_drop"]
    trial.settings = config.load(overrides=[*GATE, "gate.promote=false"], home=line.home)
    waits = challenger.judge(trial, first)
    assert (waits["decision"], waits["champion"]) == ("kept", worse.version)
    assert waits["reason"].startswith("it passes, and waits for a person")


@pytest.mark.nightly
def test_the_line_that_is_shown_to_be_better_predicts_the_catalogue(line, trial):
    """A second line of the same kind of files stands for another: the better version is on either side."""
    models = trial.read("gold.models")
    assert champion.published_line(models) == "text"
    first, worse = line.first.model_version, line.worse.model_version

    def lines(own, others):
        mine = champion.crowned(models, "text", own, trial.started)
        theirs = mine.where(F.col("model_version") == others).withColumns(
            {"model": F.lit("other"), "champion": F.lit(True), "published": F.lit(False)}
        )
        trial.write("gold.models", mine.unionByName(theirs))
        return challenger.contend(trial, "other")

    kept = lines(first, worse)
    assert (kept["decision"], kept["champion"], kept["champion_before"]) == ("not_published", first, first)
    assert kept["difference_low"] < 0 == kept["margin"]
    assert "shelfmark models publish other" in challenger.said(kept)
    equal = lines(first, first)
    assert equal["decision"] == "not_published"  # as good is not better: lines do not take turns
    better = lines(worse, first)
    assert (better["decision"], better["champion"], better["champion_before"]) == ("published", first, worse)
    assert challenger.contend(trial, "text") is None

    told = challenger.publish(trial, challenger.parse("publish", "other", "ann", "shoes have pictures"))
    challenger.record(trial, told)
    row = trial.read("gold.model_decisions").where(f"run_id = '{trial.run_id}'").head()
    assert (row.decision, row.decided_by, row.champion) == ("published", "ann", first)
    assert champion.published_line(trial.read("gold.models")) == "other"
    assert [one.model for one in champion.of_lines(trial)] == ["other", "text"]
    for version, published in zip(champion.of_lines(trial), (True, False)):
        rows = lines_of(trial, version)
        champion.keep(trial, version, rows, published)
        assert champion.newest_predictions(trial, version.model).count() == rows.count() > 0
    today = trial.read("gold.predictions").where(f"run_date = '{trial.run_date}'")
    assert [row.model for row in today.select("model").distinct().collect()] == ["other"]
    with pytest.raises(UsageError, match="'other' predicts the catalogue already"):
        challenger.publish(trial, challenger.parse("publish", "other", "ann", "again"))


def lines_of(run, version):
    return model_lines.predict(run, version, run.read("silver.catalogue").limit(20), 1)


def test_a_branch_and_what_nobody_labelled_can_be_learnt_from(spark, tmp_path):
    line = Line(spark, tmp_path)
    line.fill(unlabelled=0.5)
    outcome = line.run("train_text", settings=["text.pseudo_weight=0.3", "text.augment=1", "text.augment_below=2000"])
    assert outcome.notes["pseudo_labels"] == 0  # nothing is predicted yet
    assert line.run("predict").status == "done"
    labelled = line.rows("gold.models")[0].training_rows / 2
    outcome = line.run("train_text", settings=["text.pseudo_weight=0.3"], promote="false")
    pseudo = outcome.notes["pseudo_labels"]
    assert 100 < pseudo <= labelled
    assert outcome.notes["training_rows"] == labelled + pseudo
    with pytest.raises(UsageError, match="the taxonomy has no category 'hats'"):
        line.run("train_text", settings=["branch=hats"])
    outcome = line.run("train_text", settings=["branch=wear"], promote="false")
    assert outcome.notes["tune"]["branch"] == "wear"
    assert outcome.notes["categories"] == len(WORDS)


def test_wrong_use_says_what_to_do_and_changes_nothing(line, trial):
    before = (line.champion(), len(line.decisions()))
    first, worse = line.first.model_version, line.worse.model_version
    for arguments, says in (
        (["promote", worse], "say why"),
        (["promote", worse, "--why", "x", "--by", "gate"], "the gate's own name"),
        (["shadow", "--why", "x"], "name a version, or --off"),
        (["shadow", worse, "--off", "--why", "x"], "name a version, or --off"),
        (["promote", "2030", "--why", "x"], "no version '2030' of 'text'; `shelfmark models list`"),
    ):
        with pytest.raises(UsageError, match=re.escape(says)):
            line.command(*arguments)
    for action, named, says in (
        (challenger.promote, {"version": "2026"}, f"'2026' may be {first}, {worse} of 'text'"),
        (challenger.promote, {"version": first}, f"{first} is the champion of 'text' already"),
        (challenger.promote, {"version": first, "model": "image"}, "of 'image'"),
        (challenger.roll_back, {"model": "image"}, "nothing to roll back to: 'image' has no champion"),
        (challenger.compare, {"version": first, "other": first}, "are one version"),
        (challenger.shadow, {}, "no version of 'text' is in shadow"),
        (challenger.shadow, {"version": first}, "in shadow it would say the same again"),
    ):
        request = challenger.parse("any", **{"model": "text", "who": "ann", "why": "x"} | named)
        with pytest.raises(UsageError, match=re.escape(says)):
            action(trial, request)
    assert (line.champion(), len(line.decisions())) == before


def test_a_version_of_another_taxonomy_is_not_made_the_champion(line, trial):
    fill(trial, taxonomy="v2")
    for action in (challenger.promote, challenger.shadow):
        with pytest.raises(UsageError, match="it predicts categories of taxonomy v1, in force is v2"):
            action(trial, challenger.parse("promote", "text", "ann", "x", version=line.worse.model_version))
