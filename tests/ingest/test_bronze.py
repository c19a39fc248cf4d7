"""Bronze intake in Spark: files found, counted and read in pieces; a file that cannot be read names itself."""

import gzip
import hashlib
import json

import pytest

from shelfmark.errors import UsageError
from shelfmark.ingest import bronze, readers
from shelfmark.ingest.formats import FileProblem, Format

JSONL = Format(kind="jsonl")


def test_files_of_a_folder_a_glob_and_a_name(tmp_path):
    for name in ("b.csv", "a.csv", "c.json", ".hidden", "_SUCCESS", "sub/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = lambda patterns: [path.removeprefix(f"{tmp_path}/") for path in bronze.files(patterns, tmp_path)]  # noqa: E731
    assert names(".") == ["a.csv", "b.csv", "c.json"]
    assert names("*.csv") == ["a.csv", "b.csv"]
    assert names("**/*.csv") == ["a.csv", "b.csv", "sub/d.csv"]
    assert names(["c.json", "*.csv", "a.csv"]) == ["c.json", "a.csv", "b.csv"]
    assert names(str(tmp_path / "*.json")) == ["c.json"]
    for pattern in ("none.csv", "*.xml"):
        with pytest.raises(UsageError, match=r"no feed file at .*`files: "):
            bronze.files(pattern, tmp_path)


def test_fingerprint_is_of_the_bytes_as_they_lie(tmp_path):
    data = gzip.compress(b"x" * 3_000_000)
    (tmp_path / "feed").write_bytes(data)
    assert bronze.fingerprint(str(tmp_path / "feed")) == (hashlib.sha256(data).hexdigest(), len(data))
    with pytest.raises(FileProblem, match="no such file"):
        bronze.fingerprint(str(tmp_path / "none"))


def test_records_in_pieces_are_the_records_of_the_whole(spark, tmp_path):
    lines = [json.dumps({"id": i, "name": "é" * (i % 30)}) for i in range(1000)]
    lines[500] = "{broken"
    big, small = tmp_path / "big.jsonl", tmp_path / "small.jsonl"
    big.write_text("\n".join(lines))
    small.write_text('{"id": "s"}\n')
    paths = [str(big), str(small)]
    assert bronze.count_all(spark, paths, JSONL) == {str(big): 1000, str(small): 1}

    rows = bronze.raw_products(spark, [(path, path[-9:]) for path in paths], JSONL, "vendor", split_bytes=40_000)
    assert rows.rdd.getNumPartitions() == 4
    found = sorted(map(tuple, rows.collect()))
    expected = [
        ("vendor", path, path[-9:], r.number, r.line, r.raw if r.problem else json.dumps(r.fields), r.problem)
        for path in paths
        for r in readers.read(readers.Split(path), JSONL)
    ]
    plain = [(*row[:5], row[5] if row[6] else json.dumps(json.loads(row[5])), row[6]) for row in found]
    assert plain == sorted(expected)
    assert [row[3] for row in found if row[6]] == [501]


def test_many_small_files_share_tasks(spark, tmp_path):
    for i in range(40):
        (tmp_path / f"{i:02}.jsonl").write_text(f'{{"id": {i}}}\n')
    paths = bronze.files(".", tmp_path)
    rows = bronze.raw_products(spark, [(path, str(i)) for i, path in enumerate(paths)], JSONL, "vendor")
    assert rows.rdd.getNumPartitions() == 1
    assert rows.count() == 40


def test_files_that_cannot_be_read_are_all_named_before_anything_is_written(spark, tmp_path):
    good, cut, wrong = tmp_path / "1.jsonl", tmp_path / "2.jsonl", tmp_path / "3.jsonl"
    good.write_text('{"id": 1}\n')
    cut.write_bytes(gzip.compress(b'{"id": 1}\n' * 100)[:-8])
    wrong.write_bytes('{"id": "ö"}'.encode("cp1252"))
    with pytest.raises(FileProblem) as problem:
        bronze.count_all(spark, [str(good), str(cut), str(wrong)], JSONL)
    assert f"{cut}: the gzip file is cut off before its end" in str(problem.value)
    assert f"{wrong}: line 1: byte 0xF6 at offset 8 is not valid utf-8" in str(problem.value)
    assert str(good) not in str(problem.value)


def test_a_problem_met_while_reading_comes_back_as_its_sentence(spark, tmp_path):
    path = tmp_path / "feed.csv"
    path.write_bytes(b"id,name\n1,a\n2,\xf6\n")
    rows = bronze.raw_products(spark, [(str(path), "hash")], Format(kind="csv"), "vendor")
    with pytest.raises(Exception, match="FileProblem") as failure:
        rows.count()
    problem = bronze.file_problem_of(failure.value)
    assert isinstance(problem, FileProblem)
    assert str(problem).startswith(f"{path}: line 3: byte 0xF6 at offset 14 is not valid utf-8")
    assert bronze.file_problem_of(ValueError("something else")) is None
