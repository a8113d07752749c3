"""What the files beside a model say is done as they say, or refused; nothing is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nearfar.errors import RunError
from nearfar.learn.model_files import find_model
from nearfar.learn.sentence_layout import read_layout

ST = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules.pooling."


def write(folder: Path, **files: Any) -> Path:
    """JSON files; `__` stands for a folder."""
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def modules(*names: str) -> list[dict[str, str]]:
    return [{"type": name, "path": f"{number}" if number else ""} for number, name in enumerate(names)]


BASE = modules(f"{ST}Transformer", f"{ST}Pooling", f"{ST}Normalize")


@pytest.mark.parametrize(
    ("pooling", "found"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}, "cls"),
        ({"pooling_mode": "cls", "embedding_dimension": 8}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"word_embedding_dimension": 8}, "mean"),
    ],
)
def test_both_ways_of_naming_the_pooling_are_read(tmp_path: Path, pooling: dict[str, Any], found: str) -> None:
    layout = read_layout(write(tmp_path, modules=BASE, **{"1__config": pooling}), prompts={})
    assert (layout.pooling, layout.notes, layout.after) == (found, (), ())
    other = "cls" if found == "mean" else "mean"
    forced = read_layout(tmp_path, pooling=other, prompts={})
    assert forced.pooling == other
    assert f"says {found}" in forced.notes[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"modules": BASE, "1__config": {"pooling_mode_max_tokens": True}}, "pooling is max, and only mean or cls"),
        ({"modules": BASE, "1__config": {"pooling_mode": ["cls", "mean"]}}, "pooling is cls and mean"),
        ({"modules": BASE}, "is missing, though modules.json names it"),
        (
            {"modules": [*BASE[:2], {"type": f"{ST}LayerNorm", "path": "2"}], "1__config": {}},
            "module LayerNorm, which is not",
        ),
        ({"modules": [*BASE[:2], {"type": "somebody.Else", "path": "2"}], "1__config": {}}, "module somebody.Else"),
        ({"modules": modules("somebody.Transformer", f"{ST}Pooling")}, "begins with somebody.Transformer and Pooling"),
        ({"modules": modules(f"{ST}StaticEmbedding")}, "begins with StaticEmbedding"),
        ({"modules": [{"type": f"{ST}Transformer", "path": "../x"}, BASE[1]]}, "outside the model"),
        ({"modules": {"a": 1}}, "is no list of modules"),
        (
            {"modules": modules(f"{ST}Transformer", f"{ST}Pooling", f"{ST}Dense"), "1__config": {}},
            "other formats can run code",
        ),
        (
            {
                "modules": BASE,
                "1__config": {"include_prompt": False},
                "config_sentence_transformers": {"prompts": {"query": "find: "}},
            },
            "leaves the prompt out of pooling",
        ),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        read_layout(write(tmp_path, **files), prompts={})


@pytest.mark.parametrize(
    ("said", "query", "document"),
    [
        ({}, "", ""),
        ({"prompts": {"query": "q: ", "passage": "p: "}}, "q: ", "p: "),
        ({"prompts": {"query": "q: ", "document": "d: ", "passage": "p: "}}, "q: ", "d: "),
        ({"prompts": {"x": "X "}, "default_prompt_name": "x"}, "X ", "X "),
        ({"prompts": {"x": "X "}, "default_prompt_name": None}, "", ""),
    ],
)
def test_prompts_are_those_of_encode_query_and_encode_document(
    tmp_path: Path, said: dict[str, Any], query: str, document: str
) -> None:
    folder = write(tmp_path, config_sentence_transformers=said)
    assert read_layout(folder, prompts={}).prompts == {"query": query, "document": document}
    assert read_layout(folder, prompts={"query": "", "document": "mine"}).prompts == {"query": "", "document": "mine"}


@pytest.mark.parametrize(
    ("files", "tokens", "noted"),
    [
        ({"sentence_bert_config": {"max_seq_length": 256}, "tokenizer_config": {"model_max_length": 128}}, 256, False),
        ({"sentence_bert_config": {}, "tokenizer_config": {"model_max_length": 128}}, 128, False),
        ({"tokenizer_config": {"model_max_length": int(1e30)}, "config": {"max_position_embeddings": 300}}, 300, False),
        ({"config": {"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}}, 512, False),
        ({"config": {"max_position_embeddings": 8192}}, 512, True),
        ({}, 512, False),
    ],
)
def test_lengths_are_those_of_the_files_within_reason(
    tmp_path: Path, files: dict[str, Any], tokens: int, noted: bool
) -> None:
    layout = read_layout(write(tmp_path, **files), pooling="mean", prompts={})
    assert layout.max_tokens == tokens
    assert any("--max-tokens 8192" in note for note in layout.notes) == noted


def test_more_tokens_than_positions_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, config={"max_position_embeddings": 64})
    assert read_layout(folder, max_tokens=64, prompts={}).max_tokens == 64
    with pytest.raises(RunError, match=r"max_tokens is 65, but .* takes only 64"):
        read_layout(folder, max_tokens=65, prompts={})


def test_a_model_for_dot_products_is_noted(tmp_path: Path) -> None:
    folder = write(tmp_path, config_sentence_transformers={"similarity_fn_name": "dot"})
    assert "dot products" in read_layout(folder, pooling="cls", prompts={}).notes[0]


def test_weights_come_before_a_graph_and_a_graph_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    graph = tmp_path / "onnx" / "model.onnx"
    for path in (graph, tmp_path / "tokenizer.json"):
        path.write_bytes(b"1")
    assert find_model(str(tmp_path)).graph == graph
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert find_model(str(tmp_path)).graph is None
    found = find_model(str(graph))
    assert (found.graph, found.root) == (graph, tmp_path)
    before = found.digest()
    (tmp_path / "onnx" / "model.onnx_data").write_bytes(b"3")
    assert found.digest() != before


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        ([], ".", "holds neither model.safetensors nor model.onnx"),
        (["pytorch_model.bin"], ".", "convert it to safetensors"),
        (["notes.txt"], "notes.txt", "is a file, but no .onnx graph"),
        ([], "nothing/here/at-all", "there is no such folder"),
        ([], "./nothing", "there is no such folder"),
    ],
)
def test_where_there_is_no_model_it_is_said(tmp_path: Path, make: list[str], given: str, message: str) -> None:
    for name in make:
        (tmp_path / name).write_text("x")
    with pytest.raises(RunError, match=message):
        find_model(f"{tmp_path}/{given}" if make or given == "." else given)
