"""Any table by its name, as of the newest release, a commit or main: for analysts and for the reports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfmark import config, session
from shelfmark.config import Settings
from shelfmark.errors import UsageError
from shelfmark.lake import Lake, NotFound, open_lake
from shelfmark.run import read_at as read
from shelfmark.tables import TABLES

__all__ = ["open_reader", "query", "read", "sql"]

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

# A text in quotes (silver.rejected has table names as values), or the name of a table.
NAME = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\b(bronze|silver|gold)\s*\.\s*(\w+)\b""", re.IGNORECASE)

READING = re.compile(r"\s*\(?\s*(select|with|show|describe|explain|from|values)\b", re.IGNORECASE)


def open_reader(of: Settings | str | Path, at: str | None = None) -> tuple[Lake, str]:
    """The lake of `of` (settings, or a home folder), and the commit to read: the newest release, or what `at` names.

    The commit is leased until this process ends: what is read of it cannot be pruned meanwhile. Raises `NotFound`
    when there is no lake or no release yet.
    """
    settings = of if isinstance(of, Settings) else config.load(home=str(of))
    lake = open_lake(settings, make=False)
    if at is None and lake.release() is None:
        raise NotFound("no release yet: a release is made when a pipeline ends well; read --at main meanwhile")
    return lake, lake.lease(at or "release").id


def query(spark: SparkSession, lake: Lake, commit: str, text: str) -> DataFrame:
    """The result of a SQL `select` over tables by their contract names, e.g. `silver.products`.

    Raises `UsageError` for an unknown table and for SQL that Spark does not take.
    """
    from pyspark.errors import AnalysisException, ParseException

    if not READING.match(text):
        raise UsageError("only select, with, show, describe and explain are run here: tables are written by jobs alone")

    def view(found: re.Match) -> str:
        name = f"{found[1]}.{found[2]}".lower() if found[1] else ""
        if name not in TABLES:
            return found[0]  # a text, an alias such as gold.value, or a table that Spark will say it does not know
        temporary = "_" + name.replace(".", "_")
        read(spark, lake, commit, name).createOrReplaceTempView(temporary)
        return temporary

    text = NAME.sub(view, text)
    try:
        return spark.sql(text)
    except (AnalysisException, ParseException) as error:
        line = str(error).strip().splitlines()[0]
        for contract in TABLES.values():
            line = line.replace("_" + contract.name.replace(".", "_"), contract.name)
        raise UsageError(f"the query was refused: {line}; `shelfmark tables` lists tables and columns") from None


def sql(text: str, home: str | Path = ".shelfmark", at: str | None = None, **values: Any) -> pd.DataFrame:
    """The result of `query` as a pandas frame, for notebooks: keep it small with `limit` or aggregates.

    `values` are settings, e.g. `lake="lakefs"`.
    """
    settings = config.load(home=str(home), **values)
    lake, commit = open_reader(settings, at)
    spark = session.start(settings, "shelfmark-sql")
    return query(spark, lake, commit, text).toPandas()
