from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nearfar.embedder import Embedder
from nearfar.errors import DataError, RunError
from nearfar.evaluate import (
    LabelledTask,
    PixelEmbedder,
    instance_recall_at_1,
    measure_labelled,
    ratios,
    score_labelled,
)
from nearfar.evaluate.report import as_figures


class Rows:
    """Items are arrays, which embed to a random projection of themselves, or to a given vector."""

    def __init__(self, dim: int, *, spoil: float | None = None):
        self.dim, self.spoil = dim, spoil

    def embed(self, items: Sequence[np.ndarray], side: str = "document") -> np.ndarray:
        weights = np.random.default_rng(0).normal(size=(64, self.dim)).astype(np.float32)
        vectors = np.stack(items).reshape(len(items), -1).astype(np.float32) @ weights
        if self.spoil is not None:
            vectors[-1, 0] = self.spoil
        return vectors


@pytest.fixture(scope="module")
def task() -> LabelledTask:
    pictures, labels = load_digits(return_X_y=True)
    return LabelledTask(list(pictures[:1200]), labels[:1200], list(pictures[1200:]), labels[1200:], 10)


@pytest.fixture(scope="module")
def rows(task):
    pixels = PixelEmbedder(np.stack, dim=64)
    assert isinstance(pixels, Embedder)
    return {
        "pixels": measure_labelled(pixels, task, resamples=200),
        "random": measure_labelled(Rows(8), task, resamples=200),
    }


def test_every_figure_has_its_interval_and_its_items(rows):
    scores = rows["pixels"]
    assert list(scores.intervals()) == ["knn_accuracy", "probe_accuracy", "few_label_accuracy", "nmi"]
    for name, values in scores.per_query.items():
        interval = scores.intervals()[name]
        assert values.shape == (597,)
        assert interval.value == pytest.approx(values.mean())
        assert interval.low < interval.value < interval.high
    assert 0.93 < scores.knn_accuracy.value < 0.99
    assert 0.88 < scores.probe_accuracy.value < 0.97
    assert 0.7 < scores.few_label_accuracy.value < scores.probe_accuracy.value
    assert 0.6 < scores.nmi.value < 0.85


def test_all_figures_tell_pixels_from_eight_random_numbers(rows):
    for name, interval in rows["random"].intervals().items():
        assert interval.high < rows["pixels"].intervals()[name].low


def test_scores_are_reported_like_those_of_retrieval(rows):
    figures = json.loads(json.dumps(as_figures(rows)))
    assert figures["pixels_knn_accuracy"]["unit"] == "share"
    assert len(figures) == 8
    assert ratios(rows, "pixels", metric="knn_accuracy")["random"].high < 1


def test_measured_again_it_is_the_same(rows, task):
    again = measure_labelled(PixelEmbedder(np.stack, dim=64), task, resamples=200)
    assert again.intervals() == rows["pixels"].intervals()


def test_embeddings_of_any_length_count_by_their_direction(task):
    rng = np.random.default_rng(1)
    vectors = PixelEmbedder(np.stack, dim=64).embed(task.test)

    class Lengths(PixelEmbedder):
        def embed(self, items, side="document"):
            return super().embed(items) * rng.uniform(0.1, 10, size=(len(items), 1)).astype(np.float32)

    small = LabelledTask(task.test[:300], task.test_labels[:300], task.test[300:], task.test_labels[300:], 10)
    expected = score_labelled(vectors[:300], vectors[300:], small, resamples=10).intervals()
    measured = measure_labelled(Lengths(np.stack, dim=64), small, resamples=10).intervals()
    assert {name: i.value for name, i in measured.items()} == pytest.approx(
        {name: i.value for name, i in expected.items()}, abs=0.005
    )


def test_broken_embeddings_are_named(task):
    with pytest.raises(RunError, match=r"1 of 1024 embeddings are not finite, the first for item 1023"):
        measure_labelled(Rows(4, spoil=np.nan), task)
    wrong = Rows(4)
    wrong.dim = 5
    wrong.embed = lambda items, side: np.zeros((len(items), 4), np.float32)
    with pytest.raises(RunError, match=r"embedded to shape \(1024, 4\)"):
        measure_labelled(wrong, task)


def test_a_task_needs_labels_for_all():
    one = np.array([0])
    with pytest.raises(DataError, match="the test part has no items"):
        LabelledTask(["a"], one, [], np.empty(0, np.int64), 2)
    with pytest.raises(DataError, match="1 train items but labels of shape"):
        LabelledTask(["a"], np.array([0, 1]), ["b"], one, 2)
    with pytest.raises(DataError, match=r"test labels go from -1 to 1; 2 classes .*leave out items without a label"):
        LabelledTask(["a"], one, ["b", "c"], np.array([-1, 1]), 2)


def test_pixels_know_neither_brightness_nor_contrast():
    picture = np.random.default_rng(2).random((1, 3, 4, 4))
    pixels = PixelEmbedder(np.concatenate, dim=48)
    vectors = pixels.embed([picture, picture * 0.3 + 0.2, np.full((1, 3, 4, 4), 0.5)])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert np.linalg.norm(vectors[0]) == pytest.approx(1.0)
    assert not vectors[2].any()
    assert pixels.embed([]).shape == (0, 48)


def test_a_view_finds_its_picture_or_not():
    rng = np.random.default_rng(3)
    plain = rng.normal(size=(1500, 16))
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    views = plain + 0.02 * rng.normal(size=plain.shape)
    views[:3] = plain[1500 - 3 :]  # show other pictures
    found = instance_recall_at_1(views.astype(np.float32), plain.astype(np.float32))
    assert found.tolist() == [0.0] * 3 + [1.0] * 1497
    # The same views once more, as pictures of their own, are nearer to these than the pictures that they show.
    further = (views[700:800] / np.linalg.norm(views[700:800], axis=1, keepdims=True)).astype(np.float32)
    distracted = instance_recall_at_1(views.astype(np.float32), plain.astype(np.float32), distractors=further)
    assert distracted.tolist() == [0.0] * 3 + [1.0] * 697 + [0.0] * 100 + [1.0] * 700
    equal = np.ones((4, 2), np.float32)
    assert instance_recall_at_1(equal, equal).tolist() == [0.0] * 4
    with pytest.raises(ValueError, match="must both be"):
        instance_recall_at_1(equal, equal[:2])
