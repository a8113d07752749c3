"""Batches: a pure function of seed and step, shared out among ranks; every row comes up; spans are cut as the recipe says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.frontend import TextFrontend
from nearfar.learn.data.batches import PairBatch, PairDataset, Share, StepSampler, Tokens
from nearfar.learn.data.corpus import PairCorpus, prepare_corpus
from nearfar.learn.data.textfile import TokenFile
from nearfar.recipe.data import Data, SpansPairing

# --- the sampler -----------------------------------------------------------------------------------------------------

ROWS, BATCH, SEED = st.integers(2, 60), st.integers(2, 70), st.integers(0, 5)


def steps(rows: int, batch: int, total: int, **rest: Any) -> list[tuple[int, int, list[int]]]:
    return [(share.step, share.rank, share.own.tolist()) for share in StepSampler(rows, batch, total, **rest)]


@given(ROWS, BATCH, SEED)
def test_no_row_comes_twice_in_an_epoch_and_less_than_a_batch_is_left_out(rows: int, batch: int, seed: int) -> None:
    per_epoch = StepSampler(rows, batch, 1, seed=seed).steps_per_epoch
    epochs = [steps(rows, batch, 3 * per_epoch, seed=seed)[e * per_epoch : (e + 1) * per_epoch] for e in range(3)]
    for epoch in epochs:
        seen = [row for _, _, taken in epoch for row in taken]
        assert len(seen) == len(set(seen)) == rows - rows % min(batch, rows)
        assert set(seen) <= set(range(rows))
    if rows > 20:
        assert epochs[0][0][2] != epochs[1][0][2]


@given(ROWS, BATCH, SEED, st.integers(0, 40))
def test_a_start_in_mid_epoch_is_the_tail_of_the_whole(rows: int, batch: int, seed: int, start: int) -> None:
    whole = steps(rows, batch, 40, seed=seed)
    assert steps(rows, batch, 40, seed=seed, start=start) == whole[start:]
    assert [step for step, _, _ in whole] == list(range(40))
    assert len(StepSampler(rows, batch, 40, seed=seed, start=start)) == 40


@given(ROWS, BATCH, SEED, st.integers(1, 5))
def test_ranks_share_out_the_batch_of_one(rows: int, batch: int, seed: int, world: int) -> None:
    alone = steps(rows, batch, 7, seed=seed)
    ranks = [steps(rows, batch, 7, seed=seed, rank=rank, world=world) for rank in range(world)]
    for number, (step, _, whole) in enumerate(alone):
        parts = [own[number] for own in ranks]
        assert [(s, r) for s, r, _ in parts] == [(step, rank) for rank in range(world)]
        assert sorted(row for _, _, taken in parts for row in taken) == sorted(whole)
        sizes = [len(taken) for _, _, taken in parts]
        assert max(sizes) - min(sizes) <= 1


def test_the_seed_counts() -> None:
    assert steps(50, 10, 5, seed=0) != steps(50, 10, 5, seed=1)


# --- the dataset -----------------------------------------------------------------------------------------------------


def dataset_of(
    folder: Path,
    rows: list[dict[str, Any]],
    *,
    keep: float = 0.0,
    spans: bool = False,
    columns: bool = True,
    special: bool = False,
    prompts: tuple[str, str] = ("", ""),
    max_query_tokens: int = 16,
) -> tuple[PairDataset, TextFrontend, PairCorpus]:
    """A dataset over made rows; every word is one token."""
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    settings = SpansPairing(kind="spans", min_tokens=2, max_tokens=5, keep=keep)
    pairings: list[Any] = [settings] if spans else []
    if columns:
        negative = "negative" if any("negative" in row for row in rows) else None
        pairings.append({"kind": "columns", "negative": negative})
    data = Data.model_validate(
        {
            "source": {"kind": "jsonl", "path": folder / "rows.jsonl"},
            "pairings": pairings,
            "split": {"validation": 0.0, "test": 0.0},
        }
    )
    corpus = prepare_corpus(data, folder / "data", seed=0)
    frontend = TextFrontend.train(
        [*prompts, *corpus.training_texts()] * 3,
        vocab_size=4_000,
        add_special=special,
        max_query_tokens=max_query_tokens,
        max_document_tokens=64,
        query_prompt=prompts[0],
        document_prompt=prompts[1],
    )

    def tokens(name: str, texts: Any) -> TokenFile:
        side: Any = "query" if name == "queries" else "document"
        return TokenFile.write(folder / name, frontend.encode([corpus.texts[int(t)] for t in texts], side))

    dataset = PairDataset.of(
        corpus,
        tokens("queries", corpus.query_texts),
        tokens("documents", corpus.document_texts),
        spans=settings if spans else None,
        max_query_tokens=max_query_tokens,
        seed=0,
        empty_token=frontend.pad_id,
        query_frame=frontend.frame("query"),
        document_frame=frontend.frame("document"),
    )
    return dataset, frontend, corpus


def texts_of(tokens: Tokens) -> list[list[int]]:
    ends = tokens.lengths.cumsum(0).tolist()
    return [tokens.ids[end - length : end].tolist() for end, length in zip(ends, tokens.lengths.tolist(), strict=True)]


def batch_of(dataset: PairDataset, *, step: int = 0, rank: int = 0, world: int = 1, rows: Any = None) -> PairBatch:
    return dataset[Share(step, np.arange(len(dataset)) if rows is None else np.asarray(rows), rank, world)]


def made_rows(count: int, length: int = 30) -> list[dict[str, Any]]:
    """Documents of distinct words, so that a span can be told from its rest."""
    return [
        {"text": " ".join(f"{chr(97 + i // 26)}{chr(97 + i % 26)}x{j}" for j in range(length))} for i in range(count)
    ]


def test_a_batch_holds_queries_with_one_of_their_positives_each(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"query": "ant", "positive": ["bee", "cow"], "negative": ["dog", "elk"]},
        {"query": "fox", "positive": "bee"},
        {"query": "gnu", "positive": ["hen"], "negative": "bee"},
        {"query": "ant", "positive": "ibex"},
    ]
    dataset, frontend, corpus = dataset_of(tmp_path, rows)
    assert len(dataset) == 3
    word = {
        name: int(frontend.encode([name], "document")[0][0])
        for name in ["ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen", "ibex"]
    }
    number = {corpus.document(i): i for i in range(len(corpus.document_texts))}
    positives = {"ant": {"bee", "cow", "ibex"}, "fox": {"bee"}, "gnu": {"hen"}}
    drawn: dict[str, set[str]] = {}
    negatives: set[int] = set()
    for step in range(40):
        batch = batch_of(dataset, step=step)
        assert texts_of(batch.queries) == [[word["ant"]], [word["fox"]], [word["gnu"]]]
        assert len(batch.negatives.lengths) == 2  # one each for ant and gnu
        names = [next(n for n, w in word.items() if [w] == text) for text in texts_of(batch.documents)]
        for query, name in zip(("ant", "fox", "gnu"), names, strict=True):
            drawn.setdefault(query, set()).add(name)
        others = [next(n for n, w in word.items() if [w] == text) for text in texts_of(batch.negatives)]
        negatives |= {number[name] for name in others}
        assert batch.document_ids.tolist() == [number[name] for name in [*names, *others]]
        # What is positive to a query and in this batch is known by its number, whosever row it is in.
        for query, held in zip(("ant", "fox", "gnu"), batch.positive_ids.tolist(), strict=True):
            assert set(held) - {-1} == {number[n] for n in positives[query]} & set(batch.document_ids.tolist())
    assert drawn == positives
    assert negatives == {number[name] for name in ("dog", "elk", "bee")}


def test_queries_that_hang_together_have_one_number(tmp_path: Path) -> None:
    rows = [{"query": "a1", "positive": "p"}, {"query": "a2", "positive": "p"}, {"query": "b", "positive": "q"}]
    dataset, _, _ = dataset_of(tmp_path, rows)
    ids = batch_of(dataset).query_ids.tolist()
    assert ids[0] == ids[1] != ids[2]


def test_a_batch_depends_on_the_step_and_nothing_else(tmp_path: Path) -> None:
    dataset, _, _ = dataset_of(tmp_path, made_rows(6), spans=True, columns=False)

    def read(step: int) -> list[list[list[int]]]:
        batch = batch_of(dataset, step=step)
        return [texts_of(batch.queries), texts_of(batch.documents)]

    first = read(3)
    assert read(4) != first
    assert read(3) == first


def mixed_rows(count: int) -> list[dict[str, Any]]:
    """Queries with up to three positives of few, some with negatives; and documents to draw spans from."""
    return [
        {
            **row,
            "query": f"query{i}",
            "positive": [f"positive{(i * j) % 7}" for j in range(1, 2 + i % 3)],
            "negative": [f"positive{(i + 3) % 7}", f"negative{i}"] if i % 2 else [],
        }
        for i, row in enumerate(made_rows(count))
    ]


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_together_hold_the_batch_of_one(tmp_path: Path, world: int) -> None:
    """The same draws, and each rank knows which documents of the others are positive to its queries."""
    dataset, _, _ = dataset_of(tmp_path, mixed_rows(11), spans=True)

    def held(batch: PairBatch) -> list[tuple[Any, ...]]:
        own = batch.document_ids[: len(batch.query_ids)]
        columns = (batch.query_ids, own, batch.rows)
        positives = [tuple(sorted(set(row) - {-1})) for row in batch.positive_ids.tolist()]
        numbers = zip(*(column.tolist() for column in columns), positives, strict=True)
        texts = zip(texts_of(batch.queries), texts_of(batch.documents), strict=True)
        return sorted((*number, *text) for number, text in zip(numbers, texts, strict=True))

    def negatives(batch: PairBatch) -> list[tuple[int, list[int]]]:
        return sorted(zip(batch.document_ids[len(batch.query_ids) :].tolist(), texts_of(batch.negatives), strict=True))

    for step in range(5):
        whole = batch_of(dataset, step=step)
        shares = [batch_of(dataset, step=step, rank=rank, world=world) for rank in range(world)]
        assert sorted(item for share in shares for item in held(share)) == held(whole)
        assert sorted(item for share in shares for item in negatives(share)) == negatives(whole)
        assert len(negatives(whole)) == 5
        assert max(len(row) for row in whole.positive_ids.tolist()) > 1


def test_every_row_names_its_query(tmp_path: Path) -> None:
    dataset, frontend, corpus = dataset_of(tmp_path, mixed_rows(6), spans=True)
    batch = batch_of(dataset, step=1)
    assert batch.rows.dtype == torch.int64
    assert (batch.rows == -1).sum() == 6
    for row, text in zip(batch.rows.tolist(), texts_of(batch.queries), strict=True):
        if row >= 0:
            assert text == frontend.encode([corpus.query(row)], "query")[0].tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 21, 22, 100])
def test_parts_of_a_batch_are_the_batch(tmp_path: Path, size: int) -> None:
    dataset, _, _ = dataset_of(tmp_path, mixed_rows(11), spans=True)
    batch = batch_of(dataset)
    parts = batch.split(size)
    n, sizes = len(batch.query_ids), [len(part.query_ids) for part in parts]
    assert (n, sum(sizes), len(parts)) == (22, 22, math.ceil(22 / size))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    for name in ("queries", "documents", "negatives"):
        texts = [text for part in parts for text in texts_of(getattr(part, name))]
        assert texts == texts_of(getattr(batch, name))
    for name in ("query_ids", "positive_ids", "rows"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    for own in (True, False):
        ids = [part.document_ids[:k] if own else part.document_ids[k:] for part, k in zip(parts, sizes, strict=True)]
        assert torch.equal(torch.cat(ids), batch.document_ids[:n] if own else batch.document_ids[n:])
    for part, k in zip(parts, sizes, strict=True):
        assert len(part.document_ids) - k == len(part.negatives.lengths)


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("special", "prompts"), [(False, ("", "")), (True, ("", "")), (True, ("find this", "passage"))]
)
def test_a_span_is_cut_out_or_kept(tmp_path: Path, keep: float, special: bool, prompts: tuple[str, str]) -> None:
    """And it looks like any other query: what the frontend puts around a text is around it, and not inside."""
    rows = made_rows(8)
    dataset, frontend, corpus = dataset_of(
        tmp_path, rows, spans=True, columns=False, keep=keep, special=special, prompts=prompts
    )
    before, after = (part.tolist() for part in frontend.frame("query"))
    assert len(before) == special + len(prompts[0].split())
    kept, lengths = [], set()
    for step in range(30):
        batch = batch_of(dataset, step=step)
        assert batch.positive_ids.squeeze(1).tolist() == batch.document_ids.tolist()
        assert len(set(batch.query_ids.tolist())) == len(rows)
        for query, rest, number in zip(
            texts_of(batch.queries), texts_of(batch.documents), batch.document_ids.tolist(), strict=True
        ):
            assert query[: len(before)] == before
            assert query[len(query) - len(after) :] == after
            span = query[len(before) : len(query) - len(after)]
            lengths.add(len(span))
            whole = frontend.encode([corpus.document(number)], "document")[0].tolist()
            frame = [part.tolist() for part in frontend.frame("document")]
            body = whole[len(frame[0]) : len(whole) - len(frame[1])]
            places = [i for i in range(len(body)) if body[i : i + len(span)] == span]
            assert len(places) == 1
            if rest == whole:
                kept.append(True)
            else:
                kept.append(False)
                assert rest == [*frame[0], *body[: places[0]], *body[places[0] + len(span) :], *frame[1]]
    assert lengths == {2, 3, 4, 5}
    assert np.mean(kept) == pytest.approx(keep, abs=0.12)


def test_a_span_fits_the_longest_query_and_a_tiny_document(tmp_path: Path) -> None:
    rows = [*made_rows(3), {"text": "aa bb cc dd"}]
    dataset, _, _ = dataset_of(
        tmp_path, rows, spans=True, columns=False, special=True, prompts=("find", ""), max_query_tokens=5
    )
    for step in range(20):
        batch = batch_of(dataset, step=step)
        assert batch.queries.lengths.max() <= 5
        assert batch.queries.lengths.min() == 5  # two tokens of the span, three around it
        assert batch.documents.lengths.min() >= 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"query": "only", "positive": "pair"}], "only 1 training pairs"),
        ([{"query": "one", "positive": "pair"}] * 5, "only 1 training pairs"),
        ([{"query": f"q{i}", "positive": "same"} for i in range(5)], "all 5 training pairs have the same document"),
    ],
)
def test_nothing_to_tell_apart_is_an_error(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset_of(tmp_path, rows)


def test_one_document_for_all_will_do_where_negatives_are_given(tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "positive": "same", "negative": "other"} for i in range(3)]
    dataset, _, _ = dataset_of(tmp_path, rows)
    assert len(dataset) == 3


def test_a_text_without_tokens_gets_one() -> None:
    tokens = Tokens.of([np.zeros(0, np.int32), np.array([5, 6], np.int32)], empty=9)
    assert texts_of(tokens) == [[9], [5, 6]]
    assert texts_of(Tokens.of([], empty=9)) == []
