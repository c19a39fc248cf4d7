"""Rows of a database as records: PostgreSQL and SQLite, by Spark's JDBC reader.

1. `extract` opens one snapshot: of PostgreSQL a read-only transaction whose snapshot every reading connection takes
   over (`pg_export_snapshot`), of SQLite a copy of the file made in one step. Whatever is written meanwhile is not
   seen by any of them, and is taken by the next extraction.
2. In the snapshot the database itself tells the columns, the watermark reached, the bounds of the parts, and counts
   the records of each part and of the whole: the second witness of the books, which no reader has touched.
3. `raw_products` is the frame of the records, a task a part; nothing is read before that frame is written.

A row is a record of texts as the database prints them: times in ISO 8601 (UTC where they have a zone), arrays as
JSON, bytes as hexadecimal digits, NULL as null.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfmark.errors import DataRefused, ServiceError, ShelfmarkError, UsageError
from shelfmark.ingest.connections import quote, secret, without

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from shelfmark.ingest.connections import Database

CONNECT_SECONDS = 15
"""A server that does not answer the connection in this time is down."""

OVERLAP_SECONDS = 600
"""Read again before the last time of change: a transaction writes the time it began and is seen when it commits."""

MAX_FIELD = 1_000_000
"""Characters of a value beyond which its record is refused, as of a file's field."""

