"""How a feed's files are written: the reader options of a source mapping."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Format(BaseModel):
    """The `format:` section of conf/sources/<name>.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["csv", "jsonl", "json", "xml", "parquet"] = Field(description="csv also reads any delimited text")
    encoding: str | None = Field(None, description="text encoding; empty: byte order mark, else UTF-8")
    delimiter: str = Field(",", description="csv: between fields, one character")
    quote: str | None = Field('"', description="csv: around fields; null: no quoting")
    escape: str | None = Field(None, description="csv: before a quote inside a field; null: a doubled quote")
    header: bool = Field(True, description="csv: the first line names the fields")
    columns: list[str] | None = Field(None, description="csv: field names where there is no header")
    multiline: bool = Field(True, description="csv: quoted fields may hold line breaks; false allows byte ranges")
    max_lines: int = Field(200, ge=1, description="csv: a record of more lines is rejected, not believed")
    max_field: int = Field(1_000_000, ge=1, description="characters of a field; a longer one rejects its record")
    items: str = Field("item", description="json: where the array is, as ijson writes it: `item`, `products.item`")
    record: str = Field("item", description="xml: name of a record's element, without namespace")
