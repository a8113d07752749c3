"""Texts of a tower: kept once, seen as on the device, shortened in training, embedded alike in torch and in the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_models import made_model, made_texts
from made_towers import agreement, built, kept, tower_of

from nearfar.errors import DataError, RunError
from nearfar.frontend import TextFrontend
from nearfar.learn.data.batches import Tokens
from nearfar.learn.towers.text import TextItems
from nearfar.learn.towers.tower import RefusedItem, rows_of

STATIC = "{kind: text, encoder: {kind: static, dim: 16}, frontend: {tokenizer: {kind: train, vocab_size: 200}}}"
DROPPING = STATIC.replace("{kind: text,", "{kind: text, word_dropout: 0.5,")
TRANSFORMER = STATIC.replace(
    "{kind: static, dim: 16}", "{kind: transformer, dim: 16, heads: 2, layers: 1, feedforward: 32, pooling: cls}"
)
TEXTS = list(dict.fromkeys(made_texts(60)))


def text_items(tmp_path: Path, block: str = STATIC, texts: list[str] = TEXTS) -> TextItems:
    items = kept(tower_of(block, "words"), texts, tmp_path / "items")
    assert isinstance(items, TextItems)
    return items


def test_equal_texts_have_one_number(tmp_path: Path) -> None:
    writer = tower_of(STATIC).writer(tmp_path / "items", seed=0)
    assert [writer.add(text, "a:1") for text in ("red", "blue", "red", "Red")] == [0, 1, 0, 2]
    writer.finish(np.array([0, 1]))
    items = tower_of(STATIC).open(tmp_path / "items")
    assert len(items) == len(set(items.keys.tolist())) == 3
    assert items.raw(np.array([2, 0])) == ["Red", "red"]


@pytest.mark.parametrize("content", ["", " \n\t", None, 3, b"red", ["red"]])
def test_what_is_no_text_is_refused(tmp_path: Path, content: object) -> None:
    writer = tower_of(STATIC).writer(tmp_path / "items", seed=0)
    with pytest.raises(RefusedItem) as refused:
        writer.add(content, "a:1")
    assert refused.value.reason in ("empty text", "no text")


def test_without_training_texts_there_is_no_vocabulary(tmp_path: Path) -> None:
    writer = tower_of(STATIC).writer(tmp_path / "items", seed=0)
    writer.add("red", "a:1")
    with pytest.raises(DataError, match="no text to train on"):
        writer.finish(np.zeros(0, np.int64))


def test_a_writer_that_was_killed_starts_again(tmp_path: Path) -> None:
    broken = tower_of(STATIC).writer(tmp_path / "items", seed=0)
    for text in reversed(TEXTS):
        broken.add(text, "a:1")
    del broken
    again, afresh = text_items(tmp_path), kept(tower_of(STATIC, "words"), TEXTS, tmp_path / "afresh")
    np.testing.assert_array_equal(again.keys, afresh.keys)
    assert again.files == afresh.files
    names = sorted(path.name for path in (tmp_path / "items").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "afresh").iterdir())


def test_the_vocabulary_is_of_training_texts_alone(tmp_path: Path) -> None:
    tower = tower_of(STATIC)
    writer = tower.writer(tmp_path / "items", seed=0)
    numbers = [writer.add(text, "a:1") for text in ("aaa bbb " * 20, "zzz")]
    writer.finish(np.array(numbers[:1]))
    items = tower.open(tmp_path / "items")
    assert isinstance(items, TextItems)
    assert not any("z" in piece for piece in items.tokenizer.pieces)


def test_both_sides_are_prepared_alike(tmp_path: Path) -> None:
    block = STATIC.replace("frontend: {", "frontend: {max_query_tokens: 3, max_document_tokens: 9, ")
    items = text_items(tmp_path, block)
    assert items.frontend.max_query_tokens == items.frontend.max_document_tokens == 9
    assert items.frontend.tokenizer == "words-tokenizer.json"
    frontend = TextFrontend.from_bytes(items.files["words-tokenizer.json"], items.frontend)
    for query, document in zip(frontend.encode(TEXTS, "query"), frontend.encode(TEXTS, "document"), strict=True):
        np.testing.assert_array_equal(query, document)


def test_prompts_that_differ_are_refused() -> None:
    tower = tower_of(STATIC.replace("frontend: {", "frontend: {prompts: {query: 'q: ', document: 'd: '}, "))
    with pytest.raises(RunError, match=r"towers\.tower\.frontend\.prompts differ"):
        tower.check()


@pytest.mark.parametrize("block", [STATIC, TRANSFORMER])
def test_the_device_makes_the_same_vectors(tmp_path: Path, block: str) -> None:
    items, tower = text_items(tmp_path, block), tower_of(block, "words")
    encoder = built(tower, items)
    assert encoder.dim == 16
    assert agreement(tower, encoder, items) > 0.9999
    assert agreement(tower, encoder, items, quantise="int8") > 0.98


def test_padding_changes_nothing(tmp_path: Path) -> None:
    items, tower = text_items(tmp_path), tower_of(STATIC)
    encoder = built(tower, items)
    inputs = items.inputs(np.arange(20), np.random.default_rng(0))
    whole = encoder(inputs)
    parts = torch.cat([encoder(rows_of(inputs, range(first, first + 5))) for first in range(0, 20, 5)])
    torch.testing.assert_close(whole, parts)
    flat = Tokens.of([items.tokens[number] for number in range(20)], items.tokenizer.pad_id)
    torch.testing.assert_close(whole, encoder.encoder(flat))


def test_words_are_left_out_whole_and_the_same_ones_for_a_seed(tmp_path: Path) -> None:
    items = text_items(tmp_path, DROPPING)
    numbers = np.array([3, 3, 3, 3, 8, 9])
    first, second = (items.inputs(numbers, np.random.default_rng(5)) for _ in range(2))
    torch.testing.assert_close(first, second)
    other = items.inputs(numbers, np.random.default_rng(6))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(first, other, strict=True))
    rows = {tuple(ids[mask.bool()].tolist()) for ids, mask in zip(*(part[:4] for part in first), strict=True)}
    assert len(rows) > 1
    words = items.texts[3].split()
    whole = {word: tuple(items.tokenizer.encode([word], "document")[0].tolist()) for word in words}
    for row in rows:
        left = list(row)
        for word in words:  # in their order, each as a whole or not at all
            pieces = whole[word]
            if tuple(left[: len(pieces)]) == pieces:
                left = left[len(pieces) :]
        assert not left


def test_one_word_always_stays(tmp_path: Path) -> None:
    items = text_items(tmp_path, DROPPING.replace("0.5", "0.99"))
    for seed in range(20):
        _, mask = items.inputs(np.arange(len(items)), np.random.default_rng(seed))
        assert bool((mask.sum(dim=1) > 0).all())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_each_token_is_of_a_word(texts: list[str]) -> None:
    _, frontend = made_model("{kind: static, dim: 8}", "frontend.prompts={query: 'find: ', document: ''}")
    for side in ("query", "document"):
        for ids, words in zip(frontend.encode(texts, side), frontend.words(texts, side), strict=True):
            assert len(ids) == len(words)
            inside = words[words >= 0]
            assert (np.diff(inside) >= 0).all()
            assert set(inside.tolist()) == set(range(len(set(inside.tolist()))))
    prompt = frontend.words(["kilume"], "query")[0]
    assert prompt[0] == -1
    assert prompt.max() == 0


def test_a_start_brings_its_vocabulary(tmp_path: Path) -> None:
    """Weights are rows of the vocabulary that they were learned with."""
    method, frontend = made_model("{kind: static, dim: 16}")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "frontend").mkdir()
    frontend.save(run / "frontend")
    torch.save(
        {"state_dict": {f"method.{name}": value for name, value in method.state_dict().items()}},
        run / "checkpoints" / "best.ckpt",
    )
    block = STATIC.replace("{kind: text,", f"{{kind: text, start: '{run}',")
    items, tower = text_items(tmp_path, block), tower_of(block, "words")
    tower.check()
    assert items.tokenizer.pieces == frontend.pieces
    torch.testing.assert_close(built(tower, items).encoder.table, method.query_tower.table)
    assert not torch.equal(built(tower, items, started=False).encoder.table, method.query_tower.table)
    (run / "frontend" / "tokenizer.json").unlink()
    with pytest.raises(RunError, match="has no vocabulary"):
        tower.check()


def test_a_start_that_is_not_there_is_met_before_reading(tmp_path: Path) -> None:
    tower = tower_of(STATIC.replace("{kind: text,", f"{{kind: text, start: '{tmp_path / 'none'}',"))
    with pytest.raises(RunError, match=r"towers\.tower\.start is .*neither a finished run"):
        tower.check()


def test_the_vocabulary_is_of_what_can_reach_the_encoder(tmp_path: Path) -> None:
    items = text_items(tmp_path, STATIC, [*TEXTS, "red " * 4_000 + "zebra" * 100_000])
    assert len(items) == len(TEXTS) + 1
    assert "z" not in items.tokenizer.to_bytes().decode().casefold().partition('"vocab"')[2]