RAW_LIMIT = 10_000
"""Characters kept of such a record."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_TIME = re.compile(r"\d{4,6}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|[-+]\d\d(:?\d\d){0,2}))?)?")
_POSTGRES_NUMBERS = ("int2", "int4", "int8", "smallserial", "serial", "bigserial", "numeric", "oid")
_POSTGRES_TIMES = {"date": "date", "timestamp": "timestamp", "timestamptz": "timestamptz"}


@dataclass(frozen=True)
class Extraction:
    """What one run takes of a database, counted but not read yet; `close` lets the snapshot go.

    `predicates` and `counts`: a part each. `content`: checksum of the records, whatever their order. `fresh`: records
    beyond the watermark reached before. `watermark`: the one reached now.
    """

    address: str
    names: tuple[str, ...]
    select: str
    predicates: tuple[str, ...]
    counts: tuple[int, ...]
    content: str
    bytes: int
    fresh: int
    watermark: str | None
    session: Postgres | Sqlite = field(repr=False)

    @property
    def counted(self) -> int:
        return sum(self.counts)

    def close(self) -> None:
        self.session.close()


def address(database: Database, data_dir: str | Path) -> str:
    """`Database.address`, the file of an SQLite database below the data folder."""
    if database.is_postgres:
        return database.address
    return database.address.replace(f"sqlite:{database.path}", f"sqlite:{Path(data_dir, database.path)}", 1)


def extract(
    spark: SparkSession,
    database: Database,
    source: str,
    data_dir: str | Path,
    landing: Path,
    since: str | None,
) -> Extraction:
    """The records of a table or query whose watermark is `since` or later (NULL ones too), in one snapshot.

    `landing`: folder for the copy of an SQLite file. No Spark job is run. Raises `UsageError` (no such database,
    table or column, wrong password), `ServiceError` (no answer, connection lost).
    """
    if database.is_postgres:
        session = Postgres(spark, database, source)
    else:
        session = Sqlite(database, source, Path(data_dir, database.path), landing)
    try:
        return _extract(session, database, source, address(database, data_dir), since)
    except BaseException:
        session.close()
        raise


def _extract(
    session: Postgres | Sqlite, database: Database, source: str, address: str, since: str | None
) -> Extraction:
    relation = f"(\n{database.relation}\n) AS r"
    kinds = session.columns(f"SELECT * FROM {relation} LIMIT 0")
    for role, one in (("watermark", database.watermark), ("partition.column", database.partition)):
        if one is not None and one.column not in kinds:
            raise UsageError(
                f"source {source}: {address} has no column {one.column} ({role}); it has {', '.join(list(kinds)[:12])}"
            )
    where, fresh, reached = "TRUE", "TRUE", None
    if database.watermark is not None:
        column = f"r.{quote(database.watermark.column)}"
        kind, reached = session.watermark(database.watermark.column, kinds, relation)
        if reached is None:
            reached = since
        if since is not None:
            lower, last = session.bounds(kind, since, database.watermark.overlap)
            where, fresh = f"({column} >= {lower} OR {column} IS NULL)", f"w > {last}"
    part = f"r.{quote(database.partition.column)}" if database.partition else "NULL"
    mark = f"r.{quote(database.watermark.column)}" if database.watermark else "NULL"
    texts = [f"{session.text(f'r.{quote(name)}', kind)} AS c{n}" for n, (name, kind) in enumerate(kinds.items())]
    select = f"SELECT {', '.join(texts)}, {part} AS p, {mark} AS w FROM {relation} WHERE {where}"
    predicates = ["1 = 1"]
    if database.partition is not None:
        kind = kinds[database.partition.column]
        cuts = session.cuts(database.partition, kind, f"{relation} WHERE {where}")
        predicates = _ranges(cuts)
    parts = ", ".join(f"count(*) FILTER (WHERE {one})" for one in predicates)
    counting = f"SELECT count(*), count(*) FILTER (WHERE {fresh}), {parts} FROM (\n{select}\n) AS t"
    whole, new, *counts = (int(n) for n in session.rows(counting)[0])
    if sum(counts) != whole:
        raise DataRefused(
            f"source {source}: {address} holds {whole} records, but {sum(counts)} fall in the ranges of "
            f"{database.partition.column}; read it without `partition`"
        )
    content, size = session.checksum(f"SELECT {', '.join(f'c{n}' for n in range(len(kinds)))} FROM (\n{select}\n) AS t")
    return Extraction(
        address, tuple(kinds), select, tuple(predicates), tuple(counts), content, size, new, reached, session
    )


def _ranges(cuts: list[str]) -> list[str]:
    """Conditions on `p` of which every row, NULL ones too, meets exactly one; `cuts` are rising literals."""
    if not cuts:
        return ["1 = 1"]
    middle = [f"p >= {low} AND p < {high}" for low, high in pairwise(cuts)]
    return [f"p < {cuts[0]} OR p IS NULL", *middle, f"p >= {cuts[-1]}"]


def raw_products(spark: SparkSession, extraction: Extraction, source: str, file_hash: str) -> DataFrame:
    """The records of an extraction: columns of `bronze.RAW_DDL`; record numbers run through the parts from 1.

    Failures come while the frame is written, see `problem_of`.
    """
    from pyspark.sql import functions as F

    names = [f"c{n}" for n in range(len(extraction.names))]
    options = extraction.session.reading()
    options["customSchema"] = ", ".join(f"{name} string" for name in (*names, "p", "w"))
    # To Spark a property is a property: none of these is part of the relation's text in a plan.
    rows = spark.read.jdbc(
        extraction.session.url, f"(\n{extraction.select}\n) AS t", predicates=list(extraction.predicates),
        properties=options,
    )  # fmt: skip
    before = [sum(extraction.counts[:n]) for n in range(len(extraction.counts))]
    # The id is the part's number in its upper 31 bits and the row's position in the part in the lower 33.
    place = F.monotonically_increasing_id()
    first = F.element_at(F.array(*(F.lit(n) for n in before)), F.shiftright(place, 33).cast("int") + 1)
    number = (first + place.bitwiseAND(F.lit((1 << 33) - 1)) + 1).cast("long")
    record = F.to_json(
        F.struct(*(F.col(c).alias(name) for c, name in zip(names, extraction.names))), {"ignoreNullFields": "false"}
    )
    long = F.coalesce(
        *(
            F.when(
                F.length(c) > MAX_FIELD,
                F.format_string(
                    f"field_too_long: field {name.replace('%', '%%')} has %,d characters, more than {MAX_FIELD:,}",
                    F.length(c),
                ),
            )
            for c, name in zip(names, extraction.names)
        )
    )
    return rows.select(
        F.lit(source).alias("source"),
        F.lit(extraction.address).alias("file"),
        F.lit(file_hash).alias("file_hash"),
        number.alias("record_number"),
        F.lit(None).cast("long").alias("line"),
        F.when(long.isNull(), record).otherwise(F.substring(record, 1, RAW_LIMIT)).alias("payload"),
        long.alias("problem"),
    )


def problem_of(error: BaseException, extractions: Iterable[Extraction]) -> ServiceError | None:
    """What a database said that made a Spark task fail; None for other failures."""
    found = re.search(r"(?:PSQLException|SQLiteException|SQLException)\w*: (.+)", str(error))
    extractions = list(extractions)
    if not found or not extractions:
        return None
    secrets = [value for one in extractions for value in one.session.secrets]
    where = ", ".join(one.address for one in extractions)
    said = without(found.group(1), secrets)
    return ServiceError(f"{where}: reading broke off ({said}); nothing of it was published, run again")


def _evenly(low: Decimal, high: Decimal, parts: int, whole: bool) -> list[str]:
    """Literals that cut low to high into `parts` of equal width; fewer where they fall together."""
    cuts = [low + (high - low) * n / parts for n in range(1, parts)]
    texts = [str(int(cut)) if whole else format(cut, "f") for cut in cuts]
    return list(dict.fromkeys(texts))


class Postgres:
    """A read-only transaction of a PostgreSQL server, whose snapshot other connections take over."""

    def __init__(self, spark: SparkSession, database: Database, source: str):
        self.source, self.place, self.url = source, database.address.partition("?")[0], database.url
        self.fetch_rows, self.user = database.fetch_rows, secret(database.user_env, source)
        self.password = secret(database.password_env, source) if database.password_env else ""
        self.secrets = [self.password]
        self.user_env, self.password_env = database.user_env, database.password_env
        jvm = spark._jvm
        properties = jvm.java.util.Properties()
        for name, value in self._properties().items():
            properties.setProperty(name, value)
        registry = jvm.org.apache.spark.sql.execution.datasources.jdbc.DriverRegistry
        registry.register("org.postgresql.Driver")
        self.connection = None
        self.connection = self._asked(lambda: registry.get("org.postgresql.Driver").connect(self.url, properties))
        try:
            self._asked(lambda: self.connection.setAutoCommit(False))
            # Parts may be begun late: a server that ends idle transactions must not end this one.
            for statement in (*_READ_ONLY, "SET LOCAL idle_in_transaction_session_timeout = 0"):
                self._asked(lambda text=statement: self.connection.createStatement().execute(text))
            self.snapshot = self.rows("SELECT pg_export_snapshot()")[0][0]
        except BaseException:
            self.close()
            raise
        if not re.fullmatch(r"[0-9A-F-]+", self.snapshot):
            raise ServiceError(f"{self.place}: {self.snapshot!r} is no name of a snapshot")

    def _properties(self) -> dict[str, str]:
        given = {"user": self.user, "password": self.password, "ApplicationName": "shelfmark", "tcpKeepAlive": "true"}
        return {"connectTimeout": str(CONNECT_SECONDS), "loginTimeout": str(CONNECT_SECONDS), **given}

    def reading(self) -> dict[str, str]:
        """Properties of a connection that reads a part."""
        begin = "; ".join((*_READ_ONLY, f"SET TRANSACTION SNAPSHOT '{self.snapshot}'"))
        options = {"driver": "org.postgresql.Driver", "fetchsize": str(self.fetch_rows), "sessionInitStatement": begin}
        return {**self._properties(), **options}

    def rows(self, query: str) -> list[tuple[str | None, ...]]:
        """The few rows of a query, as texts."""

        def ask() -> list[tuple[str | None, ...]]:
            statement = self.connection.createStatement()
            try:
                found = statement.executeQuery(query)
                width, rows = found.getMetaData().getColumnCount(), []
                while found.next():
                    rows.append(tuple(found.getString(n + 1) for n in range(width)))
                return rows
            finally:
                statement.close()

        return self._asked(ask)

    def columns(self, query: str) -> dict[str, str]:
        """Name -> type, as the driver names it, of a query's columns."""

        def ask() -> list[tuple[str, str]]:
            statement = self.connection.createStatement()
            try:
                about = statement.executeQuery(query).getMetaData()
                return [
                    (about.getColumnName(n), about.getColumnTypeName(n)) for n in range(1, about.getColumnCount() + 1)
                ]
            finally:
                statement.close()

        return _distinct(self._asked(ask), self.source, self.place)

    def text(self, column: str, kind: str) -> str:
        """SQL of a column as text."""
        if kind == "bytea":
            return f"encode({column}, 'hex')"
        if kind in _POSTGRES_TIMES:
            return f"to_json({column}) #>> '{{}}'"
        return f"to_json({column})::text" if kind.startswith("_") else f"{column}::text"

    def watermark(self, name: str, kinds: dict[str, str], relation: str) -> tuple[str, str | None]:
        """(Type, highest value) of the watermark column; a time not beyond the server's own clock."""
        column, kind = f"r.{quote(name)}", kinds[name]
        if kind in _POSTGRES_TIMES:
            # What is dated in the future is read, but does not keep the changes of today from being read.
            highest, usable = f"least(m, now()::{kind})", f"isfinite({column})"
        elif kind in _POSTGRES_NUMBERS:
            highest, usable = "m", f"{column} <> 'NaN'" if kind == "numeric" else "TRUE"
        else:
            raise UsageError(
                f"source {self.source}: watermark {name} is {kind}: a watermark is a whole number, a numeric, a date "
                "or a timestamp"
            )
        # The inner query is one that an index on the column answers; an empty table has no watermark.
        inner = f"SELECT max({column}) AS m FROM {relation} WHERE {usable}"
        found = self.rows(f"SELECT {highest}::text FROM ({inner}) AS x WHERE m IS NOT NULL")
        return kind, found[0][0] if found else None

    def bounds(self, kind: str, since: str, overlap: int | None) -> tuple[str, str]:
        """Literals of the lower bound and of the last value taken in."""
        last = _literal(since, kind in _POSTGRES_NUMBERS, self.source)
        if kind in _POSTGRES_NUMBERS:
            return f"({last} - {overlap or 0})", last
        last = f"CAST({last} AS {_POSTGRES_TIMES[kind]})"
        return f"({last} - interval '{OVERLAP_SECONDS if overlap is None else overlap} seconds')", last

    def cuts(self, partition: Any, kind: str, rows: str) -> list[str]:
        """Literals between the parts of a column, see `_evenly`."""
        column = f"r.{quote(partition.column)}"
        if kind in _POSTGRES_NUMBERS:
            finite = f"FILTER (WHERE {column}::text ~ '^-?[0-9.]+$')" if kind == "numeric" else ""
            low, high = self.rows(f"SELECT min({column}) {finite}::text, max({column}) {finite}::text FROM {rows}")[0]
            if low is None:
                return []
            return _evenly(Decimal(low), Decimal(high), partition.parts, kind != "numeric")
        if kind in _POSTGRES_TIMES:
            kind = "timestamptz" if kind == "timestamptz" else "timestamp"
            ends = f"min({column}::{kind}) FILTER (WHERE isfinite({column})) AS low, "
            ends += f"max({column}::{kind}) FILTER (WHERE isfinite({column})) AS high"
            cuts = ", ".join(
                f"(low + (high - low) * {n / partition.parts:.9f})::text" for n in range(1, partition.parts)
            )
            found = self.rows(f"SELECT {cuts} FROM (SELECT {ends} FROM {rows}) AS e")[0]
            texts = dict.fromkeys(one for one in found if one is not None)
            return [f"CAST({_literal(one, False, self.source)} AS {kind})" for one in texts]
        raise UsageError(
            f"source {self.source}: partition column {partition.column} is {kind}: it must be a whole number, a numeric, "
            "a date or a timestamp"
        )

    def checksum(self, query: str) -> tuple[str, int]:
        """(Sum of a 64-bit hash of each record, bytes of their texts), computed by the server."""
        total, size = self.rows(
            "SELECT coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text, "
            f"coalesce(sum(octet_length(t::text)), 0)::text FROM (\n{query}\n) AS t"
        )[0]
        return total, int(size)

    def close(self) -> None:
        if self.connection is not None:
            try:
                self.connection.close()
            except Exception:  # a connection that is lost already
                return

    def _asked(self, ask: Any) -> Any:
        """The answer of the driver, its failures as ours."""
        from py4j.protocol import Py4JJavaError

        try:
            return ask()
        except Py4JJavaError as error:
            java = error.java_exception
            try:
                state = java.getSQLState() or ""
            except Exception:  # no SQLException
                state = ""
            problem = self._problem(state, without(str(java.getMessage()), self.secrets))
        raise problem from None

    def _problem(self, state: str, said: str) -> ShelfmarkError:
        where = f"source {self.source}: {self.place}"
        if state.startswith("28"):
            names = " and ".join(filter(None, (self.user_env, self.password_env)))
            return UsageError(f"{where}: the server refuses the user or password in {names} ({said})")
        # Class 3D and 42: no such database, table or column, no privilege, wrong SQL; 22: a query's own failure.
        if state[:2] in ("3D", "3F", "42", "22", "25", "0A"):
            return UsageError(f"{where}: {said}; correct `database` in the mapping, or the privileges")
        return ServiceError(f"{where}: {said}; is the server up and reachable? run again")


