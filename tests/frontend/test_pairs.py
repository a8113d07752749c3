"""Pairs to tokens: as the model's own tokeniser joins them, the query whole and the passage cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import TEXTS
from tiny_reranker import SETTINGS, tiny_pair_tokenizer
from tokenizers import Tokenizer, processors

from nearfar.errors import DataError
from nearfar.frontend import PairFrontend, PairSettings

FRONTEND = PairFrontend(tiny_pair_tokenizer(), SETTINGS)


def reference(query: str, passage: str, longest: int) -> Tokenizer:
    tokenizer = tiny_pair_tokenizer()
    tokenizer.enable_truncation(longest, strategy="only_second")
    return tokenizer.encode(query, passage)


@pytest.mark.parametrize("passage", ["", TEXTS[0], " ".join(TEXTS)])
def test_a_row_is_what_the_library_makes_of_the_pair(passage):
    (row,) = FRONTEND.encode("read a file in python", [passage])
    expected = reference("read a file in python", passage, SETTINGS.max_tokens)
    assert row.ids.tolist() == expected.ids
    assert row.types.tolist() == expected.type_ids
    assert len(row.ids) <= SETTINGS.max_tokens


def test_a_long_query_is_cut_and_leaves_room_for_the_passage():
    (row,) = FRONTEND.encode(" ".join(TEXTS), ["parse a JSON string"])
    assert (row.types == 0).sum() == SETTINGS.max_query_tokens + 2  # [CLS] and the first [SEP]
    assert row.ids.tolist()[-5:] == reference("", "parse a JSON string", 48).ids[-5:]


def test_the_query_is_the_same_in_every_row():
    rows = FRONTEND.encode("parse json", list(TEXTS))
    first = rows[0].ids[rows[0].types == 0]
    assert all((row.ids[row.types == 0] == first).all() for row in rows)


@given(st.text(max_size=200), st.lists(st.text(max_size=400), max_size=5))
def test_any_texts_make_rows_within_bounds(query, passages):
    rows = FRONTEND.encode(query, passages)
    assert len(rows) == len(passages)
    for row in rows:
        assert 1 <= len(row.ids) == len(row.types) <= SETTINGS.max_tokens
        assert 0 <= row.ids.min() <= row.ids.max() < FRONTEND.vocab_size


def test_a_feed_pads_with_the_models_own_token_and_masks_it():
    tokenizer = tiny_pair_tokenizer()
    tokenizer.enable_padding(pad_id=7, pad_token="odd")
    frontend = PairFrontend(tokenizer, SETTINGS)
    feed = frontend.pad(frontend.encode("parse json", ["", TEXTS[1]]))
    assert feed.keys() == {"ids", "mask", "types"}
    assert (feed["ids"][feed["mask"] == 0] == 7).all()
    assert (feed["types"][feed["mask"] == 0] == 0).all()
    again = PairFrontend.from_bytes(frontend.to_bytes(), SETTINGS)
    np.testing.assert_array_equal(again.pad(again.encode("parse json", ["", TEXTS[1]]))["ids"], feed["ids"])


def test_a_model_that_reads_no_types_is_not_told_them():
    frontend = PairFrontend(tiny_pair_tokenizer(), SETTINGS.model_copy(update={"types": False}))
    assert frontend.inputs.keys() == {"ids", "mask"} == frontend.trials().keys()


def test_feeds_give_every_passage_once_and_bound_their_tokens():
    settings = PairSettings(max_query_tokens=16, max_tokens=500, types=True)
    frontend = PairFrontend(tiny_pair_tokenizer(), settings)
    passages = ["fox " * n for n in range(0, 900, 9)]
    seen = []
    for positions, feed in frontend.feeds("fox", passages, 64):
        seen += positions
        assert feed["ids"].size <= 4_096
        assert len(positions) <= 64
    assert sorted(seen) == list(range(len(passages)))


def test_a_tokenizer_without_special_tokens_makes_a_row_of_nothing():
    tokenizer = tiny_pair_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    (row,) = PairFrontend(tokenizer, SETTINGS).encode("", [""])
    assert len(row.ids) == len(row.types) == 1


def test_lengths_without_room_are_refused():
    with pytest.raises(DataError, match=r"max_tokens is 18, .* set it to 20 or more"):
        PairFrontend(tiny_pair_tokenizer(), PairSettings(max_query_tokens=16, max_tokens=18))
    with pytest.raises(DataError, match=r"b/tokenizer\.json: not a tokenizer file"):
        PairFrontend.from_bytes(b"{}", SETTINGS, name="b/tokenizer.json")
