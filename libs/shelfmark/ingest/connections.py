"""Sources that are no files: the `database:` and `api:` sections of a mapping, and the secrets they name.

A mapping never holds a secret: it names environment variables. Names of tables and columns are validated here and
quoted where they are used; a query must be one SELECT.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from shelfmark.errors import UsageError

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_IDENTIFIER = re.compile(r"[^\W\d][\w $-]{0,62}")
_POSTGRES = re.compile(
    r"jdbc:postgresql://(?P<hosts>(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?(?:,[\w.-]+(?::\d+)?)*)/(?P<name>[\w.%-]+)"
    r"(?:\?(?P<options>.*))?"
)
_SQLITE = re.compile(r"jdbc:sqlite:(?P<path>(?!file:|:)[^?\0]+)")
_DRIVER_OPTIONS = {
    "ssl", "sslmode", "sslrootcert", "sslcert", "sslkey", "channelBinding", "gssEncMode", "connectTimeout",
    "loginTimeout", "socketTimeout", "tcpKeepAlive", "targetServerType",
}  # fmt: skip
"""Options of the PostgreSQL driver that a mapping may set; others of them load classes or write files."""

_SECRET = re.compile(r"(?i)(?:^|[_-])(?:api[_-]?key|.*token|secret|password|passwd|pwd|auth|authorization|signature)$")
_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"}


class Section(BaseModel):
    """A section of a mapping: unknown options are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        # What stands here may well be the secret itself: it is not repeated.
        raise ValueError("name an environment variable in capitals, as SHOP_DB_PASSWORD; the secret itself stays there")
    return name


def _identifier(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of a column: letters, digits, _, $, - and blanks, as the database has it"
        )
    return name


Variable = Annotated[str, AfterValidator(_variable)]
Identifier = Annotated[str, AfterValidator(_identifier)]


class Watermark(Section):
    """A column that grows whenever a row changes: a time of change, or a number."""

    column: Identifier
    overlap: int | None = Field(
        None,
        ge=0,
        description="read again this far before the last value taken in: seconds (600) or, of a number, units (0)",
    )


def _watermark_section(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


class Partition(Section):
    """Read in parallel: ranges of a column, of equal width."""

    column: Identifier
    parts: int = Field(ge=2, le=512, description="how many connections read at once")


class Database(Section):
    """The `database:` section: a table or query of PostgreSQL or SQLite."""

    url: str = Field(description="jdbc:postgresql://host:5432/name, or jdbc:sqlite:<file below the data folder>")
    user_env: Variable | None = Field(None, description="environment variable with the user")
    password_env: Variable | None = Field(None, description="environment variable with the password")
    table: str | None = Field(None, description="table or view, schema.table")
    query: str | None = Field(None, description="instead of table: one SELECT")
    watermark: Annotated[Watermark, BeforeValidator(_watermark_section)] | None = None
    partition: Partition | None = None
    fetch_rows: int = Field(5_000, ge=1, le=1_000_000, description="rows fetched at a time by a connection")

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, content: Any) -> Any:
        for option in ("user", "password") if isinstance(content, dict) else ():
            if option in content:
                raise ValueError(f"no {option} in a mapping: name an environment variable, `{option}_env: SHOP_DB_...`")
        return content

    @field_validator("url")
    @classmethod
    def _known_address(cls, url: str) -> str:
        # No message repeats the address: it may hold what should not be there.
        found = _POSTGRES.fullmatch(url)
        options = parse_qsl(found["options"] or "", keep_blank_values=True) if found else []
        if "@" in url.partition("?")[0] or {"user", "password"} & {name.lower() for name, _ in options}:
            raise ValueError("no user or password in the address: name them in user_env and password_env")
        if not found and not _SQLITE.fullmatch(url):
            raise ValueError("write jdbc:postgresql://host:5432/name or jdbc:sqlite:<file>")
        if unknown := {name for name, _ in options} - _DRIVER_OPTIONS:
            known = ", ".join(sorted(_DRIVER_OPTIONS))
            raise ValueError(f"driver option {', '.join(sorted(unknown))} cannot be set here; {known} can")
        return url

    @field_validator("table")
    @classmethod
    def _table_name(cls, table: str | None) -> str | None:
        if table is not None and not all(_IDENTIFIER.fullmatch(part) for part in table.split(".", 1)):
            raise ValueError(f"{table!r} is no name of a table: write schema.table as the database has it")
        return table

    @model_validator(mode="after")
    def _one_relation(self) -> Database:
        if bool(self.table) == bool(self.query):
            raise ValueError("give `table:` or `query:`, one of them")
        if self.query is not None:
            _one_select(self.query, "postgres" if self.is_postgres else "sqlite")
        if self.is_postgres and not self.user_env:
            raise ValueError("user_env is needed: the environment variable with the user")
        if not self.is_postgres and (self.user_env or self.password_env):
            raise ValueError("an SQLite file has no user: leave user_env and password_env out")
        return self

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("jdbc:postgresql:")

    @property
    def path(self) -> str:
        """The file of an SQLite database, as the mapping writes it."""
        return self.url.removeprefix("jdbc:sqlite:")

    @property
    def relation(self) -> str:
        """SELECT of everything in the table or query, its names quoted."""
        if self.table is None:
            return self.query.strip().rstrip(";")
        return f"SELECT * FROM {'.'.join(map(quote, self.table.split('.', 1)))}"

    @property
    def address(self) -> str:
        """What bronze.files calls it: host, database and relation, never a user; equal means one stream of changes."""
        found = _POSTGRES.fullmatch(self.url)
        place = f"postgresql://{found['hosts']}/{found['name']}" if found else f"sqlite:{self.path}"
        query = hashlib.sha256(self.relation.encode()).hexdigest()[:12]
        what = f"table={self.table}" if self.table else f"query={query}"
        return f"{place}?{what}" + (f"&watermark={self.watermark.column}" if self.watermark else "")


