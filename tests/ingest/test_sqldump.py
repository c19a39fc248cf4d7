"""SQL dumps: what MySQL and PostgreSQL write is read back; broken rows are rejected alone; cut dumps are refused."""

import base64
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.ingest import counting, formats, readers
from shelfmark.ingest.formats import FileProblem, Format
from shelfmark.ingest.readers import Split, header, read

MYSQL = Format(kind="sql", table="products", dialect="mysql")
POSTGRES = Format(kind="sql", table="products", dialect="postgres")

CREATE = """
CREATE TABLE `products` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `name` varchar(255) COLLATE utf8mb4_unicode_ci DEFAULT 'a;b''c',
  `price` decimal(10,2) unsigned DEFAULT NULL COMMENT 'what it costs, (net)',
  PRIMARY KEY (`id`),
  KEY `by_name` (`name`(10))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
"""


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    path = tmp_path_factory.mktemp("dump") / "dump.sql"

    def write(content, encoding="utf-8"):
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return str(path)

    return write


def records(path, fmt=MYSQL):
    """All records, after checking that the independent count agrees."""
    found = list(read(Split(path), fmt))
    assert counting.count(path, fmt) == len(found)
    assert [record.number for record in found] == list(range(1, len(found) + 1))
    return found


def values(path, fmt=MYSQL):
    return [tuple(record.fields.values()) if record.fields else None for record in records(path, fmt)]


def refused(path, fmt=MYSQL):
    """The sentence with which reader and counter both refuse a dump."""
    with pytest.raises(FileProblem) as by_reader:
        list(read(Split(path), fmt))
    with pytest.raises(FileProblem) as by_counter:
        counting.count(path, fmt)
    assert path in str(by_reader.value)
    assert path in str(by_counter.value)
    if found := re.search(r"line \d+", str(by_reader.value)):
        assert found[0] in str(by_counter.value)
    return str(by_reader.value)


def test_a_dump_as_mysqldump_writes_it(dump):
    path = dump(
        f"""\
-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
--
/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!50503 SET NAMES utf8mb4 */;
DROP TABLE IF EXISTS `products`;
{CREATE}
LOCK TABLES `products` WRITE;
/*!40000 ALTER TABLE `products` DISABLE KEYS */;
INSERT INTO `other` VALUES (1,'INSERT INTO `products` VALUES (1);'),(2,'it\\'s;');
INSERT INTO `products` VALUES (1,'Größe \\"5\\" µm',9.99),(2,'it\\'s a \\\\ b''c\\n',NULL),(3,'),(4,\\'x\\'',-1.5e3);
INSERT  IGNORE INTO `shop`.`products` (`price`, `id`) VALUES
(0x6162,4),
(_binary 'abc',5);
/*!50003 CREATE*/ /*!50003 TRIGGER t BEFORE INSERT ON products FOR EACH ROW
INSERT INTO products VALUES (99,'no',0) */;;
DELIMITER ;;
CREATE PROCEDURE p() BEGIN INSERT INTO products VALUES (98, 'no', 0); END ;;
DELIMITER ;
UNLOCK TABLES;
-- Dump completed on 2026-01-01
""".replace("`shop`.", "")
    )
    fmt = Format(kind="sql", table="products")
    assert header(path, fmt) == ["id", "name", "price"]
    found = records(path, fmt)
    assert [(r.line, r.fields) for r in found] == [
        (18, {"id": "1", "name": 'Größe "5" µm', "price": "9.99"}),
        (18, {"id": "2", "name": "it's a \\ b'c\n", "price": None}),
        (18, {"id": "3", "name": "),(4,'x'", "price": "-1.5e3"}),
        (20, {"price": "ab", "id": "4"}),
        (21, {"price": "abc", "id": "5"}),
    ]
    assert values(dump(gzip.compress(Path(path).read_bytes())), fmt) == [tuple(r.fields.values()) for r in found]


