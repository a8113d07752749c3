"""What ships gives the vectors of the model that was trained, at every shape."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from made_models import STATIC, TRANSFORMER, agreement, made_model, made_texts, ship

from nearfar.bundle import Bundle
from nearfar.edge import Encoder
from nearfar.frontend import TextFrontend
from nearfar.learn.data.batches import Tokens
from nearfar.learn.encoders.text import pad
from nearfar.learn.export import export_graph
from nearfar.learn.methods.dual_encoder import DualEncoder

Model = tuple[DualEncoder, TextFrontend]

CASES = [
    pytest.param(STATIC, ("encoder.term_frequency=sqrt",), "none", 0.999999, id="static-float"),
    pytest.param(STATIC, ("encoder.term_frequency=sqrt",), "int8", 0.9999, id="static-int8"),
    pytest.param(STATIC, ("encoder.term_frequency=linear",), "none", 0.999999, id="linear-float"),
    pytest.param(STATIC, ("encoder.term_frequency=linear", "encoder.projection=24"), "int8", 0.9999, id="projected"),
    pytest.param(TRANSFORMER, ("encoder.pooling=mean",), "int8", 0.99, id="mean-int8"),
    pytest.param(TRANSFORMER, ("encoder.pooling=cls",), "int8", 0.99, id="cls-int8"),
]


@pytest.mark.parametrize(("encoder", "overrides", "quantise", "floor"), CASES)
def test_the_bundle_agrees_with_the_model(
    tmp_path: Path, encoder: str, overrides: tuple[str, ...], quantise: str, floor: float
) -> None:
    method, frontend = made_model(encoder, *overrides)
    bundle = ship(method, frontend, tmp_path / "bundle", quantise=quantise)
    assert agreement(method, frontend, bundle) >= floor
    if "none" not in quantise and encoder == STATIC:
        whole = ship(method, frontend, tmp_path / "float", quantise="none")
        assert len(bundle.read("encoder.onnx")) < 0.4 * len(whole.read("encoder.onnx"))


@pytest.fixture(scope="module")
def transformer() -> tuple[Model, bytes]:
    method, frontend = made_model(TRANSFORMER)
    return (method, frontend), export_graph(method.query_tower, dim=32, quantise="none")


@pytest.mark.parametrize(("n", "length"), [(1, 1), (1, 24), (2, 7), (5, 1), (3, 2), (64, 24)])
def test_a_graph_takes_shapes_that_were_not_there_at_export(
    transformer: tuple[Model, bytes], n: int, length: int
) -> None:
    (method, frontend), graph = transformer
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, frontend.vocab_size, rng.integers(1, length + 1)).astype(np.int32) for _ in range(n)]
    rows[0] = rng.integers(1, frontend.vocab_size, length).astype(np.int32)
    ids, mask = frontend.pad(rows)
    assert ids.shape == (n, length)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(["embedding"], {"ids": ids, "mask": mask})
    with torch.no_grad():
        expected = method.query_tower(Tokens.of(rows, frontend.pad_id))
    np.testing.assert_allclose(found, torch.nn.functional.normalize(expected, dim=-1).numpy(), atol=1e-5)
    assert pad(Tokens.of(rows, frontend.pad_id), frontend.pad_id)[0].tolist() == ids.tolist()


def test_a_graph_says_nothing_of_the_machine_it_was_made_on(transformer: tuple[Model, bytes]) -> None:
    _, graph = transformer
    for word in (b"site-packages", b".py", str(Path(__file__).parents[2]).encode(), b"pkg.torch"):
        assert word not in graph
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [node.name for node in model.graph.input] == ["ids", "mask"]
    assert [node.name for node in model.graph.output] == ["embedding"]
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)


def test_an_export_is_repeatable_and_leaves_logging_alone(transformer: tuple[Model, bytes]) -> None:
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = list(root.handlers)
    (method, _), first = transformer
    assert export_graph(method.query_tower, dim=32, quantise="none") == first
    static, _ = made_model(STATIC)
    graphs = [export_graph(static.query_tower, dim=32, quantise="int8") for _ in range(2)]
    assert graphs[0] == graphs[1]
    assert (root.level, root.handlers) == (level, handlers)


@pytest.mark.parametrize("quantise", ["none", "int8"])
def test_separate_towers_and_prompts(tmp_path: Path, quantise: str) -> None:
    prompts = ("frontend.prompts.query=bado kilu", "frontend.prompts.document=meno")
    method, frontend = made_model(STATIC, "method.towers=separate", *prompts)
    bundle = ship(method, frontend, tmp_path / "bundle", quantise=quantise)
    assert bundle.manifest.file_names == {"query.onnx", "document.onnx", "tokenizer.json"}
    assert agreement(method, frontend, bundle) >= 0.9999
    encoder = Encoder.open(bundle)
    texts = made_texts(20)
    across = (encoder.embed(texts, "query") * encoder.embed(texts, "document")).sum(axis=1)
    assert across.max() < 0.9  # another tower and another prompt


@pytest.mark.parametrize("encoder", [STATIC, TRANSFORMER])
def test_a_prefix_can_ship_alone(tmp_path: Path, encoder: str) -> None:
    method, frontend = made_model(encoder, "method.matryoshka=[16, 8]")
    short = ship(method, frontend, tmp_path / "short", quantise="none", dim=16)
    assert short.manifest.dims == (8,)
    assert agreement(method, frontend, short) >= 0.99999
    if encoder == TRANSFORMER:
        return
    whole = ship(method, frontend, tmp_path / "whole", quantise="none")
    texts = made_texts(20)
    for dim in (16, 8):
        np.testing.assert_allclose(
            Encoder.open(short, dim=dim).embed(texts), Encoder.open(whole, dim=dim).embed(texts), atol=1e-5
        )


def test_a_very_short_limit_and_a_tokenizer_from_a_file(tmp_path: Path) -> None:
    _, trained = made_model(STATIC)
    (tmp_path / "tokenizer.json").write_bytes(trained.to_bytes())
    tokenizer = f"frontend.tokenizer={{kind: file, path: {tmp_path / 'tokenizer.json'}}}"
    limits = ("frontend.max_query_tokens=2", "frontend.max_document_tokens=3")
    method, frontend = made_model(TRANSFORMER, tokenizer, *limits, "encoder.pooling=cls")
    assert frontend.vocab_size == trained.vocab_size
    bundle = ship(method, frontend, tmp_path / "bundle", quantise="none")
    assert agreement(method, frontend, bundle) >= 0.99999
    assert Bundle.open(tmp_path / "bundle").manifest.frontend.max_document_tokens == 3
