"""A student: smaller, as a model like any other, and nearly as good."""

import numpy as np
import pyarrow as pa
import pytest

from shelfmark import answers, config

pytest.importorskip("torch")

from small_model import LEAVES, TAXONOMY, products
from small_model import trained as make

from shelfmark.multimodal import model, students

SMALL = {"title": {"buckets": 1024, "dim": 8, "hidden": 8, "sparse": False}}


def numbers(teacher, leaf):
    order = [teacher.nodes[at]["id"] for at in teacher.tree.leaf]
    return np.array([order.index(LEAVES[at]) for at in leaf])


def test_a_student_of_titles_is_smaller_and_says_what_titles_tell(tmp_path):
    folder, checksum = make()
    teacher = model.load(str(folder), checksum)
    rows, leaf = products(1_800, 40)
    labels = numbers(teacher, leaf)
    labels[1::2] = -1  # half of the products have no label: they teach all the same
    shown, shown_leaf = products(600, 41)
    true = numbers(teacher, shown_leaf)
    side = shown, model.Judged({}, true, teacher.tree.leaf[true], np.array(shown["region"].to_pylist()))
    decision = config.Decision(min_accepted=100, target_accuracy=0.8)
    student = students.distil(
        teacher, rows, labels, side, tmp_path, decision, answers.targets_of(decision, TAXONOMY), sizes=SMALL
    )
    test, test_leaf = products(800, 42)
    lines = students.compared(
        {"teacher": (folder, teacher), "student": (tmp_path, student)}, test, numbers(teacher, test_leaf)
    )
    found = {line["name"]: line for line in lines}
    titles = model.answer(teacher, test.select(["title"]))
    alone = np.mean([one[0]["category_id"] == LEAVES[at] for one, at in zip(titles["top_k"].to_pylist(), test_leaf)])
    assert found["student"]["bytes"] < found["teacher"]["bytes"] / 5
    assert found["student"]["rows_per_second"] > found["teacher"]["rows_per_second"]
    assert found["student"]["accuracy"] > alone - 0.03
    said = pa.table(model.answer(student, test))
    assert "accept" in said["decision"].to_pylist()
    assert said["confidence"].to_numpy().max() > 0.8