def quote(name: str) -> str:
    """A name in SQL, taken literally."""
    return '"' + name.replace('"', '""') + '"'


def _one_select(query: str, dialect: str) -> None:
    import sqlglot
    from sqlglot import exp

    try:
        statements = [one for one in sqlglot.parse(query, dialect=dialect) if one is not None]
    except sqlglot.errors.SqlglotError as error:
        reason = re.sub(r"\x1b\[\d+m", "", str(error).splitlines()[0])
        raise ValueError(
            f"not a SELECT that can be checked ({reason}); make it a view and name it in `table:`"
        ) from None
    writes = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Drop, exp.Alter, exp.Set, exp.Transaction)
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise ValueError("a query is one SELECT")
    for node in statements[0].walk():
        # A SELECT is DDL to sqlglot because `CREATE TABLE AS` may hold it.
        if isinstance(node, writes) and not isinstance(node, exp.Query):
            raise ValueError(f"a query only reads; {type(node).__name__.upper()} does not belong in it")


class Page(Section):
    """How the next page is asked for."""

    style: Literal["single", "page", "offset", "cursor", "next-url", "link-header"]
    parameter: str | None = Field(None, description="page, offset, cursor: the query parameter it goes in")
    first: int | None = Field(
        None, ge=0, description="page: number of the first page (1); offset: the first offset (0)"
    )
    size: int | None = Field(None, ge=1, description="page, offset: items asked for a page; with size_parameter")
    size_parameter: str | None = Field(None, description="the query parameter of the size")
    next: str | None = Field(None, description="cursor, next-url: keys to it in the page, as meta.next")
    max_pages: int = Field(10_000, ge=1, description="more pages than this stop the source: nothing is cut off unseen")

    @model_validator(mode="after")
    def _fits_the_style(self) -> Page:
        if self.style in ("page", "offset", "cursor") and not self.parameter:
            raise ValueError(f"style {self.style} needs `parameter`, the query parameter that asks for a page")
        if self.style in ("cursor", "next-url") and not self.next:
            raise ValueError(f"style {self.style} needs `next`, the keys to it in a page")
        if (self.size is None) != (self.size_parameter is None):
            raise ValueError("give size and size_parameter together")
        return self


class Api(Section):
    """The `api:` section: a paged JSON API."""

    url: str = Field(description="http or https address of the first page")
    items: str = Field(
        "", description="keys to the array of records in a page, as data.products; empty: the page is it"
    )
    params: dict[str, str | int | float | bool] = Field({}, description="query parameters of every page")
    page: Page = Page(style="single")
    headers: dict[str, str] = Field({}, description="headers that are no secret")
    headers_env: dict[str, Variable] = Field({}, description="header -> environment variable with its whole value")
    rate_limit_per_second: float = Field(5, gt=0, description="requests a second at the most, repeated ones too")
    timeout_seconds: float = Field(30, gt=0, description="for an answer to begin, and between its pieces")
    retries: int = Field(5, ge=0, le=20, description="more tries of a page that failed in a way that may pass")
    max_wait_seconds: float = Field(300, gt=0, description="longest wait before a try; a longer Retry-After gives up")
    resume_hours: float = Field(12, ge=0, description="age up to which pages of a broken off run are used again")

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if "@" in parts.netloc or any(_SECRET.search(name) for name, _ in parse_qsl(parts.query)):
            raise ValueError("no secret in the address: send it as a header, from `headers_env`")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write an address that begins with https:// or http://")
        return url

    @field_validator("items")
    @classmethod
    def _keys(cls, items: str) -> str:
        if items and ("" in items.split(".") or "item" in items.split(".")):
            raise ValueError("keys joined by points, as data.products; a key named `item` cannot be followed")
        return items

    @field_validator("params")
    @classmethod
    def _no_secret_parameter(cls, params: dict) -> dict:
        if found := [name for name in params if _SECRET.search(name)]:
            raise ValueError(f"{found[0]}: no secret in a mapping: send it as a header, from `headers_env`")
        return params

    @field_validator("headers")
    @classmethod
    def _no_secret_header(cls, headers: dict) -> dict:
        if found := [name for name in headers if name.lower() in _SECRET_HEADERS or _SECRET.search(name)]:
            raise ValueError(f"{found[0]}: no secret in a mapping: name an environment variable in `headers_env`")
        return headers

    @property
    def json_path(self) -> str:
        """Where the records are in an array of pages, as `format.items` writes it."""
        return ".".join(filter(None, ["item", self.items, "item"]))


def variables(database: Database | None, api: Api | None) -> list[str]:
    """Environment variables a source needs."""
    if database is not None:
        return [name for name in (database.user_env, database.password_env) if name]
    return list(api.headers_env.values()) if api is not None else []


def secret(variable: str, source: str) -> str:
    """The value of an environment variable. Raises `UsageError` where it is not set."""
    value = os.environ.get(variable)
    if not value:
        raise UsageError(f"source {source}: the environment variable {variable} is not set; its mapping names it")
    return value


def without(text: str, secrets: list[str]) -> str:
    """A text of an outside service on one line, with each secret replaced by ***."""
    for one in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(one, "***")
    return " ".join(text.split())
