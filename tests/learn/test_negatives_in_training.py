"""Queue, bank and mining in a training run: what a step has from them, and that neither a restart nor a split changes it."""

from __future__ import annotations

import csv
import json
import signal
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from interruption import interrupt_at
from made_corpus import made_recipe, write_pairs
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from nearfar.cli.console import ProgressLines
from nearfar.errors import InterruptedRunError, RunError
from nearfar.learn.data.batches import PairBatch, PairDataset, Share, StepSampler, Tokens
from nearfar.learn.data.split import TRAIN
from nearfar.learn.methods.dual_encoder import DualEncoder, Embedded
from nearfar.learn.model import build_method
from nearfar.learn.negatives import MinedNegatives, Source
from nearfar.learn.pairs import PreparedPairs
from nearfar.learn.run import train_run
from nearfar.learn.trainer.fit import planned_steps
from nearfar.learn.trainer.negatives import PairNegatives, for_loss
from nearfar.learn.trainer.validation import PairRetrieval
from nearfar.progress import Tick, silent
from nearfar.recipe import Recipe
from nearfar.recipe.data import SpansPairing

BATCH = 16
SCHEDULE = (f"train.batch_size={BATCH}", "train.epochs=4", "train.early_stop=null")
SAVES = ("train.validate_every=5", "train.checkpoint_every=3")
QUEUE = "queue: {size: 40, start: 0.2}"
MOMENTUM = "queue: {size: 40, start: 0.2, momentum: 0.9}"
BANK = "bank: {sample: 30, start: 0.1}"
# Without a margin: a model that has hardly learned has nothing that is far enough from its positives.
MINED = "mined: {start: 0.2, every: 4, depth: 20, keep: 4, per_query: 2, margin: null}"
DROPOUT = "{kind: transformer, dim: 16, heads: 2, layers: 1, feedforward: 32, dropout: 0.2}"


def block(*parts: str) -> str:
    """The negatives block as an override."""
    return f"negatives={{{', '.join(parts)}}}"


def write_mixed(path: Path, pairs: int = 120) -> Path:
    """Pairs of which some have two positives, some share one, some have a negative; and texts to cut spans from."""
    rows = [json.loads(line) for line in write_pairs(path, pairs, topics=40).read_text("utf-8").splitlines()]
    own = [row["positive"] for row in rows]
    for number, row in enumerate(rows):
        row["negative"] = [own[number - 7]] if number % 3 == 0 else []
        again = [f"{own[number]} again"] if number % 2 else []
        # Every sixth and its neighbour hang together.
        row["positive"] = [own[number], *again, *([f"both of {number // 6}"] if number % 6 < 2 else [])]
        row["text"] = " ".join(f"{word}y" for word in own[number].split()[:8])
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


WITH_NEGATIVES = "data.pairings=[{kind: columns, negative: negative}]"
WITH_SPANS = "data.pairings=[{kind: columns, negative: negative}, {kind: spans}]"


def checkpoint(directory: Path, name: str = "last") -> dict[str, Tensor]:
    """Weights, what is remembered, and the state of the optimiser."""
    held = torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)
    state: dict[str, Tensor] = dict(held["state_dict"])
    for number, moments in held["optimizer_states"][0]["state"].items():
        state.update({f"{number}.{moment}": value for moment, value in moments.items()})
    return state


def differing(run: Path, other: Path, name: str = "last") -> list[str]:
    """The parts of the state that are not the same bits."""
    found, expected = checkpoint(run, name), checkpoint(other, name)
    assert found.keys() == expected.keys()
    return [part for part, value in expected.items() if not torch.equal(found[part], value)]


def logged(directory: Path) -> list[dict[str, float]]:
    """What the log says of each training step, without the empty cells; the ledger has a row of its own."""
    with (directory / "logs" / "attempt-1" / "metrics.csv").open(encoding="utf-8") as file:
        rows = [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    steps: dict[float, dict[str, float]] = {}
    for row in rows:
        if any(name == "loss" or name.startswith("negatives/") for name in row):
            steps.setdefault(row["step"], {}).update(row)
    return [row for _, row in sorted(steps.items())]


# --- a step, by hand ---------------------------------------------------------------------------------------------------


class Prepare(NamedTuple):
    """What a step needs, without a trainer."""

    recipe: Recipe
    data: PreparedPairs
    batches: PairDataset
    method: DualEncoder
    negatives: PairNegatives


def made(path: Path, folder: Path, *overrides: str, steps: int = 10, say: Any = lambda note: None) -> Prepare:
    """Over a corpus, nothing held out. Batches of these rows: the training queries first, then spans."""
    nothing_held_out = ("data.split.validation=0", "data.split.test=0", "train.early_stop=null")
    recipe = made_recipe(path, *SCHEDULE[:2], *nothing_held_out, *overrides)
    folder.mkdir()
    data = PreparedPairs.prepare(recipe, folder, silent)
    batches = PairDataset.of(
        data.corpus,
        data.query_tokens,
        data.document_tokens,
        spans=next((p for p in recipe.data.pairings if isinstance(p, SpansPairing)), None),
        max_query_tokens=recipe.frontend.max_query_tokens,
        seed=0,
        empty_token=data.frontend.pad_id,
    )
    method = build_method(recipe, data.frontend)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():  # fresh weights are so small that all is alike
        for parameter in method.query_tower.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=source))
    negatives = PairNegatives(
        recipe,
        data.corpus,
        data.query_tokens,
        data.document_tokens,
        data.frontend,
        method,
        total_steps=steps,
        say=say,
    )
    return Prepare(recipe, data, batches, method, negatives)


def step_of(of: Prepare, step: int, rows: Sequence[int]) -> tuple[Embedded, tuple[Source, ...]]:
    """One step without its backward pass: what the loss was given. Afterwards its documents are remembered."""
    batch = of.negatives.before(of.batches[Share(step, np.asarray(rows))], step)
    embedded, sources = of.negatives.given(of.method.embed(batch), step)
    of.negatives.remember(batch, embedded, step)
    return embedded, sources


def texts_of(tokens: Tokens) -> list[list[int]]:
    return [text.tolist() for text in tokens.ids.split(tokens.lengths.tolist())]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    return write_mixed(tmp_path / "pairs.jsonl")


