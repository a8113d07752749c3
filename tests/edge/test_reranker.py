"""The reranker on the device: the passage that answers stands first, and what does not fit is refused."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from tiny_bundle import TEXTS, write_tiny_bundle
from tiny_reranker import SETTINGS, tiny_pair_tokenizer, tiny_reranker_manifest, tiny_scorer, write_tiny_reranker

from nearfar.bundle import Bundle, describe
from nearfar.bundle.manifest import read_manifest
from nearfar.edge.encoder import Encoder
from nearfar.edge.reranker import Reranker
from nearfar.errors import BundleError, DataError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return write_tiny_reranker(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def reranker(bundle) -> Reranker:
    return Reranker.open(bundle.path)


@pytest.mark.parametrize(("query", "best"), [("parse json", 2), ("bake bread", 5), ("wash wool", 7)])
def test_the_passage_that_shares_words_has_the_highest_score(reranker, query, best):
    scores = reranker.scores(query, TEXTS)
    assert scores.dtype == np.float32
    assert scores.shape == (len(TEXTS),)
    assert scores.argmax() == best


def test_a_share_is_the_sigmoid_of_the_logit(reranker):
    logits = reranker.logits("parse json", TEXTS).astype(np.float64)
    np.testing.assert_allclose(reranker.scores("parse json", TEXTS), 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert reranker.scale == "share"


def test_enormous_logits_are_shares_all_the_same(tmp_path):
    scores = Reranker.open(write_tiny_reranker(tmp_path / "b", factor=1e6)).scores("parse json", TEXTS)
    assert np.isfinite(scores).all()
    assert 0 <= scores.min() < scores.max() <= 1


def test_a_free_scale_is_left_as_it_is(tmp_path):
    free = Reranker.open(write_tiny_reranker(tmp_path / "b", scale="free", factor=-10))
    assert free.scale == "free"
    scores = free.scores("parse json", TEXTS)
    np.testing.assert_array_equal(scores, free.logits("parse json", TEXTS))
    assert scores.argmin() == 2
    assert scores.min() < -1


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_order_and_batches_do_not_matter(reranker, batch_size):
    passages = [" ".join(TEXTS)[: 7 * n % 400] for n in range(60)]
    one_by_one = np.concatenate([reranker.scores("parse json in python", [passage]) for passage in passages])
    np.testing.assert_allclose(
        reranker.scores("parse json in python", passages, batch_size=batch_size), one_by_one, atol=1e-5
    )


@pytest.mark.parametrize("text", ["", "\n", "\ud800", "x" * 100_000, "fox " * 50_000, "😀" * 50, "\x00", "[PAD] [SEP]"])
def test_any_text_has_a_score(reranker, text):
    assert np.isfinite(reranker.scores(text, [text, TEXTS[0]])).all()
    assert np.isfinite(reranker.scores(TEXTS[0], [text])).all()


def test_no_passages_have_no_scores(reranker):
    assert reranker.scores("parse json", []).shape == (0,)


def test_threads_share_one_reranker(reranker):
    expected = reranker.scores("parse json", TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: reranker.scores("parse json", TEXTS), range(40)):
            np.testing.assert_array_equal(scores, expected)


def test_wrong_arguments_say_so(bundle, reranker):
    with pytest.raises(DataError, match=r"wrap it as \[passage\]"):
        reranker.scores("a", "one string")
    with pytest.raises(DataError, match="passage 1 is NoneType"):
        reranker.scores("a", ["b", None])
    with pytest.raises(DataError, match="the query is int"):
        reranker.scores(3, ["b"])
    with pytest.raises(DataError, match="batch_size is 0"):
        reranker.scores("a", ["b"], batch_size=0)
    with pytest.raises(DataError, match="threads is 0"):
        Reranker.open(bundle, threads=0)


def test_the_two_kinds_of_bundle_are_told_apart(bundle, tmp_path):
    with pytest.raises(BundleError, match="is a reranker, which scores pairs and embeds nothing"):
        Encoder.open(bundle)
    with pytest.raises(BundleError, match=r"kind text-dual-encoder, which embeds.*nearfar reranker"):
        Reranker.open(write_tiny_bundle(tmp_path / "encoder"))


def edited(change) -> bytes:
    model = tiny_scorer(tiny_pair_tokenizer().get_vocab_size())
    change(model.graph)
    return model.SerializeToString()


def rename_output(graph: onnx.GraphProto) -> None:
    graph.output[0].name = graph.node[-1].output[0] = "logits"


def forget_types(graph: onnx.GraphProto) -> None:
    del graph.input[2]
    for node in graph.node:
        node.input[:] = ["mask" if name == "types" else name for name in node.input]


def two_outputs_a_pair(graph: onnx.GraphProto) -> None:
    graph.node[-2].attribute[0].i = 1
    graph.output[0].type.tensor_type.shape.dim.add().dim_value = 1


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (rename_output, "outputs logits"),
        (forget_types, "inputs ids: [^ ]+ [^ ]+ [^ ]+ mask"),
        (two_outputs_a_pair, "1"),
    ],
)
def test_a_graph_with_another_contract_is_refused(tmp_path, change, found):
    with pytest.raises(
        BundleError, match=rf"takes ids, mask, types.* gives score, float32 \(n\), but it has .*{found}"
    ):
        Reranker.open(write_tiny_reranker(tmp_path / "b", graph=edited(change)))


def test_a_graph_that_takes_data_from_elsewhere_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def outside(graph: onnx.GraphProto) -> None:
        table = next(tensor for tensor in graph.initializer if tensor.name == "table")
        (tmp_path / "secret").write_bytes(table.raw_data)
        size = len(table.raw_data)
        table.ClearField("raw_data")
        table.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "secret"), ("offset", "0"), ("length", str(size))):
            entry = table.external_data.add()
            entry.key, entry.value = key, value

    with pytest.raises(BundleError, match=r"reranker\.onnx: refers to data in other files"):
        Reranker.open(write_tiny_reranker(tmp_path / "b", graph=edited(outside)))


def test_a_vocabulary_larger_than_the_model_is_met_at_opening(tmp_path):
    small = tiny_scorer(20).SerializeToString()
    with pytest.raises(BundleError, match="the graph failed on a batch of 2 x 48 tokens"):
        Reranker.open(write_tiny_reranker(tmp_path / "b", graph=small))


def test_an_altered_vocabulary_is_refused(tmp_path):
    written = write_tiny_reranker(tmp_path / "b")
    file = written.path / "tokenizer.json"
    file.write_bytes(file.read_bytes().replace(b"fox", b"fax"))
    with pytest.raises(BundleError, match=r"tokenizer\.json: altered"):
        Reranker.open(written.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scorer": None}, "scorer is missing"),
        ({"dim": 8}, "are of encoders"),
        ({"kind": "text-dual-encoder"}, "frontend of kind text-pair it must be text-cross-encoder"),
        ({"frontend": SETTINGS.model_copy(update={"max_query_tokens": 48})}, "leaves a passage nothing"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change, message):
    content = tiny_reranker_manifest().model_copy(update=change).to_bytes()
    with pytest.raises(BundleError, match=message):
        read_manifest(content, "manifest.json")


def test_card_and_description_speak_of_a_reranker(bundle):
    card = bundle.read("card.md").decode()
    assert "reads a query and a passage together" in card
    assert "Reranker.open" in card
    assert "share from 0 to 1" in card
    assert not {"dimensions", "cosine", "embed("} & set(card.split())
    rows = dict(describe(bundle))
    assert rows["kind"] == "text-cross-encoder, format 1"
    assert rows["longest pair"] == "48 tokens"
    assert "dimensions" not in rows


def test_it_needs_no_torch(bundle):
    code = (
        f"import sys; from nearfar.edge.reranker import Reranker; Reranker.open({str(bundle.path)!r}).scores('a', ['b']); "
        "sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_path_that_is_no_bundle_is_a_clear_error(tmp_path: Path):
    with pytest.raises(BundleError, match="there is no such bundle"):
        Reranker.open(tmp_path / "nothing")
