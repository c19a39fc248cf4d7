"""Settings fail before Spark starts, in one line that names the key."""

import pytest

from shelfmark import config
from shelfmark.errors import UsageError


def test_defaults_then_file_then_set_then_values():
    settings = config.load(overrides=["text.cost=2", "spark.options={a.b: c}"], home="elsewhere")
    assert settings.text.cost == 2.0
    assert settings.spark.options == {"a.b": "c"}
    assert settings.home == "elsewhere"
    assert settings.spark.master == "local[2]"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("text.costs=2", "text.costs: unknown key"),
        ("text.cost=high", "text.cost: Input should be a valid number"),
        ("text.cost=-1", "text.cost: Input should be greater than 0"),
        ("home.deeper=1", "home is a value, not a section"),
        ("text.cost", "write it as a.b=c"),
        ("lake=postgres", "lake: Input should be"),
        ("notify.webhook=chat.example/hook", "notify.webhook: String should match pattern"),
        ("text.fields=[title", "is not valid YAML"),
        ("dedupe.bands=200", "make no 200 bands"),
        ("dedupe.golden.order=[source, age]", "dedupe.golden.order.1: Input should be 'source', 'gtin'"),
        ("dedupe.golden.order=[]", "dedupe.golden.order: List should have at least 1 item"),
        ("dedupe.golden.order=[gtin, source, gtin]", "order names gtin twice"),
        ("dedupe.golden.fields={prise: [recency]}", "no field 'prise': fields are title, description, brand"),
        ("dedupe.golden.fields={price: [newest]}", "dedupe.golden.fields.price.0: Input should be"),
        ("dedupe.golden.fields={price: []}", "fields.price is empty: leave it out"),
        ("dedupe.golden.fields={currency: [recency]}", "currency is taken together with price: set price"),
        ("dedupe.golden.field_sources={category_paths: [demo_bazaar]}", "they have no order"),
        (
            "dedupe.golden.sources=[demo_bazar]",
            "dedupe.golden.sources: unknown source 'demo_bazar'; known: .*demo_bazaar",
        ),
        ("dedupe.golden.field_sources={title: [nobody]}", "field_sources.title: unknown source 'nobody'"),
        ("dedupe.golden={order: [gtin], sources: [demo_bazaar]}", "sources has no effect: no order names source"),
        (
            "dedupe.golden={fields: {title: [gtin]}, field_sources: {title: [demo_bazaar]}}",
            "field_sources.title has no effect",
        ),
    ],
)
def test_a_wrong_setting_is_named(override, says):
    with pytest.raises(UsageError, match=says):
        config.load(overrides=[override])


def test_a_field_has_the_common_order_but_for_what_is_set():
    text = "{order: [source, gtin], sources: [demo_bazaar], fields: {price: [recency]}, field_sources: {title: [demo_galerie]}}"
    golden = config.load(overrides=[f"dedupe.golden={text}"]).dedupe.golden
    assert golden.order_of("brand") == (["source", "gtin"], ["demo_bazaar"])
    assert golden.order_of("price") == (["recency"], ["demo_bazaar"])
    assert golden.order_of("title") == (["source", "gtin"], ["demo_galerie"])


def test_a_source_of_ones_own_folder_is_known(tmp_path):
    (tmp_path / "mine.yml").write_text("")
    overrides = [f"source_dirs=[{tmp_path}]", "dedupe.golden.sources=[mine]"]
    assert config.load(overrides=overrides).dedupe.golden.sources == ["mine"]


def test_an_unknown_environment_lists_the_known_ones():
    with pytest.raises(UsageError, match="--env is one of base, demo"):
        config.load("nowhere")


def test_the_environment_may_come_from_the_shell(monkeypatch):
    monkeypatch.setenv("SHELFMARK_ENV", "demo")
    assert config.load().data == ".shelfmark/demo"


def test_an_empty_value_is_an_empty_text():
    assert config.load(overrides=["spark.master="]).spark.master == ""


def test_equal_settings_have_equal_hashes():
    assert config.load().hash == config.load().hash
    assert config.load().hash != config.load(overrides=["text.cost=2"]).hash


def test_every_setting_has_a_meaning():
    for name, _, meaning in config.describe(config.load()):
        assert meaning or name.split(".")[0] in ("env", "splits"), name


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("spark.options={spark.hadoop.fs.s3a.secret.key: planted}", "spark.options.spark.hadoop.fs.s3a.secret.key"),
        ("spark.options={fs.s3a.access.key: planted}", "fs.s3a.access.key"),
        ("mlflow_uri=https://me:planted@mlflow.example", "mlflow_uri"),
        ("notify.webhook=https://me:planted@chat.example/x", "notify.webhook"),
        ("lakefs.secret_access_key=planted", "lakefs.secret_access_key"),
    ],
)
def test_a_secret_in_the_settings_is_refused_without_being_repeated(override, name):
    with pytest.raises(UsageError, match="secrets come from the environment only") as caught:
        config.load(overrides=[override])
    assert name in str(caught.value)
    assert "planted" not in str(caught.value)