@pytest.mark.parametrize("by", ["model", "bm25"])
def test_what_is_mined_is_never_a_positive_and_comes_from_the_training_documents(
    mixed: Path, tmp_path: Path, by: str
) -> None:
    """With queries held out, whose documents must not be mined either."""
    held_out = ("data.split.validation=0.2", "data.split.test=0.2")
    of = made(
        mixed, tmp_path / "run", block(f"mined: {{by: {by}, start: 0, depth: 40, keep: 8, margin: null}}"), *held_out
    )
    corpus, mined = of.data.corpus, of.negatives.sources.mined
    assert mined is not None
    of.negatives.before(of.batches[Share(0, np.arange(BATCH))], 0)
    training = set(corpus.training_documents().tolist())
    assert len(training) < len(corpus.document_texts)
    relatives = {int(c): set[int]() for c in corpus.component}
    for query in corpus.queries_of(TRAIN):
        relatives[int(corpus.component[query])] |= set(corpus.positives_of(int(query)).tolist())
    tables = dict(enumerate(mined.table.tolist()))
    assert all(tables[int(q)] == [-1] * 8 for q in np.flatnonzero(corpus.side != TRAIN))
    for query in map(int, corpus.queries_of(TRAIN)):
        found = set(tables[query]) - {-1}
        assert found <= training
        assert not found & set(corpus.positives_of(query).tolist())
        assert not found & relatives[int(corpus.component[query])], "nor one of a query that hangs together with it"
    filled = sum(d >= 0 for q in corpus.queries_of(TRAIN) for d in tables[int(q)])
    assert filled > 4 * len(corpus.queries_of(TRAIN)), "hardly anything was mined, so hardly anything tested"


def test_mined_documents_join_the_batch_behind_the_explicit_ones(mixed: Path, tmp_path: Path) -> None:
    of = made(
        mixed, tmp_path / "run", block("mined: {start: 0, depth: 40, keep: 4, per_query: 3, margin: null}"), WITH_SPANS
    )
    mined, queries = of.negatives.sources.mined, len(of.batches.train_queries)
    assert mined is not None
    rows = np.array([0, queries, 5, 30, queries + 7, 6, 31, queries + 8])
    for step in range(4):
        plain = of.batches[Share(step, rows)]
        batch = of.negatives.before(plain, step)
        added = batch.document_ids[len(plain.document_ids) :].tolist()
        assert batch.document_ids[: len(plain.document_ids)].tolist() == plain.document_ids.tolist()
        assert len(plain.negatives.lengths) >= 2
        own = [plain.rows.tolist()[i] for i in (0, 2, 3, 5, 6)]
        assert len(added) == 3 * len(own)
        for place, query in enumerate(own):
            drawn = added[3 * place : 3 * place + 3]
            assert len(set(drawn)) == 3
            assert set(drawn) <= set(mined.table[query].tolist())
        texts = texts_of(batch.negatives)
        assert texts[: -len(added)] == texts_of(plain.negatives)
        assert texts[-len(added) :] == [of.data.document_tokens[d].tolist() for d in added]
        assert batch.negatives.lengths.dtype == batch.negatives.ids.dtype == batch.document_ids.dtype == torch.int64
        for name in ("queries", "documents", "query_ids", "positive_ids", "rows"):
            assert getattr(batch, name) is getattr(plain, name)


def test_all_ranks_together_draw_what_one_would(mixed: Path, tmp_path: Path) -> None:
    of = made(
        mixed, tmp_path / "run", block("mined: {start: 0, depth: 40, keep: 4, per_query: 2, margin: null}"), WITH_SPANS
    )
    for step in range(3):

        def added(rank: int, world: int, step: int = step) -> list[int]:
            plain = of.batches[Share(step, np.arange(3, 30), rank, world)]
            found: list[int] = of.negatives.before(plain, step).document_ids[len(plain.document_ids) :].tolist()
            return found

        assert sorted(added(0, 3) + added(1, 3) + added(2, 3)) == sorted(added(0, 1))


def test_spans_have_no_mined_negatives(mixed: Path, tmp_path: Path) -> None:
    of = made(mixed, tmp_path / "run", block("mined: {start: 0, depth: 40, margin: null}"), WITH_SPANS)
    queries = len(of.batches.train_queries)
    spans = of.batches[Share(0, np.arange(queries, queries + 9))]
    assert (spans.rows == -1).all()
    batch = of.negatives.before(spans, 0)
    assert [part.tolist() for part in batch[3:]] == [part.tolist() for part in spans[3:]]
    assert not len(batch.negatives.lengths)


def test_nothing_is_mined_before_it_begins(mixed: Path, tmp_path: Path) -> None:
    told: list[str] = []
    mined_later = block("mined: {start: 0.31, every: 3, depth: 40, margin: null}")
    of = made(mixed, tmp_path / "run", mined_later, say=told.append)
    mined = of.negatives.sources.mined
    assert mined is not None
    for step in range(10):
        plain = of.batches[Share(step, np.arange(BATCH))]
        batch = of.negatives.before(plain, step)
        if step < 4:
            assert batch is plain
            assert int(mined.table.max()) == -1
        else:
            assert len(batch.document_ids) > len(plain.document_ids)
            assert int(mined.made_at) == (4 if step < 7 else 7)
        assert len(told) == (0 if step < 4 else 1 if step < 7 else 2)
    assert set(told) == {"mining negatives"}


def test_mining_is_by_the_weights_of_its_step_and_leaves_the_model_as_it_was(mixed: Path, tmp_path: Path) -> None:
    """Brute force with the model as it is, without dropout; and no trace in modes, gradients or random state."""
    settings = "mined: {start: 0, every: 1, depth: 200, keep: 5, margin: null}"
    of = made(mixed, tmp_path / "run", block(settings), "encoder.token_dropout=0.5")
    mined, corpus = of.negatives.sources.mined, of.data.corpus
    assert mined is not None
    of.method.train()
    for step in range(2):
        random, modes = torch.get_rng_state(), [module.training for module in of.method.modules()]
        of.negatives.before(of.batches[Share(step, np.arange(BATCH))], step)
        assert torch.equal(torch.get_rng_state(), random)
        assert [module.training for module in of.method.modules()] == modes
        assert all(modes)
        of.method.eval()
        with torch.no_grad():
            vectors = [
                torch.nn.functional.normalize(tower(Tokens.of([tokens[i] for i in range(count)], 0)), dim=-1)
                for tower, tokens, count in (
                    (of.method.query_tower, of.data.query_tokens, len(corpus.query_texts)),
                    (of.method.document_tower, of.data.document_tokens, len(corpus.document_texts)),
                )
            ]
            cosines = (vectors[0] @ vectors[1].T).numpy()
        of.method.train()
        for query, found in enumerate(mined.table.tolist()):
            related = np.flatnonzero(corpus.component == corpus.component[query])
            banned = {int(d) for other in related for d in corpus.positives_of(int(other))}
            expected = [d for d in np.argsort(-cosines[query], kind="stable").tolist() if d not in banned][:5]
            assert cosines[query][found] == pytest.approx(cosines[query][expected], abs=1e-5)
        with torch.no_grad():
            of.method.query_tower.table.copy_(torch.randn_like(of.method.query_tower.table))