def test_a_dump_as_pg_dump_writes_it(dump):
    path = dump("""\
--
-- PostgreSQL database dump
--

\\restrict abc
SET standard_conforming_strings = on;
CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $_$
begin insert into products values (99); perform $$it's$$; end $_$;
CREATE TABLE public.products (
    id integer NOT NULL,
    name character varying(255) DEFAULT 'x;y'::character varying,
    tags text[] DEFAULT '{}'::text[],
    ok boolean
);
COPY public.other (id) FROM stdin;
INSERT INTO products VALUES (1);
\\.
COPY public.products (id, name, tags, ok) FROM stdin;
1\ta\\tb\\nc\\\\d\t{x,y}\tt
2\t\\N\t\\N\tf
3\t\\303\\244\\x41\\q\t\tt
short
\\.

INSERT INTO public.products VALUES (4, 'it''s; \\n', '{}', true);
INSERT INTO "public"."products" ("name", id) VALUES (E'a\\'b\\u00e4\\xc3\\xa4', 5), ('x'::text, '6'::integer) ON CONFLICT DO NOTHING;
\\unrestrict abc
-- PostgreSQL database dump complete
""")
    fmt = Format(kind="sql", table="products")
    assert header(path, fmt) == ["id", "name", "tags", "ok"]
    assert [(r.line, r.fields and tuple(r.fields.values())) for r in records(path, fmt)] == [
        (19, ("1", "a\tb\nc\\d", "{x,y}", "t")),
        (20, ("2", None, None, "f")),
        (21, ("3", "äAq", "", "t")),
        (22, None),
        (25, ("4", "it's; \\n", "{}", "true")),
        (26, ("a'bää", "5")),
        (26, ("x", "6")),
    ]
    assert "1 values, the COPY has 4 columns" in records(path, fmt)[3].problem
    assert values(path, fmt) == values(path, Format(kind="sql", table="public.products"))


def test_the_dialect_is_told_by_the_dump_or_given(dump):
    for sign in ("-- MariaDB dump 10.19", "/*!40101 SET NAMES utf8 */;", ") ENGINE=InnoDB;"):
        path = dump(f"{sign}\nINSERT INTO products (a) VALUES ('\\'');\n-- Dump completed\n")
        assert formats.sql_dialect(path, Format(kind="sql", table="products")) == "mysql"
    for sign in (
        "SET standard_conforming_strings = on;",
        'CREATE TABLE "products" (a text);',
        "PRAGMA foreign_keys=OFF;",
    ):
        path = dump(f"{sign}\nINSERT INTO products (a) VALUES ('\\');\n")
        assert values(path, Format(kind="sql", table="products")) == [("\\",)]
    path = dump("INSERT INTO products (a) VALUES ('x');\n")
    assert "set `dialect`" in refused(path, Format(kind="sql", table="products"))
    assert values(path, MYSQL) == values(path, POSTGRES) == [("x",)]
    path = dump("SET standard_conforming_strings = off;\nINSERT INTO products (a) VALUES ('x');\n")
    assert "standard_conforming_strings off" in refused(path, POSTGRES)


def test_names_of_columns_come_from_the_statement_the_table_or_the_mapping(dump):
    insert = "INSERT INTO products VALUES (1,'a',2);\n"
    path = dump(CREATE + insert)
    assert records(path)[0].fields == {"id": "1", "name": "a", "price": "2"}
    path = dump(insert)
    with pytest.raises(FileProblem, match=r"line 1: the statement names no columns.*list them in `columns`"):
        header(path, MYSQL)
    assert [r.problem.split(":")[0] for r in records(path)] == ["broken_record"]
    fmt = MYSQL.model_copy(update={"columns": ["x", "y", "z"]})
    assert header(path, fmt) == ["x", "y", "z"]
    assert records(path, fmt)[0].fields == {"x": "1", "y": "a", "z": "2"}
    assert records(dump("INSERT INTO products (`a``b`, a, `a`) VALUES (1,2,3);"))[0].fields == {
        "a`b": "1",
        "a": "2",
        "a_2": "3",
    }


def test_binary_values_are_text_or_base64(dump):
    picture = b"\xff\xd8\x00'\\"
    escaped = picture.replace(b"\\", b"\\\\").replace(b"\x00", b"\\0").replace(b"'", b"\\'")
    path = dump(b"INSERT INTO products (a,b,c,d) VALUES (_binary '" + escaped + b"',0xFFD800275C,X'616263',b'101');\n")
    coded = base64.b64encode(picture).decode()
    assert values(path) == [(coded, coded, "abc", "101")]


