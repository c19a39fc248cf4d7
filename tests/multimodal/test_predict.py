"""A multimodal model on Spark: what the batch job writes is what `model.answer` says."""

import numpy as np
import pyarrow as pa
import pytest

from shelfmark.errors import DataRefused, UsageError
from shelfmark.tables import table

pytest.importorskip("torch")

from small_model import products
from small_model import trained as make

from shelfmark.multimodal import model, predict, similar

pytestmark = pytest.mark.slow


def test_predictions_of_a_catalogue_with_its_pictures(spark):
    folder, checksum = make()
    n = 240
    rows, _ = products(n, 20)
    # Two products share a picture, some have none, one points to a picture that was refused.
    image = [f"i{at // 2}" if at % 5 else None for at in range(n)]
    pictures = {name: rows["picture"][at].as_py() for at, name in enumerate(image) if name}
    pictures["i3"] = None
    shown = [pictures.get(name) if name else None for name in image]
    facts = [
        [{"name": one["name"], "value": one["value"], "unit": None} for one in some or ()]
        for some in rows["fields"].to_pylist()
    ]
    catalogue = spark.createDataFrame(
        [
            (f"p{at}", f"g{at}", region, title, None, image[at], facts[at])
            for at, (region, title) in enumerate(zip(rows["region"].to_pylist(), rows["title"].to_pylist()))
        ],
        "product_id string, group_id string, region string, title string, description string, image_id string, "
        "attributes array<struct<name:string,value:string,unit:string>>",
    )
    images = spark.createDataFrame(list(pictures.items()), "image_id string, bytes binary")
    predicted = predict.predict(catalogue, folder, images, top_k=2, checksum=checksum)
    contract = {field.name: field.type for field in table("gold.predictions").fields}
    for name, kind in predicted.dtypes:
        assert contract[name] == kind, name
    found = {row.product_id: row.asDict(recursive=True) for row in predicted.collect()}
    assert len(found) == n
    given = rows.set_column(1, "picture", pa.array(shown, pa.binary()))
    said = pa.table(model.answer(model.load(str(folder), checksum), given, 2)).to_pylist()
    for at, one in enumerate(said):
        row = found[f"p{at}"]
        assert (row["category_id"], row["decision"], row["reason"]) == (
            one["category_id"],
            one["decision"],
            one["reason"],
        )
        np.testing.assert_allclose(row["confidence"], one["confidence"], atol=1e-5)
        assert [c["modality"] for c in row["contributions"]] == [c["modality"] for c in one["contributions"]]
    with pytest.raises(DataRefused, match="its files were changed"):
        predict.predict(catalogue, folder, images, checksum="0" * 64)


def test_similar_products_by_their_vectors(spark):
    folder, checksum = make()
    rows, _ = products(120, 21)
    catalogue = spark.createDataFrame(
        [
            (f"p{at}", region, title)
            for at, (region, title) in enumerate(zip(rows["region"].to_pylist(), rows["title"].to_pylist()))
        ]
        + [("empty", "IN", None)],
        "product_id string, region string, title string",
    )
    vectors = predict.embed(catalogue, folder, keep=("product_id", "region"), checksum=checksum).cache()
    assert vectors.count() == 120  # of a row without anything there is no vector
    made = model.vectors(model.load(str(folder), checksum), rows.select(["title"]))
    wanted = made @ made[0]
    found = similar.similar(vectors, "p0", 15)
    np.testing.assert_allclose([one.similarity for one in found], np.sort(np.delete(wanted, 0))[::-1][:15], atol=1e-5)
    assert "p0" not in {one.product_id for one in found}
    assert {one.region for one in similar.similar(vectors, "p0", 5, "MY")} == {"MY"}
    with pytest.raises(UsageError, match="empty has no vector"):
        similar.similar(vectors, "empty")