# --- what the loss is told ---------------------------------------------------------------------------------------------

EVERY_SOURCE = block(
    "queue: {size: 60, start: 0}",
    "bank: {sample: 50, start: 0}",
    "mined: {start: 0.4, depth: 40, keep: 4, margin: null}",
)


@pytest.mark.parametrize("pairings", [WITH_NEGATIVES, WITH_SPANS])
def test_every_positive_that_is_there_is_listed_and_nothing_else(mixed: Path, tmp_path: Path, pairings: str) -> None:
    of = made(mixed, tmp_path / "run", EVERY_SOURCE, pairings, steps=12)
    corpus, rng = of.data.corpus, np.random.default_rng(0)
    beyond = {"queue": 0, "bank": 0, "mined": 0}
    for step in range(12):
        rows = rng.permutation(len(of.batches))[:40]
        batch = of.batches[Share(step, rows)]
        batch_ids = set(batch.document_ids.tolist())
        embedded, sources = step_of(of, step, rows.tolist())
        ids = {source.name: set(source.contents.ids.tolist()) for source in sources}
        assert set(ids) == (set() if step == 0 else {"queue", "bank"})
        ids["mined"] = set(embedded.negative_ids.tolist()) - batch_ids
        here = batch_ids.union(*ids.values())
        for place, query in enumerate(embedded.rows.tolist()):
            own = int(embedded.document_ids[place])
            expected = {own} | (set() if query < 0 else set(corpus.positives_of(query).tolist()) & here)
            relatives = np.flatnonzero(corpus.component == int(embedded.query_ids[place]))
            theirs = set().union(*(corpus.positives_of(q).tolist() for q in relatives.tolist()))
            mined_or_given = set(embedded.negative_ids.tolist())
            assert set(embedded.positive_ids[place].tolist()) - {-1} == expected | (theirs & mined_or_given)
            for name in beyond:
                beyond[name] += len((expected & ids.get(name, set())) - batch_ids)
        assert embedded.positive_ids.dtype == torch.int64
    assert min(beyond["queue"], beyond["bank"]) > 0, "no positive ever waited beyond the batch, so nothing was tested"
    assert beyond["mined"] > 0