def test_broken_rows_are_rejected_alone_with_their_line_and_reason(dump):
    path = dump(
        "INSERT INTO products (id,name,price) VALUES (1,'it's broken',1),(2,'b',2),\n"
        "(3,'open,3),(4,'d',4),\n(5,'e'),(6,'f',6,7),(7,now(),7),(8,'h',8) (9,'i',9),(10,'j',10);\n"
        "INSERT INTO products (id,name,price) VALUES (11,'k;);\n"
        "INSERT INTO products (id,name,price) VALUES (12,'l',12),(13,'x\\0',13),(14,`n`,14);\n"
    )
    found = records(path)
    assert [(r.line, r.fields["id"] if r.fields else r.problem.partition(": ")[2]) for r in found] == [
        (1, 'a text is followed by "s broken\',": a quote inside it?'),
        (1, "2"),
        (2, 'a text is followed by "d\',4),\\n(5,": a quote inside it?'),
        (2, "4"),
        (3, "2 values, the statement has 3 columns"),
        (3, "4 values, the statement has 3 columns"),
        (3, "column name holds no plain value but 'now()'"),
        (3, "what follows its bracket is no comma and tuple, and no ;"),
        (3, "10"),
        (4, 'a text is followed by "l\',12),(13": a quote inside it?'),
        (5, "12"),
        (5, "column name holds zero bytes"),
        (5, "column name holds no plain value but '`n`'"),
    ]
    assert found[2].raw == "(3,'open,3)"
    assert all(r.problem.startswith("broken_record: ") for r in found if r.problem)


def test_a_byte_that_is_not_the_encodings_rejects_its_record(dump):
    path = dump(b"INSERT INTO products (a,b) VALUES ('\xf6',1),('b',2);\n")
    assert [r.problem for r in records(path)] == [
        "broken_record: column a holds byte 0xF6 that is not valid in its encoding; set `encoding`, or leave the column out",
        None,
    ]
    assert values(path, MYSQL.model_copy(update={"encoding": "cp1252"})) == [("ö", "1"), ("b", "2")]
    path = dump(b"COPY products (a,b) FROM stdin;\n\xf6\t1\nb\t2\n\\.\n")
    assert [bool(r.problem) for r in records(path, POSTGRES)] == [True, False]


def test_a_dump_in_utf_16_as_powershell_writes_it(dump):
    text = "-- MySQL dump\r\nINSERT INTO `products` (`a`) VALUES ('Größe'),\r\n('鍋');\r\n-- Dump completed\r\n"
    assert values(dump(text, "utf-16"), Format(kind="sql", table="products")) == [("Größe",), ("鍋",)]


def test_a_long_field_rejects_its_record(dump):
    fmt = MYSQL.model_copy(update={"max_field": 100})
    path = dump(f"INSERT INTO products (a,b) VALUES ('{'x' * 101}',1),('{'y' * 100}','{'z' * 100}');\n")
    assert [r.problem and r.problem.split(":")[0] for r in records(path, fmt)] == ["field_too_long", None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("INSERT INTO products (a) VALUES ('x'),\n('y", "line 2: the dump ends inside this row"),
        ("INSERT INTO products (a) VALUES ('x'),\n('y')", "line 2: the dump ends inside this row"),
        ("\n\nINSERT INTO other (a) VALUES ('x'),\n('y", "line 3: the dump ends inside this statement"),
        ("\nUPDATE x SET a = 'it;\n", "line 2: the dump ends inside this statement"),
        ("INSERT INTO products (a) VALUES (1);\n/* x", "line 2: the dump ends inside a comment"),
        ("COPY products (a) FROM stdin;\n1\n2\n", "before the `\\.` of a COPY"),
        ("INSERT INTO products SELECT * FROM x;\n", "line 1: an INSERT of the table that is no list of VALUES"),
        ("COPY products FROM stdin WITH (FORMAT csv);\n1\n\\.\n", "COPY with options (WITH (FORMAT csv))"),
        ("INSERT INTO other (a) VALUES (1);\n", "no `table: products` in the dump; its tables: other"),
        ("INSERT INTO a.products (a) VALUES (1);\nINSERT INTO b.products (a) VALUES (1);\n", "both"),
        ("USE a;\nINSERT INTO products (a) VALUES (1);\nUSE b;\nINSERT INTO products (a) VALUES (1);\n", "both"),
        ("DELIMITER ;;\nINSERT INTO products (a) VALUES (1);;\n", "DELIMITER is not set back"),
        ("", "empty: no SQL"),
    ],
)
def test_dumps_that_no_reader_could_read_to_their_end(dump, text, said):
    assert said in refused(dump(text))


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("-- MySQL dump 10.13", "-- Dump completed on 1"),
        ("--\n-- PostgreSQL database dump\n--", "-- PostgreSQL database dump complete"),
    ],
)
def test_a_dump_cut_between_two_statements_misses_its_last_words(dump, first, last):
    whole = f"{first}\nINSERT INTO products (a) VALUES (1);\n"
    assert counting.count(dump(f"{whole}{last}\n"), Format(kind="sql", table="products")) == 1
    with pytest.raises(FileProblem, match="the dump is cut off"):
        counting.count(dump(whole), Format(kind="sql", table="products"))


