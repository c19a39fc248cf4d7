"""The contracts are whole, and the page made from them is fresh."""

from pathlib import Path

import pytest

from shelfmark import docs
from shelfmark.tables import TABLES, WRITERS, table

PAGE = Path(__file__).parents[1] / "docs" / "tables.md"


def test_the_page_of_tables_is_what_the_contracts_say():
    assert PAGE.read_text() == docs.tables_page(), "run `make docs`"


@pytest.mark.parametrize("contract", TABLES.values(), ids=lambda contract: contract.name)
def test_keys_and_partitions_are_columns_and_every_column_has_a_comment(contract):
    assert set(contract.keys) | set(contract.partitions) <= set(contract.columns)
    assert all(field.comment for field in contract.fields)
    assert len(set(contract.columns)) == len(contract.columns)


def test_owners_are_jobs():
    for contract in TABLES.values():
        assert contract.owner in WRITERS or contract.writers == WRITERS


def test_an_unknown_table_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"silver\.products"):
        table("silver.product")


def test_the_ddl_is_one_spark_takes(spark):
    for contract in TABLES.values():
        assert spark.createDataFrame([], contract.ddl).columns == contract.columns