def write_common(path: Path) -> Path:
    """So many queries share a document that they are taken as strangers: only its number says whose positive it is."""
    rows = [{"query": f"ask a{i} b{i}", "positive": [f"say c{i} d{i}", "what they share"]} for i in range(40)]
    rows += [{"query": f"want e{i} f{i}", "positive": [f"have g{i} h{i}"]} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


@pytest.mark.parametrize("name", ["queue", "bank"])
def test_a_positive_that_waits_is_not_pushed_away(tmp_path: Path, name: str) -> None:
    settings = {"queue": "queue: {size: 60, start: 0}", "bank": "bank: {sample: null, start: 0}"}[name]
    of = made(write_common(tmp_path / "pairs.jsonl"), tmp_path / "run", block(settings))
    corpus = of.data.corpus
    common = next(d for d in range(len(corpus.document_texts)) if corpus.document(d) == "what they share")
    assert len(set(corpus.component.tolist())) == 60, "strangers"
    asking = [q for q in range(60) if common in corpus.positives_of(q)]
    wanting = [q for q in range(60) if q not in asking]

    def stored_for(query: int) -> PairBatch:
        """A batch in which that query has the shared document."""
        batch = of.batches[Share(0, np.array([query, wanting[0]]))]
        tokens = Tokens.of(
            [of.data.document_tokens[common], of.data.document_tokens[corpus.positives_of(wanting[0])[0]]], 0
        )
        return batch._replace(
            documents=tokens, document_ids=torch.tensor([common, int(corpus.positives_of(wanting[0])[0])])
        )

    first = stored_for(asking[0])
    of.negatives.remember(first, of.method.embed(first), 0)
    own = [q for q in asking[1:] if q][:3]
    batch = of.batches[Share(1, np.array([*own, *wanting[1:3]]))]
    keep = [int(next(d for d in corpus.positives_of(int(q)) if d != common)) for q in batch.rows]
    batch = batch._replace(
        documents=Tokens.of([of.data.document_tokens[d] for d in keep], 0), document_ids=torch.tensor(keep)
    )
    embedded, (source,) = of.negatives.given(of.method.embed(batch), 1)
    place = source.contents.ids.tolist().index(common)

    def gradient(vectors: Tensor, given: Embedded) -> Tensor:
        queries = given.queries.detach().requires_grad_()
        changed = source._replace(contents=source.contents._replace(vectors=vectors))
        given = given._replace(queries=queries, documents=given.documents.detach(), negatives=given.negatives.detach())
        of.method.loss(given, for_loss(given, [changed])).backward()
        assert queries.grad is not None
        return queries.grad

    moved = source.contents.vectors.clone()
    moved[place] = torch.nn.functional.normalize(
        torch.randn(moved.shape[1], generator=torch.Generator().manual_seed(0)), dim=0
    )
    change = (gradient(moved, embedded) - gradient(source.contents.vectors, embedded)).norm(dim=1)
    assert (change[:3] == 0).all()
    assert (change[3:] > 1e-6).all(), "for the others it is a negative"
    # The gradient takes the anchor nearer to its positive and not away from the other one that waits.
    untold = embedded._replace(positive_ids=embedded.document_ids[:, None])
    assert ((gradient(moved, untold) - gradient(source.contents.vectors, untold)).norm(dim=1) > 1e-6).all()


def test_what_is_mined_for_one_is_no_negative_of_those_whose_positive_it_is(mixed: Path, tmp_path: Path) -> None:
    of = made(mixed, tmp_path / "run", block("mined: {start: 0, depth: 4, keep: 1}"))
    corpus = of.data.corpus
    first = next(q for q in range(len(corpus.query_texts)) if len(corpus.positives_of(q)) > 1)
    other = next(q for q in range(len(corpus.query_texts)) if corpus.component[q] != corpus.component[first])
    change = _change_by_what_is_mined(of, first, other, int(corpus.positives_of(first)[1]))
    assert change[0] == 0
    assert change[1] > 1e-6


def test_what_is_mined_for_one_is_no_negative_of_those_that_hang_together_with_its_owner(
    mixed: Path, tmp_path: Path
) -> None:
    """`PairCorpus.component`: the positives of one are no negatives for the other. So it is in batch, queue and bank."""
    of = made(mixed, tmp_path / "run", block("mined: {start: 0, depth: 4, keep: 1}"))
    corpus = of.data.corpus
    sizes = np.bincount(corpus.component)
    first, relative = np.flatnonzero(corpus.component == int(sizes.argmax()))[:2].tolist()
    other = next(q for q in range(len(corpus.query_texts)) if corpus.component[q] != corpus.component[first])
    document = next(d for d in corpus.positives_of(relative).tolist() if d not in corpus.positives_of(first))
    change = _change_by_what_is_mined(of, first, other, document)
    assert change[1] > 1e-6
    assert change[0] == 0


def _change_by_what_is_mined(of: Prepare, first: int, other: int, document: int) -> list[float]:
    """How far the gradients of two anchors change with the vector of a document that was mined for the second."""
    mined = of.negatives.sources.mined
    assert mined is not None
    table = np.full(tuple(mined.table.shape), -1, np.int64)
    table[other] = document
    mined.replace(table, 0)
    rows = [int(np.flatnonzero(of.batches.train_queries == query)[0]) for query in (first, other)]
    batch = of.batches[Share(0, np.array(rows))]
    keep = [int(of.data.corpus.positives_of(query)[0]) for query in (first, other)]
    batch = of.negatives.before(
        batch._replace(
            documents=Tokens.of([of.data.document_tokens[d] for d in keep], 0), document_ids=torch.tensor(keep)
        ),
        0,
    )
    assert batch.document_ids.tolist() == [*keep, document]
    embedded, _ = of.negatives.given(of.method.embed(batch), 0)

    def gradient(negatives: Tensor) -> Tensor:
        queries, documents = embedded.queries.detach().requires_grad_(), embedded.documents.detach()
        given = embedded._replace(queries=queries, documents=documents, negatives=negatives.detach())
        of.method.loss(given).backward()
        assert queries.grad is not None
        return queries.grad

    moved = torch.randn(embedded.negatives.shape, generator=torch.Generator().manual_seed(0))
    change: list[float] = (gradient(moved) - gradient(embedded.negatives)).norm(dim=1).tolist()
    return change


# --- what is remembered ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", ["null", "5"])
@pytest.mark.parametrize("momentum", ["null", "0.75"])
def test_the_documents_of_a_step_are_stored_with_number_and_owner(
    mixed: Path, tmp_path: Path, momentum: str, chunk: str
) -> None:
    """The documents and nothing else of the batch, by the model of the step, or by the slow copy without dropout."""
    settings = (
        f"queue: {{size: 32, start: 0, momentum: {momentum}}}",
        "bank: {sample: null, start: 0, momentum: 0}",
        MINED,
    )
    of = made(
        mixed, tmp_path / "run", block(*settings), WITH_SPANS, f"train.chunk={chunk}", "encoder.token_dropout=0.5"
    )
    of.method.train()
    of.negatives.sources.train()
    rng, tower = np.random.default_rng(0), of.method.document_tower
    slow = {name: value.detach().clone() for name, value in tower.state_dict().items()}
    for step in range(4):
        if step:
            with torch.no_grad():
                tower.table.add_(torch.randn_like(tower.table))
            now = tower.state_dict()
            slow = {name: 0.75 * value + 0.25 * now[name] for name, value in slow.items()}
        batch = of.negatives.before(of.batches[Share(step, rng.permutation(len(of.batches))[:BATCH])], step)
        embedded, _ = of.negatives.given(of.method.embed(batch), step)
        of.negatives.remember(batch, embedded, step)
        queue, bank = of.negatives.sources.queue, of.negatives.sources.bank
        assert queue is not None
        assert bank is not None
        stored = queue.contents()
        assert stored.ids[-BATCH:].tolist() == batch.document_ids[:BATCH].tolist()
        assert stored.owners[-BATCH:].tolist() == batch.query_ids.tolist()
        own = torch.nn.functional.normalize(embedded.documents.detach(), dim=-1)
        expected = own
        if momentum != "null":
            with torch.no_grad():
                tower.eval()
                keys = torch.func.functional_call(tower, slow, (batch.documents,))
                tower.train()
            expected = torch.nn.functional.normalize(keys, dim=-1)
            assert not torch.allclose(expected, own, atol=1e-2)
        torch.testing.assert_close(stored.vectors[-BATCH:], expected, rtol=1e-4, atol=1e-5)
        last = {number: place for place, number in enumerate(batch.document_ids[:BATCH].tolist())}
        for number, place in last.items():
            assert bank.seen[number]
            assert int(bank.owners[number]) == int(batch.query_ids[place])
            if batch.document_ids[:BATCH].tolist().count(number) == 1:
                torch.testing.assert_close(bank.vectors[number], own[place], rtol=1e-4, atol=1e-5)
    assert not any(v.requires_grad for v in (queue.vectors, bank.vectors))


@pytest.mark.recipe
def test_the_trainer_does_what_a_loop_written_by_hand_does(mixed: Path, tmp_path: Path) -> None:
    """Mine and draw, embed, give, loss, remember; then the optimiser."""
    settings = (block(MOMENTUM, BANK, MINED, "margin: 0.3"), WITH_NEGATIVES)
    nothing_held_out = ("data.split.validation=0", "data.split.test=0")
    of = made(mixed, tmp_path / "hand", *settings, *SCHEDULE[1:], steps=28)
    train_run(made_recipe(mixed, *SCHEDULE, *nothing_held_out, *settings), tmp_path / "run")
    data, settings_of = of.data, of.recipe.train
    method = build_method(of.recipe, data.frontend, data.document_share())
    of.method.load_state_dict(method.state_dict())
    method, remembered = of.method, of.negatives.sources
    if remembered.momentum is not None:
        remembered.momentum.follow(method.document_tower, 0.0)
    steps = planned_steps(of.recipe, len(of.batches))
    assert steps == 28
    groups = [
        {"params": [p for p in method.parameters() if p.ndim > 1], "weight_decay": settings_of.weight_decay},
        {"params": [p for p in method.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=settings_of.learning_rate)
    warmup = max(1, round(settings_of.warmup * steps))
    seen: set[str] = set()
    for step, index in enumerate(StepSampler(len(of.batches), BATCH, steps, seed=0)):
        batch = of.negatives.before(of.batches[index], step)
        embedded, sources = of.negatives.given(method.embed(batch), step)
        seen |= {source.name for source in sources}
        loss = method.loss(embedded, for_loss(embedded, sources))
        of.negatives.remember(batch, embedded, step)
        optimiser.zero_grad()
        loss.backward()
        if settings_of.gradient_clip:
            torch.nn.utils.clip_grad_norm_(method.parameters(), settings_of.gradient_clip)
        for group in optimiser.param_groups:
            group["lr"] = settings_of.learning_rate * min((step + 1) / warmup, (steps - step) / (steps - warmup))
        optimiser.step()
    assert seen == {"queue", "bank"}
    found = checkpoint(tmp_path / "run")
    for name, value in method.state_dict().items():
        torch.testing.assert_close(
            found[f"method.{name}"], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    for name, value in remembered.state_dict().items():
        torch.testing.assert_close(
            found[f"sources.{name}"], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


# --- the ledger --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [None, 0.05])
def test_the_ledger_weighs_what_the_loss_has(mixed: Path, tmp_path: Path, margin: float | None) -> None:
    """Pair by pair, in float64."""
    extra = () if margin is None else (f"negatives.margin={margin}",)
    of = made(mixed, tmp_path / "run", EVERY_SOURCE, WITH_SPANS, *extra, steps=6)
    rng = np.random.default_rng(0)
    for step in range(6):
        embedded, sources = step_of(of, step, rng.permutation(len(of.batches))[:BATCH].tolist())
        figures = of.negatives.ledger(embedded, sources)
        unit = [torch.nn.functional.normalize(v.detach().double(), dim=1) for v in embedded[:3]]
        temperature, owners = float(of.method.temperature.detach()), embedded.query_ids.tolist()
        candidates = {
            "batch": (unit[1], embedded.document_ids.tolist(), owners),
            "explicit_and_mined": (unit[2], embedded.negative_ids.tolist(), [-1] * len(unit[2])),
            **{
                s.name: (s.contents.vectors.double(), s.contents.ids.tolist(), s.contents.owners.tolist())
                for s in sources
            },
        }
        masses, counts = dict.fromkeys([*candidates, "positive"], 0.0), dict.fromkeys(candidates, 0)
        for i in range(BATCH):
            own, positive = float(unit[0][i] @ unit[1][i]), set(embedded.positive_ids[i].tolist())
            left: dict[str, list[float]] = {"positive": [own]}
            for name, (vectors, ids, stored_for) in candidates.items():
                cosines = (vectors @ unit[0][i]).tolist()
                left[name] = [
                    cosine
                    for j, (cosine, number, owner) in enumerate(zip(cosines, ids, stored_for, strict=True))
                    if not (name == "batch" and i == j)
                    and number not in positive
                    and owner != owners[i]
                    and not (margin is not None and cosine > own + margin)
                ]
            weights = {name: sum(np.exp(np.array(cosines) / temperature)) for name, cosines in left.items()}
            for name, weight in weights.items():
                masses[name] += weight / sum(weights.values()) / BATCH
                if name != "positive":
                    counts[name] += len(left[name])
        for name, mass in masses.items():
            assert figures[f"negatives/{name}/mass"] == pytest.approx(mass, abs=2e-5), (step, name)
        for name, count in counts.items():
            assert figures[f"negatives/{name}/count"] == pytest.approx(count / BATCH), (step, name)
        names = {name.split("/")[1] for name in figures}
        assert names == {"positive", "batch", "explicit_and_mined", *(() if step == 0 else ("queue", "bank"))}
        assert sum(v for name, v in figures.items() if name.endswith("/mass")) == pytest.approx(1, abs=1e-5)
        assert ("negatives/queue/ignored_margin" in figures) is (margin is not None and step > 0)


LOGGED = {
    "nothing": (block(), "", {"batch": 15}),
    "queue": (block(QUEUE), "", {"batch": 15, "queue": 40}),
    "bank": (block(BANK), "", {"batch": 15, "bank": 30}),
    "mined": (block(MINED), "", {"batch": 15, "mined": 32}),
    "explicit": (block(QUEUE, "margin: 0.1"), WITH_NEGATIVES, {"batch": 15, "explicit": None, "queue": 40}),
    "all": (
        block(MOMENTUM, BANK, MINED),
        WITH_NEGATIVES,
        {"batch": 15, "explicit_and_mined": None, "queue": 40, "bank": 30},
    ),
}


@pytest.mark.recipe
@pytest.mark.parametrize("case", LOGGED)
def test_the_figures_of_the_ledger_are_in_the_log(mixed: Path, tmp_path: Path, case: str) -> None:
    negatives, pairings, expected = LOGGED[case]
    train_run(made_recipe(mixed, *SCHEDULE, negatives, *([pairings] if pairings else [])), tmp_path / "run")
    rows = logged(tmp_path / "run")
    assert len(rows) >= 10
    for row in rows:
        masses = [value for name, value in row.items() if name.startswith("negatives/") and name.endswith("/mass")]
        assert len(masses) >= 2
        assert sum(masses) == pytest.approx(1, abs=1e-4)
    last = {name: value for name, value in rows[-1].items() if name.startswith("negatives/")}
    assert {name.split("/")[1] for name in last} == {"positive", *expected}
    assert {name.split("/")[2] for name in last if name.startswith("negatives/positive/")} == {"similarity", "mass"}
    for name, candidates in expected.items():
        of_source = {n.split("/")[2]: v for n, v in last.items() if n.startswith(f"negatives/{name}/")}
        reasons = {
            "ignored_positive",
            *(() if name in ("mined", "explicit", "explicit_and_mined") else ("ignored_owner",)),
        }
        if "margin: 0.1" in negatives:
            reasons.add("ignored_margin")
        assert set(of_source) == {"count", "similarity", "mass", *reasons}
        assert -1 <= of_source["similarity"] <= 1
        ignored = sum(of_source[reason] for reason in reasons)
        if name == "batch":
            assert of_source["count"] == pytest.approx(BATCH * (1 - ignored), abs=1e-3)
            assert of_source["ignored_positive"] >= 1 / BATCH - 1e-6
        elif candidates is not None:
            assert of_source["count"] == pytest.approx(candidates * (1 - ignored), abs=1e-3)
    begins = {"queue": 0.2, "bank": 0.1, "mined": 0.2}
    steps = planned_steps(made_recipe(mixed, *SCHEDULE), 96)
    for row in rows:
        for name, start in begins.items():
            if row["step"] < start * steps:
                assert f"negatives/{name}/mass" not in row


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, float]]]:
    """Every ledger that a run takes, with its step."""
    found: list[tuple[int, dict[str, float]]] = []
    step = 0
    given, ledger = PairNegatives.given, PairNegatives.ledger

    def noting(self: PairNegatives, embedded: Embedded, number: int) -> tuple[Embedded, tuple[Source, ...]]:
        nonlocal step
        step = number
        return given(self, embedded, number)

    def keeping(self: PairNegatives, embedded: Embedded, sources: Sequence[Source]) -> dict[str, float]:
        found.append((step, ledger(self, embedded, sources)))
        return found[-1][1]

    monkeypatch.setattr(PairNegatives, "given", noting)
    monkeypatch.setattr(PairNegatives, "ledger", keeping)
    return found


@pytest.mark.recipe
def test_a_row_of_the_log_has_the_ledger_of_its_own_step(
    mixed: Path, tmp_path: Path, taken: list[tuple[int, dict[str, float]]]
) -> None:
    """As it has its own loss: a row says `step`, and all that stands in it is of that step."""
    train_run(made_recipe(mixed, *SCHEDULE, block(QUEUE)), tmp_path / "run")
    by_step = dict(taken)
    rows = [row for row in logged(tmp_path / "run") if "negatives/batch/mass" in row]
    assert rows
    for row in rows:
        assert int(row["step"]) in by_step, f"row {row['step']:g} has a ledger of another step: of {sorted(by_step)}"
        assert row["negatives/batch/mass"] == pytest.approx(by_step[int(row["step"])]["negatives/batch/mass"])


@pytest.mark.recipe
def test_a_source_that_is_missing_at_a_step_is_missing_in_its_row(tmp_path: Path) -> None:
    """Few pairs have an explicit negative, so most batches have none."""
    path = write_pairs(tmp_path / "pairs.jsonl", 120, topics=40)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for number, row in enumerate(rows):
        row["negative"] = [rows[number - 7]["positive"]] if number % 40 == 0 else []
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    train_run(made_recipe(path, *SCHEDULE, WITH_NEGATIVES), tmp_path / "run")
    found = logged(tmp_path / "run")
    assert any("negatives/explicit/mass" in row for row in found)
    for row in (row for row in found if "negatives/batch/mass" in row):
        masses = [value for name, value in row.items() if name.endswith("/mass")]
        assert sum(masses) == pytest.approx(1, abs=1e-4), row["step"]


# --- whole runs: resumed, shared out, in chunks ------------------------------------------------------------------------

RESUMED = {
    "own": (block(QUEUE, BANK, MINED), "{kind: static, dim: 32, token_dropout: 0.2}"),
    "momentum": (block(MOMENTUM, BANK, MINED), DROPOUT),
}


@dataclass(frozen=True)
class Unbroken:
    """A run that nobody disturbed."""

    recipe: Recipe
    directory: Path


@pytest.fixture(scope="module", params=RESUMED)
def unbroken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    folder = tmp_path_factory.mktemp(request.param)
    negatives, encoder = RESUMED[request.param]
    data = write_mixed(folder / "pairs.jsonl")
    recipe = made_recipe(data, *SCHEDULE, *SAVES, negatives, WITH_SPANS, encoder=encoder)
    train_run(recipe, folder / "run")
    return Unbroken(recipe, folder / "run")


def interrupted(whole: Unbroken, directory: Path, step: int) -> dict[str, Tensor]:
    """Break a run off; the state that is saved."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(step, patch)
        with pytest.raises(InterruptedRunError, match=f"stopped after step {step + 1}"):
            train_run(whole.recipe, directory)
    return checkpoint(directory)


@pytest.mark.recipe
# 48 steps, 12 an epoch: the bank begins with step 5, queue and mining with 10; mined before 10, 14, 18, ...; saved after 3, 5, 6, ...
@pytest.mark.parametrize("step", [4, 8, 9, 10, 11, 13, 14, 24, 37])
def test_an_interrupted_run_is_bit_identical_after_resume(unbroken: Unbroken, tmp_path: Path, step: int) -> None:
    interrupted(unbroken, tmp_path / "run", step)
    train_run(unbroken.recipe, tmp_path / "run", resume=True)
    assert differing(tmp_path / "run", unbroken.directory) == []
    assert differing(tmp_path / "run", unbroken.directory, "best") == []


@pytest.mark.recipe
def test_the_checkpoint_holds_all_that_is_remembered(unbroken: Unbroken, tmp_path: Path) -> None:
    state = interrupted(unbroken, tmp_path / "run", 15)  # 16 steps are done
    steps = json.loads((unbroken.directory / "fit.json").read_text("utf-8"))["planned_steps"]
    assert steps == 48
    assert int(state["sources.queue.pushed"]) == (16 - 10) * BATCH
    assert state["sources.queue.vectors"].norm(dim=1).tolist() == pytest.approx([1.0] * 40, abs=1e-5)
    assert (state["sources.queue.ids"] >= 0).all()
    seen = state["sources.bank.seen"]
    assert 60 < int(seen.sum()) <= (16 - 5) * BATCH
    assert state["sources.bank.vectors"][seen].norm(dim=1).tolist() == pytest.approx([1.0] * int(seen.sum()), abs=1e-5)
    assert not state["sources.bank.vectors"][~seen].any()
    assert int(state["sources.mined.made_at"]) == 14
    assert int((state["sources.mined.table"] >= 0).sum()) > 100
    copied = {name for name in state if name.startswith("sources.momentum.copy.")}
    if unbroken.recipe.negatives.queue is not None and unbroken.recipe.negatives.queue.momentum is not None:
        tower = {name for name in state if name.startswith("method.document_tower.")}
        assert {name.rpartition("copy.")[2] for name in copied} == {name.partition("tower.")[2] for name in tower}
        slow = [state[f"sources.momentum.copy.{name.partition('tower.')[2]}"] for name in tower]
        assert not any(torch.equal(value, state[name]) for name, value in zip(tower, slow, strict=True) if value.any())
    else:
        assert not copied


LOST = {
    "queue": ("sources.queue.", 0),
    "queue vectors": ("sources.queue.vectors", 0),
    "queue owners and ids": ("sources.queue.[io]", -1),
    "bank": ("sources.bank.vectors", 0),
    "momentum": ("sources.momentum.", 0),
    "table": ("sources.mined.table", -1),
    "when mined": ("sources.mined.made_at", -1),
}


@pytest.mark.recipe
@pytest.mark.parametrize("part", LOST)
def test_a_part_that_is_lost_on_resume_shows_in_the_end(unbroken: Unbroken, tmp_path: Path, part: str) -> None:
    """So the comparison above can fail."""
    prefix, empty = LOST[part]
    interrupted(unbroken, tmp_path / "run", 11)  # an epoch ends: what waits comes up again soon
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    held = torch.load(last, weights_only=True)
    prefixes = ("sources.queue.ids", "sources.queue.owners") if "[" in prefix else (prefix,)
    lost = [name for name in held["state_dict"] if name.startswith(prefixes)]
    if part == "momentum" and not lost:
        pytest.skip("this queue has no momentum encoder")
    assert lost
    for name in lost:
        held["state_dict"][name].fill_(empty)
    torch.save(held, last)
    train_run(unbroken.recipe, tmp_path / "run", resume=True)
    assert any(name.startswith("method.") for name in differing(tmp_path / "run", unbroken.directory))


@pytest.mark.recipe
def test_a_resumed_run_mines_only_when_the_unbroken_one_would(unbroken: Unbroken, tmp_path: Path) -> None:
    mined: list[int] = []
    replace = MinedNegatives.replace

    def noting(self: MinedNegatives, documents: Any, step: int) -> None:
        mined.append(step)
        replace(self, documents, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MinedNegatives, "replace", noting)
        interrupted(unbroken, tmp_path / "run", 16)
        assert mined == [10, 14]
        train_run(unbroken.recipe, tmp_path / "run", resume=True)
    assert mined == list(range(10, 48, 4))


SHARED_OUT = {
    "queue": (block("queue: {size: 48, start: 0.1}"), WITH_NEGATIVES),
    "queue that ends within a batch": (block("queue: {size: 40, start: 0.1}"), WITH_NEGATIVES),
    "momentum": (block("queue: {size: 48, start: 0.1, momentum: 0.9}"), WITH_NEGATIVES),
    "bank": (block("bank: {sample: 30, start: 0.1}"), WITH_NEGATIVES),
    "mined": (block("mined: {start: 0.1, every: 8, depth: 20, keep: 4, per_query: 2, margin: null}"), WITH_NEGATIVES),
    "all, spans": (block("queue: {size: 48, start: 0.1, momentum: 0.9}", BANK, MINED, "margin: 0.2"), WITH_SPANS),
}


def assert_close(run: Path, other: Path) -> None:
    """To the rounding of single precision, which Adam makes a little larger."""
    found, expected = checkpoint(run), checkpoint(other)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith("sources.queue.") and name != "sources.queue.pushed":
            continue  # within a step, ranks store one after the other
        if value.is_floating_point():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
        else:
            assert torch.equal(found[name], value), name
    if "sources.queue.ids" in expected:
        pushed, size = int(expected["sources.queue.pushed"]), len(expected["sources.queue.ids"])
        assert pushed > size
        stored = [sorted(state["sources.queue.ids"].tolist()) for state in (found, expected)]
        assert stored[0] == stored[1]


@pytest.mark.recipe
@pytest.mark.parametrize("case", SHARED_OUT)
def test_a_run_in_two_processes_ends_where_one_does(mixed: Path, tmp_path: Path, case: str) -> None:
    for devices in (1, 2):
        recipe = made_recipe(mixed, *SCHEDULE, *SHARED_OUT[case], f"train.devices={devices}", "train.epochs=2")
        train_run(recipe, tmp_path / str(devices))
    assert_close(tmp_path / "2", tmp_path / "1")
    assert not (tmp_path / "2" / "logs" / "rank-1.txt").read_text("utf-8")
    figures = [logged(tmp_path / str(devices)) for devices in (1, 2)]
    for ours, theirs in zip(*figures, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert theirs[name] == pytest.approx(value, rel=2e-3, abs=2e-3), name


@pytest.mark.recipe
@pytest.mark.parametrize(
    "encoder", ["{kind: static, dim: 32}", DROPOUT.replace("0.2", "0.0")], ids=["static", "transformer"]
)
@pytest.mark.parametrize("chunk", [3, 5])
def test_a_run_in_chunks_ends_where_one_without_does(mixed: Path, tmp_path: Path, chunk: int, encoder: str) -> None:
    """Through five minings. Later on two documents swap places in the table, as near to a query as rounding can tell."""
    settings = ("queue: {size: 40, start: 0.1, momentum: 0.9}", BANK, MINED)
    for name, size in (("whole", "null"), ("chunks", chunk)):
        recipe = made_recipe(
            mixed, *SCHEDULE, block(*settings), WITH_SPANS, f"train.chunk={size}", "train.max_steps=24", encoder=encoder
        )
        train_run(recipe, tmp_path / name)
    found, expected = checkpoint(tmp_path / "chunks"), checkpoint(tmp_path / "whole")
    for name, value in expected.items():
        if name.endswith("queries_keys_values.bias") or name in _moments_of_bias(expected):
            continue  # the softmax does not see a bias of all keys: its gradient is rounding, which Adam makes large
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=5e-5, msg=lambda m, n=name: f"{n}: {m}")


def _moments_of_bias(state: dict[str, Tensor]) -> set[str]:
    """The moments that belong to such a bias: told by its length, which nothing else has."""
    lengths = {tuple(v.shape) for n, v in state.items() if n.endswith("queries_keys_values.bias")}
    return {name for name, value in state.items() if name[0].isdigit() and tuple(value.shape) in lengths}


@pytest.mark.recipe
def test_an_interrupted_run_in_two_processes_is_bit_identical_after_resume(mixed: Path, tmp_path: Path) -> None:
    recipe = made_recipe(mixed, *SCHEDULE, *SAVES, block(MOMENTUM, BANK, MINED), "train.devices=2", "train.chunk=5")
    train_run(recipe, tmp_path / "whole")

    def stages(name: str, total: int | None = None) -> Tick:
        def tick(count: int, note: str = "") -> None:
            if note == "mining negatives" and not asked:
                asked.append(1)
                signal.raise_signal(signal.SIGINT)

        return tick

    asked: list[int] = []
    with pytest.raises(InterruptedRunError, match=r"stopped after step \d+"):
        train_run(recipe, tmp_path / "run", stages=stages)
    train_run(recipe, tmp_path / "run", resume=True)
    assert differing(tmp_path / "run", tmp_path / "whole") == []


# --- learning ----------------------------------------------------------------------------------------------------------

LEARNT = {
    "queue": block("queue: {size: 64, start: 0.1}"),
    "momentum": block("queue: {size: 64, start: 0.1, momentum: 0.9}"),
    "bank": block("bank: {sample: 64, start: 0.1}"),
    "whole bank": block("bank: {sample: null, start: 0.1, momentum: 0.0}"),
    "mined": block("mined: {start: 0.3, every: 20, depth: 30, keep: 4}"),
    "mined by words": block("mined: {by: bm25, start: 0.0, depth: 30, keep: 4}"),
    "rules": block("queue: {size: 64, start: 0.1}", "margin: 0.1", "debias: 0.01", "hardness: 0.3"),
}


@pytest.mark.recipe
@pytest.mark.parametrize("case", LEARNT)
def test_with_each_source_it_learns(tmp_path: Path, case: str) -> None:
    """Held-out pairs of topics whose words were seen in other pairs."""
    data = write_pairs(tmp_path / "pairs.jsonl", 300, topics=40)
    recipe = made_recipe(data, "train.batch_size=32", "train.epochs=12", "train.early_stop=null", LEARNT[case])
    run = train_run(recipe, tmp_path / "run")
    prepared = PreparedPairs.open(tmp_path / "run")
    tokens = (prepared.query_tokens, prepared.document_tokens)
    retrieval = PairRetrieval(prepared.corpus, *tokens, prepared.frontend, seed=0)
    before, after = (retrieval.measure(e.method)["recall_at_10"] for e in (run.untrained(), run.embedder()))
    assert after > before + 0.4, (before, after)


# --- nothing asked for -------------------------------------------------------------------------------------------------


@pytest.mark.recipe
def test_without_the_block_a_run_is_the_same_as_with_an_empty_one(mixed: Path, tmp_path: Path) -> None:
    for name, overrides in (("without", ()), ("empty", (block(),)), ("null", (block("queue: null", "bank: null"),))):
        train_run(made_recipe(mixed, *SCHEDULE, WITH_SPANS, *overrides), tmp_path / name)
    for name in ("empty", "null"):
        assert differing(tmp_path / name, tmp_path / "without") == []
    held = torch.load(tmp_path / "without" / "checkpoints" / "last.ckpt", weights_only=True)
    recipe = made_recipe(mixed, *SCHEDULE)
    method = build_method(recipe, PreparedPairs.open(tmp_path / "without").frontend)
    assert {name.removeprefix("method.") for name in held["state_dict"]} == method.state_dict().keys()
    assert all(name.startswith("method.") for name in held["state_dict"])


@pytest.mark.recipe
def test_sources_that_never_begin_change_nothing(mixed: Path, tmp_path: Path) -> None:
    """What they would do draws on no random state either."""
    never = block(
        "queue: {size: 18, start: 0.999, momentum: 0.9}", "bank: {start: 0.999}", "mined: {start: 0.999, depth: 20}"
    )
    for name, overrides in (("without", ()), ("never", (never,))):
        train_run(made_recipe(mixed, *SCHEDULE, WITH_SPANS, *overrides, encoder=DROPOUT), tmp_path / name)
    found, expected = checkpoint(tmp_path / "never"), checkpoint(tmp_path / "without")
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert not int(found["sources.queue.pushed"])
    assert not found["sources.bank.seen"].any()
    assert int(found["sources.mined.made_at"]) == -1


@pytest.mark.recipe
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_odd_sizes_and_half_precision(mixed: Path, tmp_path: Path, precision: str) -> None:
    """A queue hardly larger than a batch, a search deeper than there are documents, two towers, everything from the first step."""
    settings = (
        "queue: {size: 17, start: 0, momentum: 0.5}",
        "bank: {sample: null, start: 0, momentum: 0}",
        "mined: {start: 0, every: null, depth: 5000, keep: 8, per_query: 8, skip: 1, margin: null}",
    )
    recipe = made_recipe(
        mixed, *SCHEDULE, block(*settings), WITH_SPANS, "method.towers=separate", f"train.precision={precision}"
    )
    train_run(recipe, tmp_path / "run")
    state = checkpoint(tmp_path / "run")
    assert state["sources.queue.vectors"].dtype == state["sources.bank.vectors"].dtype == torch.float32
    assert int(state["sources.mined.made_at"]) == 0
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


# --- what goes wrong, and what a person sees ---------------------------------------------------------------------------


@pytest.mark.recipe
@pytest.mark.parametrize("source", [QUEUE, BANK, MINED])
def test_a_rate_that_is_far_too_high_is_named_with_every_source(mixed: Path, tmp_path: Path, source: str) -> None:
    recipe = made_recipe(mixed, *SCHEDULE, block(source), "train.learning_rate=100000000")
    with pytest.raises(RunError, match=r"NaN or infinite.*lower train\.learning_rate"):
        train_run(recipe, tmp_path / "run")


@pytest.mark.recipe
@pytest.mark.parametrize("devices", [1, 2])
def test_mining_is_announced_and_the_steps_are_still_told_to_the_training(
    mixed: Path, tmp_path: Path, devices: int
) -> None:
    told: list[list[Any]] = []

    def stages(name: str, total: int | None = None) -> Tick:
        told.append([name, total, 0, []])
        line = told[-1]

        def tick(count: int, note: str = "") -> None:
            line[2] += count
            line[3].append(note)

        return tick

    recipe = made_recipe(mixed, *SCHEDULE, block(MINED), f"train.devices={devices}")
    train_run(recipe, tmp_path / "run", stages=stages)
    steps = json.loads((tmp_path / "run" / "fit.json").read_text("utf-8"))["steps"]
    assert not [line for line in told if "mining" in line[0]]  # a stage of its own would end that of the training
    (training,) = [line for line in told if line[0] == "training"]
    assert training[1:3] == [steps, steps]
    assert training[3].count("mining negatives") == len(range(-(-steps // 5), steps, 4))


@pytest.mark.recipe
@pytest.mark.parametrize("devices", [1, 2])
def test_the_progress_lines_end_as_they_should(mixed: Path, tmp_path: Path, devices: int) -> None:
    """What the command line shows: the training is not over because something was mined."""
    recipe = made_recipe(mixed, *SCHEDULE, block(MINED), f"train.devices={devices}")
    with Progress(console=Console(quiet=True)) as progress:
        lines = ProgressLines(progress)
        train_run(recipe, tmp_path / "run", stages=lines)
        lines.finish()
        shown = [(task.description, task.completed, task.total) for task in progress.tasks]
    steps = json.loads((tmp_path / "run" / "fit.json").read_text("utf-8"))["steps"]
    assert all(completed == total for _, completed, total in shown), shown
    assert ("training", steps, steps) in shown


@pytest.mark.recipe
@pytest.mark.parametrize("source", [QUEUE, MOMENTUM, BANK, MINED])
def test_training_warns_of_nothing(mixed: Path, tmp_path: Path, source: str) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        train_run(made_recipe(mixed, *SCHEDULE, block(source)), tmp_path / "run")
    ours = [str(w.message) for w in found if not issubclass(w.category, DeprecationWarning)]
    assert ours == []