def test_a_quote_that_swallows_the_rest_is_refused_before_it_fills_the_memory(dump, monkeypatch):
    monkeypatch.setattr(formats, "LINE_LIMIT", 1 << 16)
    monkeypatch.setattr(formats, "CHUNK_BYTES", 1 << 12)
    path = dump("INSERT INTO products (a) VALUES ('" + "x" * (1 << 18) + "');\n")
    assert "a quote never closed" in refused(path)
    assert "a quote never closed" in refused(dump("SELECT '" + "x" * (1 << 18) + "';\n"))


# Properties


def mysql_text(value):
    """As mysqldump escapes."""
    for sign, escaped in (("\\", "\\\\"), ("'", "\\'"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\x1a", "\\Z")):
        value = value.replace(sign, escaped)
    return f"'{value}'"


def postgres_text(value):
    return "'" + value.replace("'", "''") + "'"


def copy_text(value):
    for sign, escaped in (
        ("\\", "\\\\"),
        ("\b", "\\b"),
        ("\f", "\\f"),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
        ("\v", "\\v"),
    ):
        value = value.replace(sign, escaped)
    return value


SIGNS = [*"ab'\"\\`,;()-#$/*N0 \n\r\t\b\x1a\f\v\x85\xa0\u2028é鍋🧺", "''", "\\'", "\\u0041", "\\x41", "\\101", "\\.\n"]
TEXT = st.lists(st.sampled_from(SIGNS), max_size=12).map("".join)
VALUE = st.none() | TEXT
ROWS = st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=8)
CHUNKS = st.sampled_from([1, 2, 3, 7, 64, 1 << 20])


def insert(rows, text, sep=","):
    return f"{sep}\n".join("(" + sep.join("NULL" if v is None else text(v) for v in row) + ")" for row in rows)


@settings(max_examples=200, deadline=None)
@given(ROWS, CHUNKS, st.sampled_from(["mysql", "standard", "copy"]), st.sampled_from([",", ", "]))
def test_what_a_dump_holds_is_read_back_whatever_the_pieces(dump, rows, chunk, how, sep):
    fmt = MYSQL if how == "mysql" else POSTGRES
    if how == "copy":
        lines = "".join("\t".join("\\N" if v is None else copy_text(v) for v in row) + "\n" for row in rows)
        body = f"COPY x (a) FROM stdin;\n{lines}\\.\nCOPY products (a, b) FROM stdin;\n{lines}\\.\n"
    else:
        tuples = insert(rows, mysql_text if how == "mysql" else postgres_text, sep)
        body = f"INSERT INTO x VALUES {tuples};\nINSERT INTO products (a, b) VALUES {tuples};\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "CHUNK_BYTES", chunk)
        patch.setattr("shelfmark.ingest.sqldump.HEAD_LIMIT", 128)
        patch.setattr("shelfmark.ingest.counting_sql.LOOK_AHEAD", 128)
        assert values(dump(f"-- a dump\n{body}"), fmt) == rows


PARTS = [
    "INSERT INTO products (a,b) VALUES ", "INSERT INTO products VALUES ", "INSERT INTO other VALUES ", "(1,'a')",
    "(2,\"b\")", "(", ")", ",", ";", ";\n", "),(", "'", "''", "\\'", "\\", '"', "`", "E'",
    "--", "-", "#", "/*", "*/", "/", "$", "$$", "$t$", "1",
    " ", "\n", "NULL", "ON CONFLICT", "AS", "COPY products (a,b) FROM stdin;\n", "1\t2\n", "\\.\n",
    "\\N", "é", "\xa0", "x", "USE d;", "\\c d\n",
    "DELIMITER ;;\n", "DELIMITER ;\n",
]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=25), CHUNKS, st.sampled_from([MYSQL, POSTGRES]), st.booleans())
def test_reader_and_counter_agree_on_any_dump(dump, parts, chunk, fmt, good):
    """They find as many records, or both refuse the dump; and pieces change nothing."""
    first = "INSERT INTO products (a,b) VALUES (0,'x')" + (";\n" if good else ",")
    path = dump(first + "".join(parts))

    def outcome(work):
        try:
            return work()
        except FileProblem as problem:
            return re.search(r"line \d+|: [a-z `]+", str(problem))[0]

    def found():
        return [(r.line, r.fields, r.problem, r.raw) for r in read(Split(path), fmt)]

    whole = outcome(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "CHUNK_BYTES", chunk)
        patch.setattr("shelfmark.ingest.sqldump.HEAD_LIMIT", 128)
        patch.setattr("shelfmark.ingest.counting_sql.LOOK_AHEAD", 128)
        assert outcome(found) == whole
        counted = outcome(lambda: counting.count(path, fmt))
    assert counted == (whole if isinstance(whole, str) else len(whole))


