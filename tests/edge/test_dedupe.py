from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
from made_documents import WORDS
from tiny_bundle import write_tiny_bundle

from nearfar.edge.collections.collection import collect_texts
from nearfar.edge.collections.dedupe import find_duplicates
from nearfar.edge.collections.light_edits import edited_picture, edited_text
from nearfar.edge.collections.near_threshold import chance, threshold_for_texts
from nearfar.edge.collections.shingles import jaccard
from nearfar.edge.encoder import Encoder
from nearfar.sources.document import Document, ReadReport


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def at(degrees):
    return unit([(np.cos(np.radians(d)), np.sin(np.radians(d))) for d in degrees])


def plain(groups):
    return [(group.kept, [one.row for one in group.duplicates]) for group in groups]


class Made:
    """A source of documents in memory."""

    def __init__(self, texts):
        self.texts, self.report = texts, ReadReport()

    def documents(self):
        for number, text in enumerate(self.texts):
            yield Document(f"doc-{number}", text, location=f"made:{number}")


def test_near_pairs_are_grouped_and_the_first_is_kept():
    assert plain(find_duplicates(at([0, 90, 4, 91, 45]), 0.99)) == [(0, [2]), (1, [3])]


def test_a_chain_is_split_so_that_nothing_goes_that_is_not_near_what_stays():
    vectors = at([0, 6, 12, 18, 24])
    groups = find_duplicates(vectors, np.cos(np.radians(7)))
    assert plain(groups) == [(0, [1]), (2, [3])]
    for group in groups:
        for one in group.duplicates:
            assert vectors[group.kept] @ vectors[one.row] >= np.cos(np.radians(7))


def test_the_most_preferred_is_kept():
    assert plain(find_duplicates(at([0, 3, 5]), 0.99, preference=[1, 3, 2])) == [(1, [2, 0])]


def test_exact_copies_are_told_from_near_ones():
    digests = [b"a", b"b", b"a", b"c"]
    (group,) = find_duplicates(at([0, 3, 0, 80]), 0.99, digests=digests)
    assert group.kept == 0
    assert [(one.row, one.exact) for one in group.duplicates] == [(2, True), (1, False)]


def test_copies_follow_the_one_they_are_copies_of():
    # Row 3 is a copy of row 1, which goes in favour of row 0; so its copy is near, not exact.
    (group,) = find_duplicates(at([0, 3, 80, 3]), 0.99, digests=[b"a", b"b", b"c", b"b"])
    assert [(one.row, one.exact) for one in group.duplicates] == [(1, False), (3, False)]
    assert group.duplicates[1].cosine == pytest.approx(np.cos(np.radians(3)), abs=1e-6)


def test_what_is_not_confirmed_stays():
    groups = find_duplicates(at([0, 2, 4]), 0.99, confirm=lambda one, other: {one, other} != {0, 1})
    assert plain(groups) == [(0, [2])]


def test_blocks_find_what_all_pairs_at_once_find():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((6_000, 24)))
    copies = rng.choice(6_000, 500, replace=False)
    vectors = np.concatenate([vectors, unit(vectors[copies] + 0.02 * rng.standard_normal((500, 24)))])
    groups = find_duplicates(vectors.astype(np.float16), 0.97)
    cosines = vectors @ vectors.T
    expected = {(int(copy), 6_000 + place) for place, copy in enumerate(copies)}
    found = {(group.kept, one.row) for group in groups for one in group.duplicates}
    assert len(expected & found) > 490
    assert all(cosines[pair] > 0.965 for pair in found)


def test_many_equal_vectors_are_one_group():
    groups = find_duplicates(np.tile(at([10]), (3_000, 1)), 0.999)
    assert plain(groups) == [(0, list(range(1, 3_000)))]


def test_shapes_and_threshold_are_checked():
    with pytest.raises(ValueError, match="threshold"):
        find_duplicates(at([0]), 1.5)
    with pytest.raises(ValueError, match="as many"):
        find_duplicates(at([0, 1]), 0.9, digests=[b"a"])
    assert find_duplicates(np.empty((0, 4), dtype=np.float32), 0.9) == []


def test_jaccard_is_the_share_of_common_word_runs():
    assert jaccard("a b c d", "A b, c d!") == 1
    assert jaccard("a b c d", "a b c e") == pytest.approx(1 / 3)
    assert jaccard("one two", "three") == 0
    assert jaccard("", "") == 1
    assert jaccard("!?", "...") == 0


def test_an_edited_text_is_another_but_nearly_the_same():
    text = " ".join(random.Random(0).choices(WORDS, k=60))
    copy = edited_text(text, 0.05, 1)
    assert copy != text
    assert copy == edited_text(text, 0.05, 1)
    assert 0.5 < jaccard(text, copy) < 1
    assert jaccard(text, edited_text(text, 0.5, 1)) < jaccard(text, copy)
    assert edited_text("", 0.05, 1) == ""
    assert edited_text("a", 1.0, 3)


def test_an_edited_picture_stays_a_picture():
    pixels = np.random.default_rng(0).random((100, 80, 3), dtype=np.float32)
    copy = edited_picture(pixels, 5)
    assert copy.dtype == np.float32
    assert copy.min() >= 0
    assert copy.max() <= 1
    assert 95 <= copy.shape[0] <= 100


def test_the_threshold_of_edited_copies_finds_planted_duplicates_and_no_others(tmp_path):
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=40)) for _ in range(400)]
    planted = rng.sample(range(400), 60)
    for number in planted:
        words = texts[number].split()
        words[rng.randrange(40)] = rng.choice(WORDS)
        texts.append(" ".join(words))
    encoder = Encoder.open(write_tiny_bundle(tmp_path / "bundle", dim=64, texts=texts))
    with collect_texts(Made(texts), encoder) as collection:
        found = threshold_for_texts(collection, encoder)
        assert 0.8 < found.cosine < 1
        assert 0.2 < found.overlap < 1
        assert found.found > 0.85
        assert found.chance == chance(collection.vectors, found.cosine)
        assert not found.unsure(len(collection))

        def confirm(one, other):
            return jaccard(collection.entry(one).content, collection.entry(other).content) >= found.overlap

        groups = find_duplicates(collection.vectors, found.cosine, digests=collection.digests, confirm=confirm)
    pairs = {(group.kept, one.row) for group in groups for one in group.duplicates}
    expected = {(number, 400 + place) for place, number in enumerate(planted)}
    assert len(pairs & expected) >= 54
    assert pairs <= expected


def test_a_collection_is_read_back_as_it_was(tmp_path):
    texts = ["plain", "line\nbreak and ünïcode", "plain", "\ud800 half a pair"]
    encoder = Encoder.open(write_tiny_bundle(tmp_path / "bundle"))
    with collect_texts(Made(texts), encoder) as collection:
        assert [entry.text for entry in collection] == texts
        assert [entry.id for entry in collection] == [f"doc-{n}" for n in range(4)]
        assert collection.digests[0] == collection.digests[2] == hashlib.blake2b(b"plain", digest_size=16).digest()
        assert collection.vectors.shape == (4, 32)
        np.testing.assert_allclose(collection.vectors, encoder.embed(texts), atol=1e-3)
