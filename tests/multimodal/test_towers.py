"""Towers: logits from one modality, saved and loaded as they were, of any timm model; what is frozen does not learn."""

import importlib.util
import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from shelfmark.errors import UsageError
from shelfmark.multimodal import encode, towers
from shelfmark.multimodal.encode import Encoding

torch.set_num_threads(1)
HOW = Encoding(size=32, width=16, buckets=500)
ROWS = pa.table(
    {"title": ["red coat", None, "a pair of blue shoes"], "fields": pa.array([[("a", "1")]] * 3, encode.FACTS)}
)
KINDS = {
    "ngrams": {"modality": "title", "buckets": 500, "dim": 8, "hidden": 12},
    "textcnn": {"modality": "title", "buckets": 500, "dim": 8, "filters": 6, "hidden": 12},
    "picture": {"modality": "picture", "options": {"channels": [8, 8, 16, 16]}},
    "fields": {"modality": "fields", "width": 16, "hidden": 8},
}


def small(kind, **more):
    torch.manual_seed(3)
    return towers.build(towers.describe(classes=5, kind=kind, **{**KINDS[kind], **more})).eval()


@pytest.fixture(scope="module")
def batch():
    return towers.tensors(encode.arrays(ROWS, HOW))


@pytest.mark.parametrize("paired", [None, "softmax", "sigmoid"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tower_gives_features_and_logits_and_comes_back_as_it_was(kind, paired, batch, tmp_path):
    tower = small(kind, paired=paired)
    with torch.no_grad():
        features, logits = tower.features(batch), tower(batch)
        assert features.shape == (3, tower.width)
        assert torch.equal(tower.said(features), logits)
        assert logits.shape == (3, 5)
        towers.save(tower, tmp_path / "t")
        assert torch.equal(towers.load(tmp_path / "t")(batch), logits)
    assert json.loads((tmp_path / "t" / "tower.json").read_text()) == tower.description


def test_a_pair_says_the_mean_of_two_probabilities(batch):
    for paired, of in (("softmax", lambda logits: logits.softmax(1)), ("sigmoid", torch.sigmoid)):
        pair = small("ngrams", paired=paired)
        with torch.no_grad():
            plain, weighted = pair.plain(batch), pair.weighted(batch)
            assert not torch.allclose(plain, weighted)  # each begins elsewhere
            assert torch.allclose(of(pair(batch)), (of(plain) + of(weighted)) / 2, atol=1e-6)
            sure = torch.full((1, pair.width), 1e4)
            assert pair.said(sure).isfinite().all()
    assert pair.train()(batch).shape == (3, 2, 5)  # what each learns from


@pytest.mark.parametrize("kind", ["ngrams", "textcnn"])
def test_padding_says_nothing(kind, batch):
    tower = small(kind)
    longer = {**batch, "title": torch.nn.functional.pad(batch["title"], (0, 32))}
    with torch.no_grad():
        assert torch.allclose(tower(batch), tower(longer), atol=1e-5)


@pytest.mark.parametrize("kind", ["ngrams", "textcnn"])
@pytest.mark.parametrize("sparse", [True, False])
def test_gradients_of_an_embedding_are_sparse_where_asked(kind, sparse, batch):
    tower = small(kind, sparse=sparse)
    tower(batch).sum().backward()
    assert tower.embedding.weight.grad.is_sparse == sparse


def test_only_the_last_layers_learn():
    whole, part = small("picture"), small("picture", freeze_all_but=2)
    names = [name for name, one in part.network.named_parameters() if one.requires_grad]
    assert 0 < len(names) < len(list(whole.network.parameters()))
    last = [name for name, _ in whole.network.named_parameters()][-1]
    assert last in names


def test_weights_of_a_file_are_started_from(tmp_path):
    one = small("picture")
    torch.save(one.network.state_dict(), tmp_path / "start.pt")
    torch.manual_seed(99)
    other = towers.build({**one.description, "pretrained": str(tmp_path / "start.pt")})
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)
    towers.save(other, tmp_path / "t")
    (tmp_path / "start.pt").unlink()
    towers.load(tmp_path / "t")  # needs what it started from no more


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("picture", {"model": "no_such_model"}, "no_such_model"),
        ("picture", {"pretrained": "/nowhere.pt"}, "no file /nowhere.pt"),
    ],
)
def test_what_is_not_to_be_had_is_one_clear_line(kind, more, message):
    with pytest.raises(UsageError, match=message):
        small(kind, **more)


def test_a_key_that_a_kind_does_not_have_is_refused():
    with pytest.raises(UsageError, match="has no filters"):
        towers.describe("title", 5, filters=3)


def test_augmented_pictures_are_mirrored_and_shifted_ones(batch):
    draw = torch.Generator().manual_seed(1)
    pixels = torch.zeros(64, 20, 20, 3, dtype=torch.uint8)
    pixels[:, 8:12, 5:8] = torch.tensor([200, 100, 50], dtype=torch.uint8)
    moved = towers.augment(pixels, draw)
    assert moved.shape == pixels.shape
    assert moved.dtype == torch.uint8
    assert ((moved[..., 0] == 200).sum((1, 2)) == 12).all()  # whole, wherever it is now
    where = {tuple(np.argwhere((one[..., 0] == 200).numpy())[0].tolist()) for one in moved}
    assert len(where) > 30
    assert max(column for _, column in where) > 9  # some are mirrored
    still = towers.augment(pixels, draw, shift=0)
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(1)) for a, b in zip(still, pixels, strict=True))


def test_an_encoder_without_its_extra_says_which():
    if importlib.util.find_spec("transformers"):
        pytest.skip("the extra is installed")
    with pytest.raises(UsageError, match="extra `encoders`"):
        towers.build(towers.describe("title", 5, "encoder", model="some/encoder"))
    with pytest.raises(UsageError, match="extra `encoders`"):
        encode.ids(pa.array(["a coat"]), "some/encoder", 32, 1000)


def test_an_encoder_reads_the_ids_of_its_own_tokeniser(tmp_path):
    """With the extra `encoders`: a tiny BERT made here, frozen but for its last layers, then with adapters."""
    transformers = pytest.importorskip("transformers", reason="the extra `encoders` is not installed")
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "coat", "shoes"])
    )
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertModel(transformers.BertConfig(vocab_size=8, **shape)).save_pretrained(tmp_path)
    how = Encoding(title=str(tmp_path), title_length=16)
    batch = towers.tensors(encode.arrays(ROWS, how))
    assert batch["title"][0, :4].tolist() == [3, 6, 7, 4]
    for more in ({"freeze_all_but": 2}, {"adapters": 2}):
        tower = towers.build(towers.describe("title", 5, "encoder", model=str(tmp_path), **more)).eval()
        learnt = sum(one.numel() for one in tower.network.parameters() if one.requires_grad)
        assert 0 < learnt < sum(one.numel() for one in tower.network.parameters())
        assert tower(batch).shape == (3, 5)
        towers.save(tower, tmp_path / "saved")
        assert torch.allclose(towers.load(tmp_path / "saved")(batch), tower(batch), atol=1e-6)