# Size


@pytest.mark.slow
def test_a_dump_larger_than_its_memory(tmp_path):
    """120 MB, in statements of 8 MB as mysqldump writes them, in a process whose peak may grow by 64 MiB."""
    path, draw, n = tmp_path / "big.sql", random.Random(7), 0
    with open(path, "w") as sink:
        for _ in range(15):
            rows = []
            for _ in range(40_000):
                n += 1
                rows.append(f"({n},'Item {draw.random()} it\\'s','{'long text ' * (n % 30)}',{n % 100}.99,NULL)")
            sink.write("INSERT INTO `products` (`id`,`name`,`text`,`price`,`x`) VALUES " + ",".join(rows) + ";\n")
    code = f"""
        import resource
        from shelfmark.ingest import counting, readers
        from shelfmark.ingest.formats import Format
        fmt = Format(kind="sql", table="products")
        small = readers.read_batches(readers.Split({str(tmp_path / "small.sql")!r}), fmt)
        assert sum(batch.num_rows for batch in small) == counting.count({str(tmp_path / "small.sql")!r}, fmt) == 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows = sum(batch.num_rows for batch in readers.read_batches(readers.Split({str(path)!r}), fmt))
        assert rows == counting.count({str(path)!r}, fmt) == {n}, rows
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
        assert grown < 64, grown
    """
    (tmp_path / "small.sql").write_text("INSERT INTO `products` (`a`) VALUES (1);\n")
    assert path.stat().st_size > 100 << 20
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_payloads_are_json(dump):
    path = dump("INSERT INTO products (a,b) VALUES ('\\\\u0000 \\t\"',1);\n")
    (batch,) = readers.read_batches(Split(path), MYSQL)
    assert json.loads(batch["payload"][0].as_py()) == {"a": '\\u0000 \t"', "b": "1"}


POSTGRES_BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture
def server(tmp_path):
    """`run(command, text)`: a program of PostgreSQL's against a server of this test, at a socket in its folder."""
    if POSTGRES_BIN is None:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql; Debian's package is postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # the path of a socket is short
    # PostgreSQL refuses to run as root.
    who = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        shutil.chown(folder, "nobody", "nogroup")

    def run(program, *arguments, text=None):
        command = [str(POSTGRES_BIN / program), *arguments]
        env = {
            "PGHOST": str(folder),
            "PGUSER": "test",
            "PGDATABASE": "postgres",
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
        }
        # Bytes: as text Python would turn a carriage return into a newline.
        done = subprocess.run(command, input=(text or "").encode(), capture_output=True, cwd=folder, env=env, **who)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield run
    finally:
        run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.slow
def test_what_pg_dump_writes_is_read_back(dump, server):
    draw = random.Random(11)
    signs = list("ab'\"\\`,;()-#$/*N0 \n\r\t\b\f\v\x85\xa0é鍋🧺")
    rows = [
        (str(n), *(None if draw.random() < 0.2 else "".join(draw.choices(signs, k=draw.randrange(12))) for _ in "ab"))
        for n in range(500)
    ]
    lines = "".join("\t".join("\\N" if v is None else copy_text(v) for v in row) + "\n" for row in rows)
    made = 'create table {} (id int primary key, "na""me" text default $$x;\'y$$, b text, ok boolean default true);\n'
    fill = 'copy {} (id, "na""me", b) from stdin;\n' + lines + "\\.\n"
    script = "create schema old;\n" + "".join(made.format(t) + fill.format(t) for t in ("products", "old.products"))
    body = "create function f() returns text language sql as $_$ select 'insert into products values (1);' $_$;\n"
    server("psql", "-q", "-v", "ON_ERROR_STOP=1", text=script + body)
    fmt = Format(kind="sql", table="public.products")
    expected = [(*row, "t") for row in rows]
    for options in ([], ["--inserts"], ["--column-inserts"], ["--inserts", "--rows-per-insert=70"]):
        path = dump(server("pg_dump", *options))
        assert header(path, fmt) == ["id", 'na"me', "b", "ok"]
        found = values(path, fmt)
        assert [(*row[:3], row[3][0]) for row in found] == expected
        assert "is both " in refused(path, Format(kind="sql", table="products"))