_READ_ONLY = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", "SET LOCAL TIME ZONE 'UTC'")


class Sqlite:
    """A copy of an SQLite file, made in one step."""

    secrets: tuple[str, ...] = ()

    def __init__(self, database: Database, source: str, path: Path, landing: Path):
        self.source, self.place = source, f"sqlite:{path}"
        if not path.is_file():
            raise UsageError(f"source {source}: no SQLite file at {path}; `url` is relative to the data folder")
        self.copy = (landing / "snapshot.sqlite").resolve()
        self.url = f"jdbc:sqlite:{self.copy}"
        self.connection = None
        landing.mkdir(parents=True, exist_ok=True)
        self.copy.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)) as origin:
                self.connection = sqlite3.connect(self.copy)
                origin.backup(self.connection)
            # Text that is no UTF-8 is the record's trouble, not the file's.
            self.connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            self.connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            self.close()
            raise self._problem(error) from None

    def reading(self) -> dict[str, str]:
        """Properties of a connection that reads a part."""
        return {"driver": "org.sqlite.JDBC", "open_mode": "1"}  # SQLITE_OPEN_READONLY

    def rows(self, query: str) -> list[tuple]:
        """The few rows of a query."""
        try:
            return self.connection.execute(query).fetchall()
        except sqlite3.Error as error:
            raise self._problem(error) from None

    def columns(self, query: str) -> dict[str, str]:
        """Name -> nothing: in SQLite each value has a type of its own."""
        try:
            about = self.connection.execute(query).description
        except sqlite3.Error as error:
            raise self._problem(error) from None
        return _distinct([(column[0], "") for column in about], self.source, self.place)

    def text(self, column: str, kind: str) -> str:
        """SQL of a column as text."""
        return f"CASE typeof({column}) WHEN 'blob' THEN lower(hex({column})) ELSE CAST({column} AS TEXT) END"

    def watermark(self, name: str, kinds: dict[str, str], relation: str) -> tuple[str, str | None]:
        """(Type, highest value) of the watermark column; a time not beyond this machine's clock."""
        column = f"r.{quote(name)}"
        types = f"SELECT DISTINCT typeof({column}) FROM {relation} WHERE {column} IS NOT NULL"
        kinds_of_values = {"number" if kind in ("integer", "real") else kind for (kind,) in self.rows(types)}
        if not kinds_of_values:
            return "number", None
        (value,) = self.rows(f"SELECT max({column}) FROM {relation}")[0]
        if kinds_of_values == {"number"}:
            return "number", repr(value)
        if kinds_of_values != {"text"} or not _TIME.fullmatch(value):
            raise UsageError(
                f"source {self.source}: watermark {name} holds {', '.join(sorted(kinds_of_values))}: a watermark is a "
                "number, or a time such as 2026-01-31 12:00:00, in every row"
            )
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        return "text", min(value, now)

    def bounds(self, kind: str, since: str, overlap: int | None) -> tuple[str, str]:
        """Literals of the lower bound and of the last value taken in."""
        last = _literal(since, kind == "number", self.source)
        if kind == "number":
            return f"({last} - {overlap or 0})", last
        seconds = OVERLAP_SECONDS if overlap is None else overlap
        if not seconds:
            return last, last
        before = datetime.fromisoformat(since[:19]) - timedelta(seconds=seconds)
        # As texts compare: a day alone before its hours, and a blank before the T of ISO 8601, so that this bound takes
        # in rather too much.
        text = before.date().isoformat() if len(since) == 10 else before.isoformat(" ")
        return _literal(text, False, self.source), last

    def cuts(self, partition: Any, kind: str, rows: str) -> list[str]:
        """Literals between the parts of a column, see `_evenly`."""
        column = f"r.{quote(partition.column)}"
        low, high = self.rows(f"SELECT min({column}), max({column}) FROM {rows}")[0]
        if low is None:
            return []
        if not all(isinstance(one, int | float) for one in (low, high)):
            raise UsageError(f"source {self.source}: partition column {partition.column} does not hold numbers alone")
        whole = isinstance(low, int) and isinstance(high, int)
        return _evenly(Decimal(low), Decimal(high), partition.parts, whole)

    def checksum(self, query: str) -> tuple[str, int]:
        """(Sum of a 64-bit hash of each record, bytes of their texts), row by row on the driver."""
        total, size = 0, 0
        try:
            for row in self.connection.execute(query):
                text = "\x1f".join("\x00" if value is None else value for value in row).encode("utf-8", "replace")
                total += int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
                size += len(text)
        except sqlite3.Error as error:
            raise self._problem(error) from None
        return str(total), size

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.copy.unlink(missing_ok=True)

    def _problem(self, error: sqlite3.Error) -> ShelfmarkError:
        where = f"source {self.source}: {self.place}: {error}"
        if isinstance(error, sqlite3.OperationalError) and re.search(r"locked|busy|disk|I/O", str(error)):
            return ServiceError(f"{where}; run again when nothing writes to it")
        return UsageError(f"{where}; correct `database` in the mapping")


def _distinct(columns: list[tuple[str, str]], source: str, place: str) -> dict[str, str]:
    names = [name for name, _ in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"source {source}: {place}: column {twice[0]} is there twice; name the columns in `query`")
    return dict(columns)


def _literal(text: str, number: bool, source: str) -> str:
    """A value that came from a database, as SQL: only what is a number or a time."""
    try:
        if number and _NUMBER.fullmatch(text):
            return str(Decimal(text)) if "." not in text and "e" not in text.lower() else text
    except InvalidOperation:
        pass
    if not number and _TIME.fullmatch(text):
        return f"'{text}'"
    raise UsageError(f"source {source}: watermark or bound {text!r} is neither a number nor a time")
