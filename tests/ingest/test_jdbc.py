"""Databases as sources: a real PostgreSQL and SQLite files, from the mapping's words to balanced books."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import faults
import pytest

from shelfmark import config
from shelfmark.errors import ServiceError, UsageError
from shelfmark.ingest import intake, jdbc, mapping
from shelfmark.ingest.connections import Database
from shelfmark.lake import open_lake
from shelfmark.pipeline import _checked, _execute
from shelfmark.query import read

MAPPING = """
description: a shop's own database
licence: made up, Apache-2.0
database:
  {database}
key: id
region: US
language: en
updated_at: {{field: changed, optional: true}}
fields: {{title: name}}
price: {{field: price, currency: USD}}
"""
USER = {"user_env": "SHOP_DB_USER", "password_env": "SHOP_DB_PASSWORD"}
TABLE = (
    "DROP SCHEMA IF EXISTS s CASCADE",
    "CREATE SCHEMA s",
    "CREATE TABLE s.offers (id int, name text, price numeric, changed timestamptz)",
)


@pytest.fixture
def postgres(postgres_server, monkeypatch):
    """An empty table s.offers, and the environment that mappings name."""
    monkeypatch.setenv("SHOP_DB_USER", "shop")
    monkeypatch.setenv("SHOP_DB_PASSWORD", postgres_server.password)
    postgres_server.execute(*TABLE)
    return postgres_server


@pytest.fixture
def take(spark, postgres, tmp_path):
    """Extract from s.offers (or by other options) and read what was extracted; the snapshot is let go afterwards."""
    open_ones = []

    def taken(since=None, then=lambda: None, **options):
        given = {"url": postgres.url, **USER, **({} if "query" in options else {"table": "s.offers"}), **options}
        found = jdbc.extract(spark, Database(**given), "shop", tmp_path, tmp_path / "landing", since)
        open_ones.append(found)
        then()
        rows = jdbc.raw_products(spark, found, "shop", "h").collect()
        return found, [json.loads(row.payload) if row.problem is None else row for row in rows], rows

    yield taken
    for one in open_ones:
        one.close()


def offers(*rows):
    values = ", ".join(f"({i}, '{name}', {price}, '{when}')" for i, name, price, when in rows)
    return f"INSERT INTO s.offers VALUES {values}"


# What a mapping may say


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("url: 'jdbc:postgresql://h/d', table: t, user: shop, password: Hunter2x", "no user in a mapping"),
        ("url: 'jdbc:postgresql://h/d', table: t, password: Hunter2x", "no password in a mapping"),
        ("url: 'jdbc:postgresql://h/d', table: t, user_env: U, password_env: Hunter2x", "environment variable in cap"),
        ("url: 'jdbc:postgresql://me:Hunter2x@h/d', table: t, user_env: U", "no user or password in the address"),
        ("url: 'jdbc:postgresql://h/d?password=Hunter2x', table: t, user_env: U", "no user or password in the addr"),
        ("url: 'jdbc:postgresql://h/d?socketFactory=x.Y', table: t, user_env: U", "driver option socketFactory"),
        ("url: 'jdbc:postgresql://h/d?loggerFile=x', table: t, user_env: U", "driver option loggerFile"),
        ("url: 'jdbc:mysql://h/d', table: t", "write jdbc:postgresql"),
        ("url: 'jdbc:sqlite::resource:x', table: t", "jdbc:sqlite:<file>"),
        ("url: 'jdbc:sqlite:x.db?enable_load_extension=true', table: t", "jdbc:sqlite:<file>"),
        ("url: 'jdbc:sqlite:x.db', table: t, user_env: U", "has no user"),
        ("url: 'jdbc:postgresql://h/d', table: t", "user_env is needed"),
        ("url: 'jdbc:sqlite:x.db', table: t, query: select 1", "one of them"),
        ("url: 'jdbc:sqlite:x.db', table: 't; drop table t'", "is no name of a table"),
        ("url: 'jdbc:sqlite:x.db', table: 't\" union select 1 --'", "is no name of a table"),
        ("url: 'jdbc:sqlite:x.db', table: t, watermark: 'a) or (1=1'", "is no name of a column"),
        ("url: 'jdbc:sqlite:x.db', table: t, partition: {column: 'a;b', parts: 2}", "is no name of a column"),
        ("url: 'jdbc:sqlite:x.db', query: 'select 1; drop table t'", "a query is one SELECT"),
        ("url: 'jdbc:sqlite:x.db', query: 'delete from t'", "a query is one SELECT"),
        ("url: 'jdbc:sqlite:x.db', query: 'select 1) AS r; drop table t; --'", "can be checked|one SELECT"),
        ("url: 'jdbc:postgresql://h/d', user_env: U, query: 'select 1 into x'", "INTO does not belong"),
        ("url: 'jdbc:postgresql://h/d', user_env: U, query: 'with a as (delete from x returning *) select * from a'", "DEL"),
        ("url: 'jdbc:postgresql://h/d', user_env: U, query: 'select * from a for update'", "LOCK does not belong"),
        ("url: 'jdbc:sqlite:x.db', table: t, partitions: 3", "unknown option"),
    ],
)  # fmt: skip
def test_a_wrong_database_section_is_one_line_that_repeats_no_secret(tmp_path, options, says):
    path = tmp_path / "shop.yml"
    path.write_text(MAPPING.format(database="{" + options + "}"))
    with pytest.raises(UsageError, match=says) as caught:
        mapping.read(path)
    assert str(caught.value).startswith(f"{path}:")
    assert "Hunter2x" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_source_is_files_or_a_database_or_an_api(tmp_path):
    path = tmp_path / "shop.yml"
    text = MAPPING.format(database="{url: 'jdbc:sqlite:x.db', table: t}")
    for more in ("files: x.csv\nformat: {kind: csv}\n", "format: {kind: csv}\n", "api: {url: 'https://x.org/a'}\n"):
        path.write_text(text + more)
        with pytest.raises(UsageError, match=r"leave it out beside `database`|give one of files, database, api"):
            mapping.read(path)


def test_where_a_source_is_read_from_is_no_part_of_how_it_is_read(tmp_path):
    path, hashes = tmp_path / "shop.yml", set()
    for database in ("{url: 'jdbc:sqlite:x.db', table: t}", "{url: 'jdbc:sqlite:y.db', table: u, watermark: w}"):
        path.write_text(MAPPING.format(database=database))
        hashes.add(mapping.read(path).hash)
    assert len(hashes) == 1


def test_a_variable_that_is_not_set_is_said_before_spark_starts(tmp_path, monkeypatch):
    monkeypatch.delenv("SHOP_DB_PASSWORD", raising=False)
    monkeypatch.setenv("SHOP_DB_USER", "shop")
    database = "{url: 'jdbc:postgresql://h/d', table: t, user_env: SHOP_DB_USER, password_env: SHOP_DB_PASSWORD}"
    (tmp_path / "shop.yml").write_text(MAPPING.format(database=database))
    settings = config.load(home=str(tmp_path / "home"), sources=["shop"], source_dirs=[str(tmp_path)])
    with pytest.raises(UsageError, match="SHOP_DB_PASSWORD is not set"):
        _checked(settings, None, ingests=True)


# PostgreSQL


def test_values_are_the_texts_the_database_prints(take, postgres):
    postgres.execute(
        """CREATE TABLE s.kinds (id bigint, "Id" varchar, "Größe in cm" numeric, exact numeric(12,4), f float8, ok boolean,
        day date, at timestamp, zoned timestamptz, tags text[], doc jsonb, raw bytea, nothing text, empty text, ch char(5))""",
        """INSERT INTO s.kinds VALUES (9007199254740993, 'A', 1234567890123456789012345678901234567890.5, 9.9, 0.1, true,
        '2026-01-31', '2026-01-31 10:00', '2026-01-31 10:00+05:30', '{a,"b c"}', '{"a": [1]}', '\\xdeadbeef', NULL, '',
        'x')""",
    )
    _, (record,), (row,) = take(table="s.kinds")
    assert record == {
        "id": "9007199254740993",
        "Id": "A",
        "Größe in cm": "1234567890123456789012345678901234567890.5",
        "exact": "9.9000",
        "f": "0.1",
        "ok": "true",
        "day": "2026-01-31",
        "at": "2026-01-31T10:00:00",
        "zoned": "2026-01-31T04:30:00+00:00",
        "tags": '["a","b c"]',
        "doc": '{"a": [1]}',
        "raw": "deadbeef",
        "nothing": None,
        "empty": "",
        "ch": "x",
    }
    assert (row.source, row.file_hash, row.record_number, row.line) == ("shop", "h", 1, None)
    assert row.file == f"postgresql://127.0.0.1:{postgres.port}/postgres?table=s.kinds"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int", "NULL, -5, 0, 1, 1, 2, 100, 1000000"),
        ("numeric", "NULL, 'NaN', -1.5, 0, 0.001, 7, 1e30"),
        ("timestamptz", "NULL, 'infinity', '-infinity', '2020-01-01', '2026-01-01 12:00', '2026-01-02'"),
        ("date", "NULL, '2020-01-01', '2020-01-02', '2026-01-31', 'infinity'"),
        ("int", "NULL, NULL"),
        ("int", "3, 3, 3"),
    ],
)
def test_every_row_is_in_exactly_one_part_and_numbered_through(take, postgres, kind, values):
    postgres.execute(
        f"CREATE TABLE s.parts AS SELECT row_number() OVER () AS n, v FROM unnest(ARRAY[{values}]::{kind}[]) v"
    )
    found, records, rows = take(table="s.parts", partition={"column": "v", "parts": 4})
    expected = values.count(",") + 1
    assert found.counted == len(records) == expected
    assert {record["n"] for record in records} == {str(n + 1) for n in range(expected)}
    assert sorted(row.record_number for row in rows) == list(range(1, expected + 1))


def test_a_partitioned_read_spreads_over_connections(take, postgres):
    postgres.execute("INSERT INTO s.offers SELECT i, 'x', 1, now() FROM generate_series(1, 1000) i")
    found, _, _ = take(partition={"column": "id", "parts": 4})
    assert len(found.counts) == 4
    assert all(200 < n < 300 for n in found.counts)


def test_what_is_written_meanwhile_waits_for_the_next_extraction(take, postgres):
    postgres.execute(offers((1, "Shirt", 1, "2026-01-01"), (2, "Scarf", 2, "2026-01-02"), (3, "Hat", 3, "2026-01-03")))

    def meanwhile():
        postgres.execute(
            "UPDATE s.offers SET name = 'Shirt, blue', changed = '2026-01-04' WHERE id = 1",
            "DELETE FROM s.offers WHERE id = 2",
            offers((4, "Coat", 4, "2026-01-02 12:00"), (5, "Sock", 5, "2026-01-05")),
        )

    options = {"watermark": {"column": "changed", "overlap": 2 * 86_400}, "partition": {"column": "id", "parts": 3}}
    found, records, _ = take(then=meanwhile, **options)
    assert found.counted == 3
    assert sorted(record["name"] for record in records) == ["Hat", "Scarf", "Shirt"]
    # The late one, dated before the watermark, is in the overlap.
    _, records, _ = take(found.watermark, **options)
    assert sorted(record["name"] for record in records) == ["Coat", "Hat", "Shirt, blue", "Sock"]


def test_rows_at_the_watermark_and_rows_without_one_are_read_again(take, postgres):
    postgres.execute(offers((1, "a", 1, "2026-01-01"), (2, "b", 1, "2026-01-02")))
    exactly = {"column": "changed", "overlap": 0}
    found, _, _ = take(watermark=exactly)
    assert (found.fresh, found.watermark) == (2, "2026-01-02 00:00:00+00")
    postgres.execute(offers((3, "c", 1, "2026-01-02")), "INSERT INTO s.offers VALUES (4, 'd', 1, NULL)")
    found, records, _ = take(found.watermark, watermark=exactly)
    assert sorted(record["name"] for record in records) == ["b", "c", "d"]
    assert (found.fresh, found.watermark) == (0, "2026-01-02 00:00:00+00")


def test_a_row_dated_in_the_future_does_not_hide_the_changes_of_today(take, postgres):
    postgres.execute(offers((1, "a", 1, "2999-01-01")))
    found, records, _ = take(watermark="changed")
    assert [record["name"] for record in records] == ["a"]
    assert found.watermark < "2999"
    postgres.execute("INSERT INTO s.offers VALUES (2, 'b', 1, now())")
    _, records, _ = take(found.watermark, watermark="changed")
    assert {record["name"] for record in records} == {"a", "b"}


def test_a_number_is_a_watermark_too(take, postgres):
    postgres.execute(offers((8, "a", 1, "2026-01-01"), (9, "b", 1, "2026-01-01"), (10, "c", 1, "2026-01-01")))
    found, _, _ = take(watermark={"column": "id"})
    assert found.watermark == "10"
    _, records, _ = take("9", watermark={"column": "id"})
    assert [record["id"] for record in records] == ["9", "10"]
    _, records, _ = take("10", watermark={"column": "id", "overlap": 2})
    assert [record["id"] for record in records] == ["8", "9", "10"]


def test_a_query_joins_and_renames(take, postgres):
    postgres.execute(offers((1, "a", 1, "2026-01-01")))
    _, records, _ = take(query="SELECT o.id, upper(o.name) AS title FROM s.offers AS o WHERE price > 0 -- all of them")
    assert records == [{"id": "1", "title": "A"}]


def test_a_value_without_end_is_refused_and_not_kept(take, postgres):
    postgres.execute("INSERT INTO s.offers VALUES (1, repeat('x', 1000001), 1, now())")
    _, _, (row,) = take()
    assert row.problem == "field_too_long: field name has 1,000,001 characters, more than 1,000,000"
    assert len(row.payload) == jdbc.RAW_LIMIT


def test_to_extract_runs_no_spark_job(take, spark, postgres):
    postgres.execute(offers((1, "a", 1, "2026-01-01")))
    spark.sparkContext.setJobGroup("extract", "extract")
    seen = []
    take(
        watermark="changed",
        partition={"column": "id", "parts": 2},
        then=lambda: seen.extend(spark.sparkContext.statusTracker().getJobIdsForGroup("extract")),
    )
    assert seen == []
    assert spark.sparkContext.statusTracker().getJobIdsForGroup("extract")


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"table": "s.nothing"}, UsageError, 'relation "s.nothing" does not exist'),
        ({"watermark": "nothing"}, UsageError, "has no column nothing .watermark.; it has id, name"),
        ({"partition": {"column": "no", "parts": 2}}, UsageError, "has no column no .partition.column."),
        ({"partition": {"column": "name", "parts": 2}}, UsageError, "partition column name is text"),
        ({"watermark": "name"}, UsageError, "watermark name is text"),
        ({"query": "SELECT nothing FROM s.offers"}, UsageError, 'column "nothing" does not exist'),
        ({"query": "SELECT 1/0 AS a FROM s.offers"}, UsageError, "division by zero"),
        ({"query": "SELECT id, id FROM s.offers"}, UsageError, "column id is there twice"),
        ({"query": "SELECT setval('s.q', 3) AS a FROM s.offers"}, UsageError, "read-only transaction"),
        ({"url": "jdbc:postgresql://127.0.0.1:1/x"}, ServiceError, "refused"),
    ],
)
def test_what_cannot_be_asked_is_one_clear_line(take, postgres, options, kind, says):
    postgres.execute(offers((1, "a", 1, "2026-01-01")), "CREATE SEQUENCE s.q")
    with pytest.raises(kind, match=says) as caught:
        take(**options)
    assert "\n" not in str(caught.value)
    assert postgres.password not in str(caught.value)


def test_a_wrong_password_or_database_is_wrong_usage_that_names_the_variables(take, postgres, monkeypatch):
    with pytest.raises(UsageError, match="does not exist"):
        take(url=postgres.url + "2")
    monkeypatch.setenv("SHOP_DB_PASSWORD", "another-Secret-7")
    with pytest.raises(UsageError, match="refuses the user or password in SHOP_DB_USER and SHOP_DB_PASSWORD") as caught:
        take()
    assert "another-Secret-7" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_password_is_in_no_plan(spark, postgres, take, tmp_path, capsys):
    postgres.execute(offers((1, "a", 1, "2026-01-01")))
    database = Database(url=postgres.url, **USER, table="s.offers")
    found = jdbc.extract(spark, database, "shop", tmp_path, tmp_path, None)
    frame = jdbc.raw_products(spark, found, "shop", "h")
    frame.explain(True)
    plan = capsys.readouterr().out + frame._jdf.queryExecution().toString()
    found.close()
    assert "JDBCRelation" in plan
    assert postgres.password not in plan + repr(found)


# SQLite


@pytest.fixture
def sqlite(spark, tmp_path):
    """Statements on shop.db, and an extraction read from its table."""

    def taken(*statements, since=None, **options):
        connection = sqlite3.connect(tmp_path / "shop.db")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()
        given = {"url": "jdbc:sqlite:shop.db", "table": "offers", **options}
        found = jdbc.extract(spark, Database(**given), "shop", tmp_path, tmp_path / "landing", since)
        try:
            return found, [json.loads(row.payload) for row in jdbc.raw_products(spark, found, "shop", "h").collect()]
        finally:
            found.close()

    return taken


def test_sqlite_values_have_a_type_each(sqlite, tmp_path):
    found, records = sqlite(
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE offers (id, any)",
        "INSERT INTO offers VALUES (1, 9.50), (2, '9.50'), (3, x'00ff'), (4, NULL), (5, 12345678901234567), (6, 'ä')",
    )
    assert [record["any"] for record in records] == ["9.5", "9.50", "00ff", None, "12345678901234567", "ä"]
    assert found.address == f"sqlite:{tmp_path}/shop.db?table=offers"
    assert list((tmp_path / "landing").iterdir()) == []


def test_sqlite_is_read_from_the_watermark_in_parts(sqlite):
    many = (
        "INSERT INTO offers SELECT value, 'x', '2026-01-0' || (1 + value % 3) FROM json_each('[0,1,2,3,4,5,6,7,8,9]')"
    )
    options = {"watermark": {"column": "changed", "overlap": 0}, "partition": {"column": "id", "parts": 3}}
    found, records = sqlite("CREATE TABLE offers (id INTEGER, name TEXT, changed TEXT)", many, **options)
    assert (len(found.counts), len(records), found.watermark) == (3, 10, "2026-01-03")
    found, records = sqlite(
        "INSERT INTO offers VALUES (NULL, 'new', '2026-01-04')", "INSERT INTO offers VALUES (11, 'none', NULL)",
        since=found.watermark, **options,
    )  # fmt: skip
    assert {record["id"] for record in records} == {"2", "5", "8", None, "11"}
    assert (found.fresh, found.watermark) == (1, "2026-01-04")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "jdbc:sqlite:no.db"}, "no SQLite file"),
        ({"url": "jdbc:sqlite:text.db"}, "not a database"),
        ({"table": "nothing"}, "no such table"),
        ({"watermark": "mixed"}, "holds number, text"),
        ({"watermark": "name"}, "a watermark is a number, or a time"),
        ({"partition": {"column": "name", "parts": 2}}, "does not hold numbers alone"),
    ],
)
def test_an_sqlite_file_that_cannot_be_read_so_is_said(sqlite, tmp_path, options, says):
    (tmp_path / "text.db").write_text("id,name\n" * 1000)
    with pytest.raises(UsageError, match=says):
        sqlite("CREATE TABLE offers (name TEXT, mixed)", "INSERT INTO offers VALUES ('a', 1), ('b', 'c')", **options)


# From end to end


def test_an_extraction_is_known_by_its_content_and_by_those_before_it(tmp_path):
    (tmp_path / "shop.yml").write_text(MAPPING.format(database="{url: 'jdbc:sqlite:x.db', table: t}"))
    source, register = mapping.read(tmp_path / "shop.yml"), []

    def taken(content, address="a"):
        found = intake._extraction_hash(source, address, content, register)
        if found:
            register.append(SimpleNamespace(file=address, file_hash=found, sequence=len(register)))
        return found

    first = taken("price 10")
    assert taken("price 10") is None
    # A price that goes there and back is a change each time.
    assert len({first, taken("price 12"), taken("price 10"), taken("price 12"), taken("price 12", "b"), None}) == 6
    assert taken("price 12") is None


class Shop:
    """A mapping of a database and the lake it is taken into."""

    def __init__(self, spark, root, database, more=""):
        self.spark, self.root, self.day = spark, root, 0
        self.write(database, more)

    def write(self, database, more=""):
        text = json.dumps(database)
        (self.root / "shop.yml").write_text(MAPPING.format(database=text) + more)

    @property
    def settings(self):
        home, root = str(self.root / "home"), str(self.root)
        return config.load(home=home, data=root, sources=["shop"], source_dirs=[root])

    def ingest(self, day=None):
        self.day = day or self.day + 1
        return _execute("ingest", self.settings, self.spark, f"202601{self.day:02d}-t", False)

    def counts(self, day=None):
        notes = self.ingest(day).notes
        return {k: notes[k] for k in ("read", "new", "changed", "unchanged", "rejected", "superseded") if notes[k]}

    def rows(self, name):
        lake = open_lake(self.settings)
        return read(self.spark, lake, lake.head().id, name).collect()

    def products(self):
        return {row.source_key: (row.title, str(row.price)) for row in self.rows("silver.products")}


@pytest.mark.slow
def test_days_of_a_database_from_the_watermark_on_with_balanced_books(spark, postgres, tmp_path):
    postgres.execute(offers((1, "Blue shirt", 9.99, "2026-01-01"), (2, "Red scarf", 19.5, "2026-01-02")))
    database = {"url": postgres.url, **USER, "table": "s.offers", "partition": {"column": "id", "parts": 2}}
    shop = Shop(spark, tmp_path, {**database, "watermark": {"column": "changed", "overlap": 0}})
    assert shop.counts() == {"read": 2, "new": 2}
    # A new one, a changed one, a bad one, one at the watermark itself.
    postgres.execute(
        offers((3, "Hat", 5, "2026-01-03"), (4, "", 5, "2026-01-03"), (5, "Sock", 1, "2026-01-02")),
        "UPDATE s.offers SET price = 8.99, changed = '2026-01-03' WHERE id = 1",
        "DELETE FROM s.offers WHERE id = 2",
    )
    assert shop.counts() == {"read": 4, "new": 2, "changed": 1, "rejected": 1}
    assert shop.products() == {
        "1": ("Blue shirt", "8.99"), "2": ("Red scarf", "19.50"), "3": ("Hat", "5.00"), "5": ("Sock", "1.00")
    }  # fmt: skip
    # Quiet days: what is at the watermark is read once more, then known.
    assert shop.counts() == {"read": 3, "unchanged": 2, "rejected": 1}
    assert shop.counts() == {}
    files = sorted(shop.rows("bronze.files"), key=lambda row: row.sequence)
    assert [(f.records_counted, f.records_read, f.watermark) for f in files] == [
        (2, 2, "2026-01-02 00:00:00+00"), (4, 4, "2026-01-03 00:00:00+00"), (3, 3, "2026-01-03 00:00:00+00")
    ]  # fmt: skip
    assert len({f.file_hash for f in files}) == 3
    assert {f.file for f in files} == {
        f"postgresql://127.0.0.1:{postgres.port}/postgres?table=s.offers&watermark=changed"
    }
    # A corrected mapping reads all of it again from bronze, and the watermark stays.
    shop.write({**database, "watermark": {"column": "changed", "overlap": 0}}, "attributes: {code: id}\n")
    assert shop.counts()["read"] == 2 + 4 + 3
    assert shop.products()["1"] == ("Blue shirt", "8.99")
    assert {f.watermark for f in shop.rows("bronze.files")} == {f.watermark for f in files}


@pytest.mark.slow
@pytest.mark.nightly
def test_a_server_that_dies_while_it_is_read_ends_the_run_and_the_same_run_then_completes(spark, postgres, tmp_path):
    _slow_view(postgres)
    shop = Shop(spark, tmp_path, {"url": postgres.url, **USER, "table": "s.slow"})
    killer = threading.Thread(target=lambda: (_wait_for_reading(postgres), postgres.stop()))
    killer.start()
    try:
        with pytest.raises(ServiceError, match="reading broke off") as caught:
            shop.ingest(1)
    finally:
        killer.join()
        postgres.start()
    assert caught.value.exit_code == 4
    assert postgres.password not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert shop.counts(1) == {"read": 150, "new": 150}
    assert len(shop.rows("bronze.raw_products")) == 150


@pytest.mark.slow
@pytest.mark.nightly
def test_a_source_that_does_not_answer_stops_alone_and_the_run_ends_as_a_failed_service(spark, postgres, tmp_path):
    from rich.console import Console

    from shelfmark import pipeline

    postgres.execute(offers((1, "Blue shirt", 9.99, "2026-01-01")))
    shop = Shop(spark, tmp_path, {"url": postgres.url, **USER, "table": "s.offers"})
    down = {"url": "jdbc:postgresql://127.0.0.1:1/x", **USER, "table": "s.offers"}
    (tmp_path / "down.yml").write_text(MAPPING.format(database=json.dumps(down)))
    settings = shop.settings.model_copy(update={"sources": ["shop", "down"]})
    with pytest.raises(ServiceError, match="source down stopped"):
        pipeline.run_job("ingest", settings, Console(quiet=True), "20260101-t", force=False)
    assert shop.products() == {"1": ("Blue shirt", "9.99")}
    alone = settings.model_copy(update={"sources": ["down"]})
    with pytest.raises(ServiceError, match="is the server up"):
        pipeline.run_job("ingest", alone, Console(quiet=True), "20260102-t", force=False)


@pytest.mark.slow
def test_a_run_killed_while_it_reads_completes_under_its_run_id_and_leaks_no_password(postgres, tmp_path):
    _slow_view(postgres)
    database = json.dumps({"url": postgres.url, **USER, "table": "s.slow", "partition": {"column": "id", "parts": 2}})
    (tmp_path / "shop.yml").write_text(MAPPING.format(database=database))
    home = tmp_path / "home"
    command = [sys.executable, "-m", "shelfmark.cli", "run", "ingest", "--sources", "shop", "--run-id", "20260101-t"]
    command += ["--home", str(home), "--data", str(tmp_path), "--set", f"source_dirs=[{tmp_path}]"]
    command += ["--set", faults.SHORT_LIVED]
    output = tmp_path / "output.txt"
    with open(output, "wb") as screen:
        process = subprocess.Popen(command, stdout=screen, stderr=screen, start_new_session=True)
        try:
            _wait_for_reading(postgres)
            seen = _command_lines(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert len(seen) > 1, output.read_text()
        again = subprocess.run(command, stdout=screen, stderr=screen, check=False)
    assert again.returncode == 0, output.read_text()
    assert "new=150" in (home / "logs" / "20260101-t.log").read_text()
    secret = postgres.password.encode()
    assert secret not in b"".join(seen) + output.read_bytes()
    leaks = [path for path in home.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert leaks == []


def _slow_view(postgres):
    postgres.execute(
        "INSERT INTO s.offers SELECT i, 'Hat of size ' || i, 5, now() FROM generate_series(1, 150) i",
        "CREATE VIEW s.slow AS SELECT *, pg_sleep(0.02)::text AS nap FROM s.offers",
    )


def _wait_for_reading(postgres):
    """Until a connection reads records: the queries that count and check are over then."""
    reading = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shelfmark' AND state = 'active' "
    reading += "AND query LIKE 'SELECT \"c0\"%'"
    until = time.monotonic() + 120
    while postgres.execute(reading) == [(0,)]:
        assert time.monotonic() < until, postgres.execute("SELECT state, query FROM pg_stat_activity")
        time.sleep(0.05)


def _command_lines(group):
    """Command lines and environments aside: of every process of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                found.append((folder / "cmdline").read_bytes())
        except OSError:
            continue
    return found
