"""A vocabulary cut down to a corpus reads that corpus as before, and nothing else becomes unknown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_models import STATIC, TRANSFORMER, made_model, made_texts
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from nearfar.errors import DataError, RunError
from nearfar.frontend import TextFrontend
from nearfar.learn.compress.model import TextModel
from nearfar.learn.compress.vocabulary import prune_vocabulary, pruned_vocabulary, token_counts, without_rows
from nearfar.learn.data.batches import Tokens
from nearfar.learn.export import export_graph

LARGE = [
    "the quick brown fox jumps over the lazy dog, again and again",
    "unbelievable international internationalisation of the naïve café",
    "copying files to another directory with the command line tools",
    "Übergrößenträger und Straßenbahnhaltestellen in der Königsstraße",
    "一 二 三 numbers 0123456789 and signs !?.;:-_/(){}[]",
    "quickly quicker quickest jumping jumped foxes doggedly lazier overly",
] * 3 + made_texts(200)
SMALL = ["the quick fox", "copying tools", "numbers 012 and the café", *made_texts(8)]
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from(" ".join(LARGE).split()).flatmap(
            lambda word: st.tuples(st.just(word), st.integers(0, len(word))).map(lambda pair: pair[0][pair[1] :])
        ),
        max_size=8,
    ).map(" ".join),
    st.text(alphabet=sorted(set("".join(LARGE))), max_size=40),
)


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]"], show_progress=False
    )
    tokenizer.train_from_iterator(LARGE, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def bytes_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LARGE, trainer)
    tokenizer.add_special_tokens(["<mask>"])  # behind the model's own pieces
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(), processors.RobertaProcessing(("</s>", 1), ("<s>", 0))]
    )
    return tokenizer


def letters_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", continuing_subword_prefix="@@"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        continuing_subword_prefix="@@",
        show_progress=False,
    )
    tokenizer.train_from_iterator(LARGE, trainer)
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<pad>", "<unk>", "<cls>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(LARGE, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<cls> $A", special_tokens=[("<cls>", 2)])
    return tokenizer


def trained_here() -> Tokenizer:
    return Tokenizer.from_str(TextFrontend.train(LARGE, vocab_size=600, add_special=True).to_bytes().decode())


class Case:
    """A frontend, the same cut down, and what both make of a text."""

    def __init__(self, make: Callable[[], Tokenizer]) -> None:
        self.old = TextFrontend(make(), max_query_tokens=400, max_document_tokens=400)
        self.counts = token_counts(self.old, SMALL, "document")
        self.new, self.kept = pruned_vocabulary(self.old, self.counts)
        self.before, self.after = (Tokenizer.from_str(f.to_bytes().decode()) for f in (self.old, self.new))
        vocabulary = self.before.get_vocab()
        self.unknown = next((name for name in ("[UNK]", "<unk>") if name in vocabulary), None)

    def pieces(self, text: str) -> tuple[list[str], list[str]]:
        return self.before.encode(text).tokens, self.after.encode(text).tokens


def spelled(pieces: list[str]) -> str:
    """The text that pieces stand for, as the model sees it."""
    return "".join(piece.removeprefix("##").removeprefix("@@") for piece in pieces)


KINDS = {make.__name__: make for make in (wordpiece, bytes_bpe, letters_bpe, unigram, trained_here)}


def case_of(kind: str, made: dict[str, Case] = {}) -> Case:  # noqa: B006 (made once for all tests)
    if kind not in made:
        made[kind] = Case(KINDS[kind])
    return made[kind]


@pytest.fixture(params=sorted(KINDS))
def case(request: pytest.FixtureRequest) -> Case:
    return case_of(request.param)


def test_the_corpus_is_cut_as_before_by_a_smaller_vocabulary(case: Case) -> None:
    assert len(case.kept) == case.new.vocab_size < 0.9 * case.old.vocab_size
    for text in SMALL:
        before, after = case.pieces(text)
        assert before == after
        (old,), (new,) = case.old.encode([text], "query"), case.new.encode([text], "query")
        np.testing.assert_array_equal(case.kept[new], old)
    assert any(before != after for before, after in map(case.pieces, LARGE))


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_nothing_becomes_unknown(kind: str, text: str) -> None:
    case = case_of(kind)
    before, after = case.pieces(text)
    if case.unknown not in before:
        assert case.unknown not in after
        assert spelled(before) == spelled(after)


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.sampled_from(" ".join(SMALL).split()), max_size=12))
def test_texts_of_the_same_words_are_cut_as_before(kind: str, words: list[str]) -> None:
    if kind in ("bytes_bpe", "unigram"):  # there a word at the start of a text is another than one inside it
        words = ["the", *words]
    before, after = case_of(kind).pieces(" ".join(words))
    assert before == after


def test_it_survives_saving_and_empty_texts(case: Case, tmp_path: Path) -> None:
    loaded = TextFrontend.load(tmp_path, case.new.save(tmp_path))
    texts = ["", " ", *SMALL, "unseen"]
    for old, new, again in zip(*(f.encode(texts, "document") for f in (case.old, case.new, loaded)), strict=True):
        np.testing.assert_array_equal(new, again)
        assert len(new) >= len(old)
    np.testing.assert_array_equal(case.kept[case.new.encode([""], "query")[0]], case.old.encode([""], "query")[0])
    assert case.kept[case.new.pad_id] == case.old.pad_id


def test_rare_pieces_go_with_a_higher_least_count(case: Case) -> None:
    rarer, kept = pruned_vocabulary(case.old, case.counts, min_count=3)
    assert set(kept) < set(case.kept)
    assert rarer.vocab_size == len(kept)


def test_a_piece_that_is_not_made_of_characters_of_its_own_stays() -> None:
    vocab = {"[UNK]": 0, "a": 1, "##b": 2, "ab": 3, "##bç": 4, "abb": 5}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    frontend = TextFrontend(tokenizer, max_query_tokens=8, max_document_tokens=8)
    smaller, kept = pruned_vocabulary(frontend, np.zeros(6, np.int64))
    assert kept.tolist() == [0, 1, 2, 4]
    assert [row.tolist() for row in smaller.encode(["abbç", "abb"], "query")] == [[1, 2, 3], [1, 2, 2]]


def test_kinds_and_counts_that_do_not_fit_are_refused() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    frontend = TextFrontend(words, max_query_tokens=8, max_document_tokens=8)
    with pytest.raises(DataError, match="WordLevel"):
        pruned_vocabulary(frontend, np.ones(3, np.int64))
    with pytest.raises(RunError, match="same frontend"):
        pruned_vocabulary(case_of("unigram").old, np.ones(3, np.int64))


def embedded(encoder: Any, rows: list[np.ndarray], pad_id: int) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = encoder.eval()(Tokens.of(rows, pad_id))
    return result


@pytest.mark.parametrize("encoder", [STATIC, "{kind: static, dim: 32, projection: 16}", TRANSFORMER])
@pytest.mark.parametrize("towers", ["shared", "separate"])
def test_a_model_embeds_its_corpus_as_before(encoder: str, towers: str) -> None:
    method, frontend = made_model(encoder, f"method.towers={towers}")
    model = TextModel(method.query_tower, method.document_tower, frontend, method.query_tower.dim)
    texts = made_texts(6, seed=7)
    smaller = prune_vocabulary(model, token_counts(frontend, texts, "document"))
    assert (smaller.query is smaller.document) == (towers == "shared")
    assert smaller.frontend.vocab_size < frontend.vocab_size
    assert model.frontend is frontend
    for side, old, new in (("query", model.query, smaller.query), ("document", model.document, smaller.document)):
        expected = embedded(old, frontend.encode(texts, side), frontend.pad_id)  # type: ignore[arg-type]
        found = embedded(new, smaller.frontend.encode(texts, side), smaller.frontend.pad_id)  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        kept, whole = (sum(p.numel() for p in tower.parameters()) for tower in (new, old))
        assert kept < whole
    graphs = [export_graph(m.query, dim=m.dim, quantise="int8") for m in (model, smaller)]
    assert len(graphs[1]) < len(graphs[0])
    embedded(smaller.query, [np.array([0], np.int32)], 0)
    loss = smaller.query.train()(Tokens.of([np.array([1, 2], np.int32)], 0)).sum()
    loss.backward()  # it can be trained on
    assert any(p.grad is not None for p in smaller.query.parameters())


def test_a_row_that_the_encoder_lacks_is_refused() -> None:
    method, frontend = made_model(STATIC)
    with pytest.raises(RunError, match="has only"):
        without_rows(method.query_tower, np.array([0, frontend.vocab_size]))
    method, frontend = made_model(TRANSFORMER)
    with pytest.raises(RunError, match="fills up"):
        without_rows(method.query_tower, np.array([frontend.pad_id + 1]))


def hf_encoder(tmp_path: Path, kind: str, vocab_size: int, pad_id: int) -> Any:
    transformers = pytest.importorskip("transformers")
    from nearfar.learn.encoders.huggingface import HuggingFaceTextEncoder
    from nearfar.recipe.text import HuggingFaceEncoder

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=vocab_size, pad_token_id=pad_id, max_position_embeddings=64, **sizes
    )
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    return HuggingFaceTextEncoder(HuggingFaceEncoder(kind="hf", model=str(tmp_path)), pad_id=pad_id)


@pytest.mark.parametrize(
    ("kind", "tokenizer"), [("bert", "wordpiece"), ("roberta", "bytes_bpe"), ("roberta", "unigram")]
)
def test_a_pretrained_model_embeds_its_corpus_as_before(tmp_path: Path, kind: str, tokenizer: str) -> None:
    case = case_of(tokenizer)
    encoder = hf_encoder(tmp_path, kind, case.old.vocab_size + 8, case.old.pad_id)
    smaller: Any = without_rows(encoder, case.kept)
    assert smaller.vocab_size == case.new.vocab_size == smaller.model.config.vocab_size
    assert encoder.vocab_size == case.old.vocab_size + 8
    texts = SMALL[:4]
    expected = embedded(encoder, case.old.encode(texts, "query"), encoder.pad_id)
    found = embedded(smaller, case.new.encode(texts, "query"), smaller.pad_id)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_counts_positions_from_its_padding_keeps_that_id(tmp_path: Path) -> None:
    case = case_of("wordpiece")
    encoder = hf_encoder(tmp_path, "roberta", case.old.vocab_size, case.old.pad_id)
    with pytest.raises(RunError, match="pads with"):
        without_rows(encoder, np.array([2, 3, 4]))
