"""The terms of distillation against their formulas, and that neither chunks nor ranks nor queues change what they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_batches import made_batch
from made_teacher import (
    BOTH,
    COLUMNS,
    made_pair_corpus,
    opens,
    prepared,
    taught_recipe,
    texts_of,
    write_notes,
    write_teacher,
)
from torch import Tensor

from nearfar.edge.encoder import Encoder
from nearfar.edge.teacher import BySide
from nearfar.errors import RunError
from nearfar.evaluate import RetrievalTask, rank_dense
from nearfar.evaluate.metrics import ndcg_at
from nearfar.learn.data.batches import PairBatch, Share
from nearfar.learn.encoders import build_encoder
from nearfar.learn.losses.similarities import similarity_divergence
from nearfar.learn.methods.distil import Distil
from nearfar.learn.methods.dual_encoder import DualEncoder
from nearfar.learn.negatives.ranks import gathered
from nearfar.learn.run import train_run
from nearfar.learn.teacher_memory import TeacherMemory
from nearfar.learn.teaching import Taught
from nearfar.learn.trainer.caching import embed_by_chunks
from nearfar.recipe.distil import Distil as Settings
from nearfar.recipe.pair_method import Temperature
from nearfar.recipe.text import StaticEncoder, TextFrontendSettings, TransformerEncoder

CPU = torch.device("cpu")
DOCUMENTS, WIDE, NARROW, VOCABULARY, TEMPERATURE = 24, 16, 8, 50, 0.3
# As many queries as a made batch has rows; some have several documents.
QUERIES = [[3, 8, 21], [4], [5, 6], [7], [8, 9], [10]]
SPANS = range(9, DOCUMENTS)
TERMS = ("corpus", "embedding", "similarity", "contrastive", "pairs")
ALL = dict(zip(TERMS, (0.7, 1.3, 0.4, 0.9, 1.1), strict=True))


def made_memory(*, axes: bool = False, limit: int = 1000, near: dict[int, list[int]] | None = None) -> TeacherMemory:
    rng = np.random.default_rng(0)
    table = np.full((DOCUMENTS, 2), -1, np.int64)
    for number, others in (near or {}).items():
        table[number, : len(others)] = others
    turned = np.linalg.qr(rng.standard_normal((WIDE, NARROW)))[0].astype(np.float32) if axes else None
    vectors = rng.standard_normal((DOCUMENTS, WIDE)).astype(np.float16)
    taught = Taught(vectors, table, turned, None, "teacher", "0" * 64, asymmetric=True)
    return TeacherMemory(taught, made_pair_corpus(QUERIES, SPANS, DOCUMENTS), limit=limit)


def made_method(memory: TeacherMemory, *, dim: int = WIDE, kind: str = "static", **settings: Any) -> Distil:
    torch.manual_seed(0)
    encoder = (
        StaticEncoder(kind="static", dim=dim)
        if kind == "static"
        else TransformerEncoder(kind="transformer", dim=dim, heads=2, layers=1, feedforward=32, dropout=0.2)
    )
    tower = build_encoder(encoder, TextFrontendSettings(), vocab_size=VOCABULARY, pad_id=0)
    chosen = Settings(kind="distil", temperature=Temperature(initial=TEMPERATURE, learned=True), **settings)
    return Distil(tower, chosen, memory=memory).double()


def batch_of(negatives: int = 0) -> PairBatch:
    """Queries 0 to 5 with one of their documents each, and some explicit negatives."""
    made = made_batch(len(QUERIES), negatives)
    documents = torch.tensor([own[row % len(own)] for row, own in enumerate(QUERIES)])
    rng = np.random.default_rng(3)
    others = torch.from_numpy(rng.choice(np.arange(11, DOCUMENTS), negatives, replace=False))
    return made._replace(
        query_ids=torch.arange(len(QUERIES)),
        document_ids=torch.cat([documents, others]),
        positive_ids=documents.unsqueeze(1),
        rows=torch.arange(len(QUERIES)),
    )


def gradients(method: Distil) -> dict[str, Tensor]:
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None}


def naive(
    queries: Tensor, vectors: Tensor, documents: Sequence[int], ids: Sequence[int], ignored: list[set[int]]
) -> Tensor:
    """Cross-entropy with a softmax that is written out, over all candidates but what is ignored."""
    losses = []
    for query, document, not_counted in zip(queries, documents, ignored, strict=True):
        counted = [place for place, number in enumerate(ids) if number == document or number not in not_counted]
        logits = F.cosine_similarity(query.unsqueeze(0), vectors[counted]) / TEMPERATURE
        own = [ids[place] for place in counted].index(document)
        losses.append(-(logits[own] - torch.logsumexp(logits, 0)))
    return torch.stack(losses).mean()


# --- each term ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [False, True])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_corpus_is_cross_entropy_over_all_documents_but_near_duplicates_and_other_positives(
    axes: bool, asymmetric: bool
) -> None:
    memory = made_memory(axes=axes, near={3: [11], 10: [12, 13], 4: [3]})
    more = {} if asymmetric else {"pairs": 1e-9}
    method = made_method(memory, dim=NARROW if axes else WIDE, **more)
    embedded = method.embed(batch_of(negatives=2))
    queries = embedded.queries.detach().requires_grad_()
    loss = method.loss(embedded._replace(queries=queries))
    loss.backward()
    ids = [3, 4, 5, 6, 7, 8, *SPANS]
    ids = sorted(set(ids))
    documents = batch_of().document_ids.tolist()
    near = {3: {11}, 10: {12, 13}, 4: {3}}
    ignored = [set(own) | near.get(document, set()) for own, document in zip(QUERIES, documents, strict=True)]
    again = embedded.queries.detach().requires_grad_()
    expected = naive(again, memory.projected(torch.tensor(ids)).double(), documents, ids, ignored)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(queries.grad, again.grad, rtol=1e-5, atol=1e-7)


def test_corpus_above_the_limit_is_over_what_was_drawn() -> None:
    memory = made_memory(limit=12)
    method = made_method(memory)
    embedded = method.embed(batch_of())
    found = memory.candidates(embedded.document_ids)
    assert len(found.ids) <= 12
    ignored = [set(own) for own in QUERIES]
    expected = naive(
        embedded.queries, found.vectors.double(), embedded.document_ids.tolist(), found.ids.tolist(), ignored
    )
    torch.testing.assert_close(method.loss(embedded), expected, rtol=1e-6, atol=1e-7)


def test_a_span_has_no_row_and_only_its_document() -> None:
    method = made_method(made_memory())
    spans = batch_of()._replace(rows=torch.full((len(QUERIES),), -1))
    own = [{document} for document in spans.document_ids.tolist()]
    embedded = method.embed(spans)
    ids = sorted({3, 4, 5, 6, 7, 8, *SPANS})
    expected = naive(
        embedded.queries, made_memory().rows(torch.tensor(ids)).double(), spans.document_ids.tolist(), ids, own
    )
    torch.testing.assert_close(method.loss(embedded), expected, rtol=1e-6, atol=1e-7)
    assert expected.item() != pytest.approx(method.loss(method.embed(batch_of())).item(), rel=1e-4)


@pytest.mark.parametrize("axes", [False, True])
def test_the_terms_over_documents_are_their_formulas(axes: bool) -> None:
    memory = made_memory(axes=axes, near={3: [8], 8: [3]})
    dim = NARROW if axes else WIDE
    batch = batch_of()
    batch = batch._replace(document_ids=batch.document_ids.clone().index_fill_(0, torch.tensor([4]), 8))
    targets = memory.projected(batch.document_ids).double()

    def loss(**settings: float) -> tuple[Tensor, Tensor]:
        method = made_method(memory, dim=dim, **({"corpus": 0.0} | settings))
        embedded = method.embed(batch)
        return method.loss(embedded), embedded.documents

    found, documents = loss(embedding=1)
    torch.testing.assert_close(found, (1 - F.cosine_similarity(documents, targets)).mean())
    found, documents = loss(similarity=1)
    expected = similarity_divergence(documents, memory.rows(batch.document_ids), temperature=0.05)
    torch.testing.assert_close(found, expected)
    found, documents = loss(contrastive=1)
    numbers = batch.document_ids.tolist()
    skipped = [
        {place for place, other in enumerate(numbers) if other == number or {other, number} == {3, 8}}
        for number in numbers
    ]
    places = list(range(len(numbers)))
    there = naive(documents, targets, places, places, skipped)
    back = naive(targets, documents, places, places, skipped)
    torch.testing.assert_close(found, (there + back) / 2, rtol=1e-6, atol=1e-7)


def test_pairs_is_the_loss_of_a_dual_encoder_with_its_prefixes() -> None:
    memory, batch = made_memory(), batch_of(negatives=3)
    method = made_method(memory, corpus=0.0, pairs=2.0, matryoshka=(8,))
    embedded = method.embed(batch)
    plain = DualEncoder(method.query_tower, method.query_tower, method.settings).double()
    torch.testing.assert_close(method.loss(embedded), 2 * plain.loss(plain.embed(batch)))
    assert method.dims == [16, 8]
    near = made_method(made_memory(near={3: [4]}), corpus=0.0, pairs=2.0, matryoshka=(8,))
    assert float(near.loss(near.embed(batch))) < float(method.loss(embedded)), "a near-duplicate is no negative"


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    memory, batch = made_memory(near={3: [4]}), batch_of(negatives=2)

    def loss(**settings: float) -> float:
        method = made_method(memory, **({"corpus": 0.0} | settings))
        return float(method.loss(method.embed(batch)))

    alone = {name: loss(**{name: 1.0}) for name in TERMS}
    assert all(value > 0 for value in alone.values())
    assert loss(**ALL) == pytest.approx(sum(ALL[name] * alone[name] for name in TERMS), rel=1e-6)


def test_only_queries_go_through_the_encoder_of_an_asymmetric_one() -> None:
    method = made_method(made_memory())
    seen: list[int] = []
    method.query_tower.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    embedded = method.embed(batch_of(negatives=2))
    assert seen == [len(QUERIES)]
    assert not embedded.documents.requires_grad
    assert (len(embedded.documents), len(embedded.negatives)) == (len(QUERIES), 2)
    method.loss(embedded).backward()
    assert float(method.log_temperature.grad) != 0


def test_one_item_in_the_batch_is_no_trouble() -> None:
    method = made_method(made_memory(), **ALL)
    one = next(iter(batch_of().split(1)))
    loss = method.loss(method.embed(one))
    loss.backward()
    assert bool(torch.isfinite(loss))


# --- chunks and ranks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["static", "transformer"])
@pytest.mark.parametrize("settings", [{"corpus": 1.0}, ALL], ids=["asymmetric", "all"])
def test_chunks_give_the_gradient_of_the_whole(kind: str, settings: dict[str, float]) -> None:
    memory, batch = made_memory(near={3: [4]}), batch_of(negatives=3)
    whole = made_method(memory, kind=kind, **settings).eval()
    parts = copy.deepcopy(whole)
    whole.loss(whole.embed(batch)).backward()
    cached = embed_by_chunks(parts.embed, batch.split(4), CPU)
    parts.loss(gathered(cached.embedded)).backward()
    cached.backward(nullcontext)
    expected, found = gradients(whole), gradients(parts)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-10)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_notes(tmp_path_factory.mktemp("notes") / "notes.jsonl")


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("teacher") / "b", texts_of(data)).path


EVERY_TERM = "method={kind: distil, corpus: 1, embedding: 1, similarity: 1, contrastive: 1, pairs: 1}"


def weights(directory: Path) -> dict[str, Tensor]:
    state = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return dict(state)


@pytest.mark.recipe
@pytest.mark.parametrize(
    "overrides",
    [(), ("method.candidates=30", COLUMNS), (EVERY_TERM, BOTH, "negatives.queue={size: 40, start: 0.2}")],
    ids=["asymmetric", "drawn", "all"],
)
def test_chunks_and_two_processes_end_where_one_does(
    data: Path, teacher: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    schedule = ("train.batch_size=15", "train.gradient_clip=0.5", "train.epochs=2")
    for name, more in (
        ("one", ()),
        ("chunks", ("train.chunk=4",)),
        ("ranks", ("train.devices=2", "train.chunk=4")),
    ):
        train_run(taught_recipe(data, teacher, *schedule, *overrides, *more), tmp_path / name, teacher=opens(teacher))
    expected = weights(tmp_path / "one")
    for name in ("chunks", "ranks"):
        for key, value in weights(tmp_path / name).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=2e-5)


# --- whole runs --------------------------------------------------------------------------------------------------------


def ndcg(run: Any, data: Path, teacher: Path) -> tuple[float, float]:
    """nDCG@10 of the student's queries among the teacher's documents, and of the teacher alone: queries are words of a text."""
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    words = [" ".join(row["text"].split()[2:8]) for row in rows]
    task = RetrievalTask(words, [row["text"] for row in rows], [{place: 1.0} for place in range(len(rows))])
    theirs = Encoder.open(teacher)
    return tuple(  # type: ignore[return-value]
        float(ndcg_at(rank_dense(embedder, task, 10), task.qrels, 10).mean())
        for embedder in (BySide(run.embedder(), theirs), theirs)
    )


@pytest.mark.parametrize("start", ["teacher", "random"])
def test_queries_learn_to_find_the_teachers_documents(data: Path, teacher: Path, tmp_path: Path, start: str) -> None:
    recipe = taught_recipe(data, teacher, f"encoder.start={start}", "train.epochs=20", "train.learning_rate=0.02")
    run = train_run(recipe, tmp_path / "run", teacher=opens(teacher))
    student, alone = ndcg(run, data, teacher)
    assert alone > 0.6
    assert student > 0.9 * alone


NEGATIVES = {
    "queue": "negatives={queue: {size: 40, start: 0.2}}",
    "momentum": "negatives={queue: {size: 40, start: 0.2, momentum: 0.9}}",
    "bank": "negatives={bank: {sample: 30, start: 0.1}}",
    "mined": "negatives={mined: {start: 0.2, every: 4, depth: 20, keep: 4, per_query: 2, margin: null}}",
}


@pytest.mark.parametrize("source", sorted(NEGATIVES))
@pytest.mark.parametrize("towers", ["static", "transformer"])
def test_the_term_pairs_has_the_negatives_of_the_recipe(
    data: Path, teacher: Path, tmp_path: Path, source: str, towers: str
) -> None:
    block = "method={kind: distil, corpus: 0.5, embedding: 1, pairs: 1, matryoshka: [8]}"
    student = (
        "encoder={kind: transformer, dim: 32, heads: 2, layers: 1, feedforward: 32}"
        if towers == "transformer"
        else "encoder={kind: static, dim: 32, start: teacher}"
    )
    recipe = taught_recipe(data, teacher, BOTH, block, student, NEGATIVES[source], "train.epochs=2")
    run = train_run(recipe, tmp_path / "run", teacher=opens(teacher))
    without = taught_recipe(data, teacher, BOTH, block, student, "train.epochs=2")
    plain = train_run(without, tmp_path / "plain", teacher=opens(teacher))
    texts = texts_of(data)[:20]
    assert np.isfinite(run.embedder().embed(texts)).all()
    assert not np.array_equal(run.embedder().embed(texts), plain.embedder().embed(texts)), "or nothing came of them"
    assert run.embedder(dim=8).embed(texts).shape == (20, 8)


def test_prompts_of_the_student_and_of_the_teacher_are_their_own(data: Path, teacher: Path, tmp_path: Path) -> None:
    prompts = "frontend.prompts={query: 'badoki ', document: 'lumeno '}"
    found = prepared(taught_recipe(data, teacher, prompts), tmp_path / "prompted")
    plain = prepared(taught_recipe(data, teacher), tmp_path / "plain")
    assert found.taught is not None
    assert plain.taught is not None
    np.testing.assert_array_equal(found.taught.vectors, plain.taught.vectors)
    settings = found.frontend.settings
    assert (settings.query_prompt, settings.document_prompt) == ("badoki ", "lumeno ")
    recipe = taught_recipe(data, teacher, prompts)
    workload = found.workload(recipe, threads=1, say=lambda _: None)
    batch = workload.rows[Share(0, np.arange(4))]
    before = found.frontend.frame("query")[0]
    assert len(before) > 0
    for part in batch.queries.split([1, 2, 3]):
        assert part.ids[: len(before)].tolist() == before.tolist()


def test_spans_are_drawn_from_held_out_documents_but_held_out_queries_stay_unseen(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    found = prepared(taught_recipe(data, teacher, BOTH), tmp_path)
    corpus = found.corpus
    held_out = corpus.queries_of(1).tolist() + corpus.queries_of(2).tolist()
    assert held_out
    rows = found.workload(taught_recipe(data, teacher, BOTH), threads=1, say=lambda _: None).rows
    assert not set(held_out) & set(rows.train_queries.tolist())  # type: ignore[attr-defined]
    for query in held_out:
        assert set(corpus.positives_of(query).tolist()) <= set(corpus.span_documents.tolist())
    assert len(np.unique(corpus.span_component)) == len(np.unique(corpus.span_documents))
    symmetric = prepared(taught_recipe(data, teacher, BOTH, EVERY_TERM), tmp_path / "symmetric").corpus
    known = set(symmetric.training_documents().tolist())
    for query in symmetric.queries_of(1).tolist():
        assert not set(symmetric.positives_of(query).tolist()) & known


def test_a_run_with_validation_measures_queries_against_the_teacher(data: Path, teacher: Path, tmp_path: Path) -> None:
    stop = ("train.early_stop={patience: 3}", "train.validate_every=5", "train.epochs=6")
    train_run(taught_recipe(data, teacher, BOTH, *stop), tmp_path / "run", teacher=opens(teacher))
    told = json.loads((tmp_path / "run" / "fit.json").read_text("utf-8"))
    assert told["best_value"] > 0.4


def test_what_a_teacher_has_said_is_kept_in_the_run_and_without_one_it_is_said_what_is_missing(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    recipe = taught_recipe(data, teacher)
    run = train_run(recipe, tmp_path / "run", teacher=opens(teacher))
    assert run.prepared.taught is not None  # type: ignore[union-attr]
    with pytest.raises(RunError, match="has not been asked"):
        train_run(recipe, tmp_path / "other")
