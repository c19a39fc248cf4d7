"""The cache of examples: the same global batches on any number of ranks, each reading its own row groups."""

import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shelfmark.errors import UsageError
from shelfmark.multimodal import data
from shelfmark.multimodal.encode import Encoding

HOW = Encoding(size=16, width=8, buckets=1000, title_length=32, description_length=32)


def rows(n, parts=("train",), start=0):
    return pa.RecordBatch.from_pydict(
        {
            "title": pa.array([f"thing {i} of {i % 7}" for i in range(start, start + n)]),
            "row": pa.array(range(start, start + n)),
            "label": pa.array([i % 7 for i in range(start, start + n)], pa.int32()),
            "part": pa.array([parts[i % len(parts)] for i in range(start, start + n)]),
        }
    )


def made(folder, batches, group_rows=10):
    data.create(folder, HOW)
    files = [one["file"] for said in data.write(folder, batches, HOW, group_rows) for one in said.to_pylist()]
    data.seal(folder, files)
    return folder


def read(cache, ranks, epoch=0, start=0, batch=24, lanes=4):
    """Global batches: the sorted rows of all ranks at each step."""
    each = [
        [b["row"] for b in data.epoch(cache, batch, 7, epoch, r, ranks, lanes, 2, start, ("title",))]
        for r in range(ranks)
    ]
    assert len({len(one) for one in each}) == 1
    return [sorted(np.concatenate(step).tolist()) for step in zip(*each, strict=True)], each


@pytest.mark.slow
def test_a_global_batch_is_the_same_rows_on_1_2_and_4_ranks(tmp_path):
    cache = data.open_cache(made(tmp_path / "c", [rows(250), rows(253, start=250)]))
    one, two, four = (read(cache, ranks)[0] for ranks in (1, 2, 4))
    assert one == two == four
    assert len(one) == data.steps(503, 24) == 21
    assert {len(step) for step in one} == {24}


def test_ranks_read_row_groups_of_their_own_and_an_epoch_nearly_all_rows(tmp_path):
    cache = data.open_cache(made(tmp_path / "c", [rows(480)]))
    _, (first, second) = read(cache, 2)
    mine, theirs = set(np.concatenate(first)), set(np.concatenate(second))
    assert not mine & theirs
    assert len(mine | theirs) == 480


def test_epochs_differ_and_the_same_epoch_comes_again(tmp_path):
    cache = data.open_cache(made(tmp_path / "c", [rows(480)]))
    assert read(cache, 1)[0] == read(cache, 1)[0]
    assert read(cache, 1)[0] != read(cache, 1, epoch=1)[0]


@pytest.mark.parametrize("start", [1, 5, 19])
def test_an_epoch_gone_on_with_has_the_batches_that_were_left(tmp_path, start):
    cache = data.open_cache(made(tmp_path / "c", [rows(480)]))
    assert read(cache, 2, start=start)[0] == read(cache, 2)[0][start:]


def test_order_does_not_depend_on_which_task_wrote_which_file(tmp_path):
    here = made(tmp_path / "a", [rows(200), rows(200, start=200)])
    there = data.create(tmp_path / "b", HOW)
    files = []
    for batch in (rows(200, start=200), rows(200)):
        files += [one["file"] for said in data.write(there, [batch], HOW, 10) for one in said.to_pylist()]
    data.seal(there, files)
    assert read(data.open_cache(here), 1)[0] == read(data.open_cache(there), 1)[0]


def test_a_file_has_few_row_groups_whatever_the_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "FILE_GROUPS", 3)
    folder = data.create(tmp_path / "c", HOW)
    rows = pa.RecordBatch.from_pydict(
        {"title": ["a"] * 100, "row": list(range(100)), "label": pa.array([0] * 100, pa.int32())}
    )
    written = [one for said in data.write(folder, [rows, rows.slice(0, 7)], HOW, 8) for one in said.to_pylist()]
    assert sum(one["rows"] for one in written) == 107
    assert all(one["rows"] for one in written)
    groups = {one["file"]: pq.read_metadata(folder / one["file"]).num_row_groups for one in written}
    assert 2 <= max(groups.values()) <= 3
    assert data.open_cache(folder).rows == 107


def test_all_rows_come_once_and_parts_apart(tmp_path):
    folder = made(tmp_path / "c", [rows(95, ("train", "tune"))])
    cache = data.open_cache(folder, ["tune"])
    found = [np.concatenate([b["row"] for b in data.all_rows(cache, 20, r, 2, ("title",))]) for r in (0, 1)]
    assert sorted(np.concatenate(found)) == list(range(1, 95, 2))
    assert data.open_cache(folder).rows == 95
    with pytest.raises(UsageError, match="no part other"):
        data.open_cache(folder, ["other"])


def test_several_labels_and_none(tmp_path):
    batch = pa.RecordBatch.from_pydict(
        {"title": ["a", "b", "c"], "row": [0, 1, 2], "label": pa.array([[3, 1], None, [2]], pa.list_(pa.int32()))}
    )
    (read_back,) = data.all_rows(data.open_cache(made(tmp_path / "c", [batch])), modalities=("title",))
    assert read_back["label"].tolist() == [[3, 1], [-1, -1], [2, -1]]
    assert read_back["weight"].tolist() == [1, 1, 1]


def test_ranks_that_do_not_divide_the_lanes_are_refused(tmp_path):
    cache = data.open_cache(made(tmp_path / "c", [rows(100)]))
    with pytest.raises(UsageError, match="3 ranks must divide 4 lanes"):
        data.epoch(cache, 24, 7, 0, 0, 3, 4)


def test_few_row_groups_are_cut_for_the_lanes_and_too_few_rows_are_refused(tmp_path):
    cache = data.open_cache(made(tmp_path / "c", [rows(90)], group_rows=64))
    assert len(cache.groups) == 2
    one, two = (read(cache, ranks, batch=8, lanes=8)[0] for ranks in (1, 2))
    assert one == two
    assert len({row for step in one for row in step}) > 80
    with pytest.raises(UsageError, match="90 rows are too few"):
        data.epoch(cache, 128, 7, 0, 0, 1, 128)


def test_a_writer_that_was_stopped_leaves_nothing_and_a_cache_is_whole_when_sealed(tmp_path):
    folder = data.create(tmp_path / "c", HOW)

    def broken():
        yield rows(50)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        list(data.write(folder, broken(), HOW))
    assert not list(folder.glob("*/*"))
    assert not data.whole(folder)
    assert data.whole(made(folder, [rows(50)]))


def test_what_a_reader_leaves_is_not_made_and_its_thread_ends():
    asked = []

    def source():
        for i in range(1000):
            asked.append(i)
            yield i

    reader = data.ahead(source, 3)
    assert [next(reader), next(reader)] == [0, 1]
    reader.close()
    time.sleep(0.3)
    assert len(asked) < 10
    assert not [one for one in threading.enumerate() if one.name == "shelfmark-ahead"]


def test_an_error_of_the_thread_is_raised_where_it_is_read():
    def source():
        yield 1
        raise ValueError("bad row group")

    reader = data.ahead(source, 2)
    assert next(reader) == 1
    with pytest.raises(ValueError, match="bad row group"):
        next(reader)
