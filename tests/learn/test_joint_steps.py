"""What surrounds a step over partners: tensors of links, no false negatives, chunks and ranks, hard pairs, figures."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_links import made_corpus, made_items, made_method, pairs_corpus
from torch import Tensor

from nearfar.learn.data.batches import Share, StepSampler
from nearfar.learn.data.joint import JointCorpus, Stream
from nearfar.learn.data.joint_batches import JointRows, Links
from nearfar.learn.data.split import TRAIN, VALIDATION
from nearfar.learn.methods.clip import Clip
from nearfar.learn.methods.joint import Embedded, Joint, JointBatch
from nearfar.learn.methods.siglip import SigLip
from nearfar.learn.trainer.caching import batch_statistics, embed_by_chunks
from nearfar.learn.trainer.hard_pairs import HardPairs
from nearfar.learn.trainer.joint import JointSteps
from nearfar.learn.trainer.joint_figures import JointFigures, embed_items
from nearfar.recipe.joint import HardPairs as HardSettings

KINDS = [Clip, SigLip]


def batch_of(
    corpus: JointCorpus, step: int = 0, size: int = 20, *, noise: float = 0.0, world: int = 1
) -> list[JointBatch]:
    """The batches of all ranks."""
    rows, items = JointRows.of(corpus, batch_size=size, seed=0), made_items(corpus, noise=noise)
    steps = JointSteps(made_method(Clip, corpus), corpus, items, seed=0, total_steps=10)
    return [steps.before(rows[Share(step, np.zeros(0, np.int64), rank, world)], step) for rank in range(world)]


def gradients(method: Any) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    method.zero_grad(set_to_none=True)
    return found


def test_a_batch_has_the_items_of_its_links_in_their_places() -> None:
    corpus = pairs_corpus(40)
    rows, items = JointRows.of(corpus, batch_size=20, seed=0), made_items(corpus)
    method = made_method(Clip, corpus)
    links = rows[Share(0, np.zeros(0, np.int64))]
    batch = JointSteps(method, corpus, items, seed=0, total_steps=10).before(links, 0)
    embedded = method.embed(batch)
    for number, (stream, left, right) in enumerate(zip(*(links[i].tolist() for i in (1, 3, 4)), strict=True)):
        for side, name, item in ((embedded.left, 0, left), (embedded.right, 1, right)):
            tower = method.streams[stream][name]
            alone = method.project(
                tower, method.towers[tower](items[tower].inputs(np.array([item]), np.random.default_rng()))
            )
            torch.testing.assert_close(side[number], alone[0])
    assert torch.equal(embedded.left_ids, links.left)
    assert torch.equal(embedded.rows, links.rows)


def test_what_stands_in_several_links_is_embedded_once_and_its_other_partners_are_no_negatives() -> None:
    corpus = made_corpus(
        [{"text": [3 * row, 3 * row + 1, 3 * row + 2], "image": [row]} for row in range(20)],
        [Stream(0, "text", "image", 1.0)],
    )
    rows, items = JointRows.of(corpus, batch_size=12, seed=0, per_row=3), made_items(corpus)
    method = made_method(Clip, corpus)
    batch = JointSteps(method, corpus, items, seed=0, total_steps=10).before(rows[Share(0, np.zeros(0, np.int64))], 0)
    assert [len(batch.inputs[name][0]) for name in ("text", "image")] == [12, 4]
    embedded = method.embed(batch)
    expected = expected_loss(method, embedded, lambda i, j: batch.rows[i] == batch.rows[j])
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-5)


def test_how_items_are_changed_depends_on_seed_and_step_alone() -> None:
    corpus = pairs_corpus(40)
    one, again, later = (batch_of(corpus, step, noise=0.5)[0].inputs["image"][0] for step in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, later)


# --- what is no negative ----------------------------------------------------------------------------------------------------


def expected_loss(method: Any, embedded: Embedded, same: Any) -> float:
    """The loss by hand: of each stream over all its pairs but those that `same(i, j)` says are no negatives."""
    total, links = 0.0, len(embedded.left)
    for stream in range(len(method.streams)):
        own = [i for i in range(links) if int(embedded.streams[i]) == stream]
        if not own:
            continue
        cosines = F.normalize(embedded.left[own]) @ F.normalize(embedded.right[own]).T
        keep = torch.tensor([[i == j or not same(i, j) for j in own] for i in own])
        scores = cosines / method.temperature[stream]
        if isinstance(method, SigLip):
            signs = 2 * torch.eye(len(own), dtype=scores.dtype) - 1
            total += float((-F.logsigmoid(signs * (scores + method.bias[stream])))[keep].sum().detach())
        else:
            masked = scores.masked_fill(~keep, -torch.inf)
            ways = [-(masked.log_softmax(dim).diagonal()).sum() for dim in (0, 1)]
            total += float(torch.stack(ways).mean().detach())
    return total / links


@pytest.mark.parametrize("kind", KINDS)
def test_what_belongs_together_is_no_negative(kind: type[Joint]) -> None:
    rows = [{"text": [i % 5], "image": [i // 2]} for i in range(12)] + [{"text": [5 + i, 9 + i]} for i in range(4)]
    alike = np.full((13, 3), -1, np.int64)
    alike[:, 0] = np.arange(13)
    alike[1, 1:], alike[9, 1], alike[6, 1] = (3, 4), 6, 9
    streams = [Stream(0, "text", "image", 1.0), Stream(0, "text", "text", 1.0)]
    labels = [-1, -1, 7, -1, -1, 7, *([-1] * 6), 2, 2, -1, -1]
    corpus = made_corpus(rows, streams, labels=labels, alike={"text": alike})
    items = made_items(corpus)
    method = made_method(kind, corpus)
    with torch.no_grad():
        method.log_temperature.copy_(torch.tensor([0.2, 0.4]).log())
        if isinstance(method, SigLip):
            method.bias.fill_(-0.5)
    drawn = JointRows.of(corpus, batch_size=16, seed=0)
    links = drawn[Share(0, np.zeros(0, np.int64))]
    embedded = method.embed(JointSteps(method, corpus, items, seed=0, total_steps=9).before(links, 0))
    reasons = set()

    def same(i: int, j: int) -> bool:
        (a, b), (c, d) = (tuple(int(part[k]) for part in (links.left, links.right)) for k in (i, j))
        two_texts = int(links.streams[i]) == 1
        found = {
            "left": c in alike[a],
            "right": d in alike[b] if two_texts else b == d,
            "label": labels[links.rows[i]] == labels[links.rows[j]] >= 0,
            "across": two_texts and d in alike[a],
        }
        if i != j:
            reasons.update(reason for reason, so in found.items() if so)
        return any(found.values())

    assert float(method.loss(embedded).detach()) == pytest.approx(expected_loss(method, embedded, same), rel=1e-6)
    assert reasons >= {"left", "right", "label"}
    plain = expected_loss(method, embedded, lambda i, j: False)
    assert float(method.loss(embedded).detach()) != pytest.approx(plain, rel=1e-3)


def test_two_texts_that_say_the_same_across_a_pair_are_no_negatives() -> None:
    one = torch.tensor([3, 4])
    fields = {"streams": one * 0, "left_ids": one, "right_ids": torch.tensor([5, 3]), "labels": -one, "rows": one}
    alike = {"left_alike": one.unsqueeze(1), "right_alike": torch.tensor([[5], [3]])}
    embedded = Embedded(left=torch.randn(2, 3), right=torch.randn(2, 3), **fields, **alike)
    assert embedded.ignored(one_tower=True)["across"].dense().tolist() == [[False, True], [False, False]]
    assert "across" not in embedded.ignored(one_tower=False)


def test_the_ledger_tells_what_was_left_out_of_each_stream() -> None:
    corpus = pairs_corpus(40, labels=4)
    method = made_method(SigLip, corpus)
    rows = JointRows.of(corpus, batch_size=20, seed=0)
    steps = JointSteps(method, corpus, made_items(corpus), seed=0, total_steps=10)
    batch = steps.before(rows[Share(0, np.zeros(0, np.int64))], 0)
    embedded, sources = steps.given(method.embed(batch), 0)
    figures = steps.ledger(embedded, sources)
    labels = corpus.labels[embedded.rows[embedded.streams == 0].numpy()]
    alike = float((labels[:, None] == labels).mean()) - 1 / len(labels)
    assert alike > 0
    assert figures["streams/0_text_image/ignored_label"] == pytest.approx(alike)
    assert figures["streams/2_text_text/temperature"] == pytest.approx(0.1)
    assert figures["streams/1_text_audio/bias"] == -10
    assert steps.note.startswith("no negatives ")


# --- chunks, ranks, frozen encoders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 7, 19])
def test_the_gradient_in_chunks_is_that_of_the_whole_batch(kind: type[Joint], size: int) -> None:
    corpus = pairs_corpus(40, labels=9)
    batch, method = batch_of(corpus)[0], made_method(kind, corpus)
    chunks = batch.split(size)
    assert max(len(chunk.left) for chunk in chunks) <= size
    assert all(sum(len(part[0]) for part in chunk.inputs.values()) == 2 * len(chunk.left) for chunk in chunks)
    whole = method.embed(batch)
    loss = method.loss(whole)
    loss.backward()
    expected = gradients(method)
    cached = embed_by_chunks(method.embed, chunks, torch.device("cpu"))
    for found, field in zip(cached.embedded, whole, strict=True):
        torch.testing.assert_close(found, field.detach(), rtol=1e-12, atol=1e-12, msg=None)
    in_parts = method.loss(cached.embedded)
    in_parts.backward()
    cached.backward(nullcontext)
    torch.testing.assert_close(in_parts, loss, rtol=1e-6, atol=0)
    found_gradients = gradients(method)
    assert found_gradients.keys() == expected.keys() == dict(method.named_parameters()).keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-6, atol=1e-9)


def test_ranks_together_hold_what_one_would() -> None:
    corpus = pairs_corpus(40)
    method = made_method(Clip, corpus)
    whole, shares = method.embed(batch_of(corpus)[0]), [method.embed(batch) for batch in batch_of(corpus, world=3)]
    joined = Embedded(*map(torch.cat, zip(*shares, strict=True)))
    assert {len(share.left) for share in shares} == {6, 7}
    torch.testing.assert_close(method.loss(joined), method.loss(whole), rtol=1e-9, atol=0)


def test_ranks_change_their_items_each_in_its_own_way() -> None:
    corpus = pairs_corpus(40)
    first, second = batch_of(corpus, noise=1.0, world=2)
    still = [batch.inputs["image"][0] for batch in batch_of(corpus, world=2)]
    noise = [batch.inputs["image"][0] - plain for batch, plain in zip((first, second), still, strict=True)]
    assert not torch.allclose(noise[0][:3], noise[1][:3])


def test_a_frozen_encoder_stays_as_it_is_and_looks_at_no_batch() -> None:
    corpus = pairs_corpus(40)
    method = made_method(Clip, corpus, norm=True, frozen={"image"})
    assert batch_statistics(method) is None
    assert batch_statistics(made_method(Clip, corpus, norm=True)) == "towers.image.norm (BatchNorm1d)"
    before = {name: value.clone() for name, value in method.towers["image"].state_dict().items()}
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for step in range(3):
        method.train()
        optimiser.zero_grad()
        method.loss(method.embed(batch_of(corpus, step)[0])).backward()
        optimiser.step()
    assert all(torch.equal(value, before[name]) for name, value in method.towers["image"].state_dict().items())
    assert not method.towers["image"].encoder.training
    assert method.towers["text"].training


def test_towers_may_have_names_that_modules_have_methods_of() -> None:
    batch = JointBatch.of_two(
        ("values", torch.eye(3)), ("train", torch.eye(3)), left_ids=torch.arange(3), right_ids=torch.arange(3)
    )
    towers = {name: torch.nn.Linear(3, 2) for name in ("values", "train")}
    projections = {name: torch.nn.Identity() for name in towers}
    method = Clip(towers, projections, [("values", "train")])
    assert method.loss(method.embed(batch)).isfinite()
    assert "towers.values.weight" in method.state_dict()
    assert method.eval().training is method.towers["train"].training is False


# --- learning ---------------------------------------------------------------------------------------------------------------


def trained(
    method: Any, corpus: JointCorpus, items: Any, steps: int, *, hard: Any = None, size: int = 24
) -> list[float]:
    rows = JointRows.of(corpus, batch_size=size, seed=0)
    around = JointSteps(method, corpus, items, seed=0, total_steps=steps, hard=hard)
    optimiser = torch.optim.Adam(method.parameters(), lr=0.02)
    losses = []
    for share in StepSampler(len(rows), size, steps, seed=0):
        loss = method.loss(method.embed(around.before(rows[share], share.step)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def split_corpus(**fields: Any) -> JointCorpus:
    return pairs_corpus(160, side=[VALIDATION if i % 4 == 3 or i % 8 == 2 else TRAIN for i in range(160)], **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_its_temperatures_stay_within_bounds(kind: type[Joint]) -> None:
    corpus = split_corpus()
    items, method = made_items(corpus, noise=0.02), made_method(kind, corpus, temperature=0.02)
    figures = JointFigures(corpus, items, seed=0)
    before = figures.measure(method)
    trained(method, corpus, items, 150)
    after = figures.measure(method)
    ways = ["text_to_image", "image_to_text", "text_to_audio", "audio_to_text", "text_to_text"]
    assert set(after) == {f"{way}_recall_at_{k}" for way in ways for k in (1, 10)} | {"recall_at_1", "recall_at_10"}
    assert before["text_to_image_recall_at_1"] < 0.1
    assert after["text_to_image_recall_at_1"] > 0.3
    assert after["recall_at_10"] > 0.9
    assert after["recall_at_10"] == pytest.approx(np.mean([after[f"{way}_recall_at_10"] for way in ways]))
    method.follow(1, 2)
    assert bool((method.temperature >= method.coldest * 0.999).all())
    assert len({round(t, 6) for t in method.temperature.tolist()}) == 3, "each stream has learned its own"


def test_towers_that_are_never_paired_meet_through_a_third() -> None:
    corpus = pairs_corpus(160)
    rows = [
        {
            tower: [int(i) for i in sides.items[sides.starts[r] : sides.starts[r + 1]]]
            for tower, sides in corpus.sides.items()
        }
        for r in range(160)
    ]
    anchored = made_corpus(rows, [Stream(0, "text", "image", 1.0), Stream(0, "text", "audio", 1.0)])
    items, method = made_items(anchored, noise=0.02), made_method(Clip, anchored)
    trained(method, anchored, items, 150)
    sounds = np.arange(80)
    of_sounds = embed_items(method, "audio", items["audio"], sounds)
    of_pictures = embed_items(method, "image", items["image"], 2 * sounds)
    hits = (np.argsort(-of_sounds @ of_pictures.T, axis=1)[:, :10] == sounds[:, None]).any(axis=1)
    assert hits.mean() > 0.7, "by chance it is 0.125"


def test_figures_count_what_has_the_label_and_need_two_rows() -> None:
    corpus = split_corpus(labels=1)
    figures = JointFigures(corpus, made_items(corpus), seed=0).measure(made_method(Clip, corpus))
    assert set(figures.values()) == {1.0}
    assert not JointFigures(pairs_corpus(8), made_items(pairs_corpus(8)), seed=0).has_pairs


def test_vectors_are_in_the_order_asked_for_and_the_mode_stays() -> None:
    corpus = pairs_corpus(600)
    items, method = made_items(corpus), made_method(Clip, corpus)
    numbers = np.random.default_rng(0).permutation(600)
    found = embed_items(method, "image", items["image"], numbers)
    assert method.training
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    some = embed_items(method, "image", items["image"], numbers[[5, 500]])
    np.testing.assert_allclose(found[[5, 500]], some, rtol=1e-5, atol=1e-7)


# --- hard pairs -------------------------------------------------------------------------------------------------------------


def hard_of(corpus: JointCorpus, method: Any, items: Any, rows: JointRows, **settings: Any) -> HardPairs:
    chosen = HardSettings(**{"start": 0.0, "every": 5, "depth": 4, "share": 0.5, **settings})
    return HardPairs(chosen, rows, corpus, items, method, total_steps=20)


def links_at(rows: JointRows, step: int) -> Links:
    return rows[Share(step, np.zeros(0, np.int64))]


def test_hard_pairs_are_near_do_not_belong_and_come_once() -> None:
    corpus = pairs_corpus(120, labels=40)
    items, method = made_items(corpus), made_method(Clip, corpus)
    trained(method, corpus, items, 60)
    rows = JointRows.of(corpus, batch_size=40, seed=0)
    hard = hard_of(corpus, method, items, rows)
    given, chosen = links_at(rows, 3), hard.chosen(links_at(rows, 3), 3)
    assert torch.equal(given.streams, chosen.streams)
    vectors = {t: embed_items(method, t, items[t], np.arange(len(items[t]))) for t in items}

    def hardness(links: Links, stream: int) -> float:
        """Mean of the highest cosine of a first item with a second one of another row."""
        own = (links.streams == stream).numpy()
        left, right = (
            vectors[t][part.numpy()[own]]
            for t, part in zip(method.streams[stream], (links.left, links.right), strict=True)
        )
        return float((left @ right.T - 2 * np.eye(own.sum())).max(axis=1).mean())

    for stream, size in enumerate(rows.sizes):
        own = (given.streams == stream).numpy()
        kept = size - size // 2
        before, after = (links.rows.numpy()[own] for links in (given, chosen))
        assert (before[:kept] == after[:kept]).all()
        assert len(np.unique(after)) == size
        assert len(np.setdiff1d(after, before)) > 0
        assert hardness(chosen, stream) > hardness(given, stream)
        names = corpus.counts.streams[stream]
        for row, left, right in zip(after, chosen.left.numpy()[own], chosen.right.numpy()[own], strict=True):
            for tower, item in ((names.left, left), (names.right, right)):
                sides = corpus.sides[tower]
                assert item in sides.items[sides.starts[row] : sides.starts[row + 1]]
            assert names.left != names.right or left != right
        table = hard.sources[f"stream_{stream}"].table.numpy()
        first = np.unique(rows.streams[stream].left.items)
        if stream == 0:  # text 2i and 2i + 1 are of row i, picture i too; labels are i % 40
            assert (table >= 0).any()
            assert not ((table % 40 == first[:, None] // 2 % 40) & (table >= 0)).any()


@pytest.mark.parametrize("share_of_hard", [0.5, 0.9])
def test_hard_pairs_where_rows_have_several_links(share_of_hard: float) -> None:
    corpus = pairs_corpus(30)
    items, method = made_items(corpus), made_method(Clip, corpus)
    rows = JointRows.of(corpus, batch_size=40, seed=0, per_row=4)
    hard = hard_of(corpus, method, items, rows, share=share_of_hard)
    for step in range(8):
        given, chosen = links_at(rows, step), hard.chosen(links_at(rows, step), step)
        assert torch.equal(given.streams, chosen.streams)
        for stream, row, left, right in zip(*(part.tolist() for part in chosen[1:5]), strict=True):
            names = corpus.counts.streams[stream]
            for tower, item in ((names.left, left), (names.right, right)):
                sides = corpus.sides[tower]
                assert item in sides.items[sides.starts[row] : sides.starts[row + 1]]


def test_what_was_found_is_in_the_state_and_searched_again_in_time() -> None:
    corpus = pairs_corpus(60)
    items, method = made_items(corpus), made_method(Clip, corpus)
    rows = JointRows.of(corpus, batch_size=20, seed=0)
    hard = hard_of(corpus, method, items, rows, start=0.2)
    early = links_at(rows, 3)
    assert all(torch.equal(a, b) for a, b in zip(hard.chosen(early, 3)[1:5], early[1:5], strict=True))
    hard.chosen(links_at(rows, 4), 4)
    restored = hard_of(corpus, made_method(Clip, corpus, seed=9), items, rows, start=0.2)
    restored.sources.load_state_dict(hard.sources.state_dict())
    for step in (5, 8):
        one, other = (some.chosen(links_at(rows, step), step) for some in (hard, restored))
        assert all(torch.equal(a, b) for a, b in zip(one[1:5], other[1:5], strict=True))
    hard.chosen(links_at(rows, 9), 9)
    assert {int(table.made_at) for table in hard.sources.children()} == {9}
