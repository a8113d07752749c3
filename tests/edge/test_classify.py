from __future__ import annotations

import io
import json
import random
import subprocess
import sys

import numpy as np
import pytest
from made_documents import WORDS
from tiny_bundle import write_tiny_bundle
from tiny_image_bundle import write_tiny_image_bundle

from nearfar.bundle import Bundle, describe
from nearfar.bundle.manifest import read_manifest
from nearfar.edge.collections.abstain import choose_threshold
from nearfar.edge.collections.classify import Classifier, logits, softmax
from nearfar.edge.collections.fit_head import fit_head, prototypes, store_head
from nearfar.edge.collections.logistic import fit_logistic, minimise
from nearfar.edge.encoder import Encoder
from nearfar.errors import BundleError, DataError

TOPICS = ("bread", "taps", "trains", "wool", "cats")
TOPICS = {name: WORDS[30 * n : 30 * n + 30] for n, name in enumerate(TOPICS)}


def made(each, *, seed=0, topics=TOPICS):
    """Texts about the topics, some words of each from anywhere."""
    rng = random.Random(seed)
    labels = [name for name in topics for _ in range(each)]
    return [" ".join(rng.choices(topics[name], k=10) + rng.choices(WORDS, k=3)) for name in labels], labels


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "plain", dim=64, texts=made(40)[0])


@pytest.fixture(scope="module")
def fitted(bundle):
    texts, labels = made(10)
    return fit_head(Encoder.open(bundle).embed(texts), labels)


@pytest.fixture(scope="module")
def with_head(bundle, fitted, tmp_path_factory):
    return store_head(bundle, fitted, tmp_path_factory.mktemp("head") / "with-head")


def test_a_stored_head_labels_new_texts_and_is_silent_about_others(with_head):
    texts, labels = made(30, seed=1)
    classifier = Classifier.open(with_head.path)
    found = classifier.classify(texts)
    answered = [(one.label, true) for one, true in zip(found, labels, strict=True) if one.label is not None]
    assert len(answered) > 0.7 * len(texts)
    assert np.mean([label == true for label, true in answered]) > 0.9
    rng = random.Random(5)
    strange = classifier.classify([" ".join(rng.choices(WORDS[200:], k=9)) for _ in range(60)])
    assert np.mean([one.label is None for one in strange]) > np.mean([one.label is None for one in found]) + 0.2
    assert all(one.best in TOPICS and 0 <= one.score <= 1 for one in strange)


def test_likelihoods_are_those_of_the_embeddings(with_head):
    texts, _ = made(3, seed=2)
    classifier = Classifier.open(with_head)
    likely = classifier.likelihoods(texts)
    assert likely.shape == (15, 5)
    np.testing.assert_allclose(likely.sum(axis=1), 1, rtol=1e-5)
    weights = np.load(io.BytesIO(with_head.read("head.npy")), allow_pickle=False)
    np.testing.assert_allclose(softmax(logits(Encoder.open(with_head).embed(texts), weights)), likely, rtol=1e-5)
    assert classifier.classify([]) == []
    assert classifier.classify_vectors(Encoder.open(with_head).embed(texts)) == classifier.classify(texts)


def test_abstain_can_be_said_anew(with_head):
    texts, _ = made(10, seed=3)
    assert None not in [one.label for one in Classifier.open(with_head, abstain=0).classify(texts)]
    assert all(
        one.label is None or one.score >= 0.99 for one in Classifier.open(with_head, abstain=0.99).classify(texts)
    )
    with pytest.raises(DataError, match="abstain is 2"):
        Classifier.open(with_head, abstain=2)


def test_a_bundle_with_a_head_is_a_bundle(bundle, with_head, fitted):
    texts, _ = made(2)
    np.testing.assert_array_equal(Encoder.open(bundle).embed(texts), Encoder.open(with_head).embed(texts))
    reopened = Bundle.open(with_head.path)
    assert reopened.manifest.head == fitted.head
    assert reopened.manifest.provenance.parent == bundle.digest
    assert reopened.manifest.metrics == bundle.manifest.metrics
    rows = dict(describe(reopened))
    assert rows["classifier"].endswith("5 labels from 50 examples")
    assert "taps" in rows["classifier labels"]
    assert "classifier" not in dict(describe(bundle))


def test_a_second_head_takes_the_place_of_the_first(bundle, with_head, tmp_path):
    texts, labels = made(4, topics={name: TOPICS[name] for name in ("wool", "cats")})
    second = store_head(with_head, fit_head(Encoder.open(with_head).embed(texts), labels), tmp_path / "second")
    assert Classifier.open(second).labels == ("cats", "wool")
    assert second.manifest.provenance.parent == bundle.digest
    assert second.sums.keys() == with_head.sums.keys()


def test_a_damaged_head_is_refused(with_head, tmp_path):
    import hashlib
    import shutil

    broken = tmp_path / "broken"

    def rewritten(content):
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(with_head.path, broken)
        (broken / "head.npy").write_bytes(content)
        sums = dict(with_head.sums, **{"head.npy": hashlib.sha256(content).hexdigest()})
        (broken / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
        return broken

    def array(values):
        content = io.BytesIO()
        np.save(content, values, allow_pickle=True)
        return content.getvalue()

    for content in (
        b"",
        b"nonsense",
        array(np.zeros((5, 64), np.float32)),
        array(np.zeros((5, 65))),
        array(np.full((5, 65), np.nan, np.float32)),
    ):
        with pytest.raises(BundleError, match=r"head\.npy.*fit the classifier again"):
            Classifier.open(rewritten(content))
    with pytest.raises(BundleError, match=r"head\.npy.*fit the classifier again"):
        Classifier.open(rewritten(array(np.array([[print]], dtype=object))))
    (with_head.path / "head.npy").rename(tmp_path / "away")
    try:
        with pytest.raises(BundleError, match=r"head\.npy: is missing"):
            Bundle.open(with_head.path)
    finally:
        (tmp_path / "away").rename(with_head.path / "head.npy")


def test_a_manifest_whose_head_does_not_fit_is_refused(with_head):
    raw = json.loads((with_head.path / "manifest.json").read_bytes())
    for change in ({"labels": ["one"]}, {"labels": ["a", "a"]}, {"threshold": 2}, {"weights": "../head.npy"}):
        content = json.dumps({**raw, "head": {**raw["head"], **change}}).encode()
        with pytest.raises(BundleError, match="head"):
            read_manifest(content, "manifest.json")


def test_a_bundle_without_a_classifier_says_what_to_do(bundle):
    with pytest.raises(BundleError, match="nearfar classify fit"):
        Classifier.open(bundle)


def test_the_classes_of_a_graph_classify_where_there_is_no_head(tmp_path):
    image_bundle = write_tiny_image_bundle(tmp_path / "images", classes=("red", "green", "blue"))
    pictures = [np.zeros((8, 8, 3), dtype=np.uint8) for _ in range(3)]
    for channel, picture in enumerate(pictures):
        picture[..., channel] = 255
    classifier = Classifier.open(image_bundle)
    assert [one.label for one in classifier.classify(pictures)] == ["red", "green", "blue"]
    with pytest.raises(BundleError, match="part of the graph"):
        classifier.classify_vectors(np.zeros((1, 16), dtype=np.float32))
    # A head of other labels comes before them.
    fitted = fit_head(Encoder.open(image_bundle).embed(pictures * 2), ["warm", "cold", "cold"] * 2)
    headed = Classifier.open(store_head(image_bundle, fitted, tmp_path / "headed"), abstain=0)
    assert [one.label for one in headed.classify(pictures)] == ["warm", "cold", "cold"]
    assert Encoder.open(tmp_path / "headed").classes == ("red", "green", "blue")


def test_cross_validation_chooses_and_says_how_well(fitted):
    head = fitted.head
    assert head.accuracy.keys() == {"prototypes", "logistic"}
    assert head.accuracy[head.kind] == max(head.accuracy.values()) > 0.8
    assert head.precision >= 0.9
    assert 0.5 < head.coverage <= 1
    assert 0 < head.threshold < 1


def test_the_same_seed_gives_the_same_head(bundle, fitted):
    texts, labels = made(10)
    again = fit_head(Encoder.open(bundle).embed(texts), labels)
    assert again.head == fitted.head
    np.testing.assert_array_equal(again.weights, fitted.weights)


def test_one_example_a_label_gives_prototypes_that_never_abstain(bundle):
    texts, labels = made(1)
    head, weights = fit_head(Encoder.open(bundle).embed(texts), labels)
    assert (head.kind, head.threshold, head.precision, head.accuracy) == ("prototypes", 0.0, None, {})
    assert weights.shape == (5, 65)
    with pytest.raises(DataError, match="single example"):
        fit_head(Encoder.open(bundle).embed(texts), labels, kind="logistic")


def test_labels_of_very_different_numbers_of_examples(bundle):
    texts, labels = made(12)
    kept = [n for n, label in enumerate(labels) if label not in ("cats", "wool")] + [36, 48, 49]
    head, weights = fit_head(Encoder.open(bundle).embed([texts[n] for n in kept]), [labels[n] for n in kept])
    assert len(head.labels) == 5
    assert np.isfinite(weights).all()


def test_two_labels_and_one_label(bundle):
    texts, labels = made(8, topics={name: TOPICS[name] for name in ("wool", "cats")})
    vectors = Encoder.open(bundle).embed(texts)
    head, _ = fit_head(vectors, labels)
    assert head.unknown == 0  # no label can be left out of two
    with pytest.raises(DataError, match="at least two labels, but the items have 1"):
        fit_head(vectors[:3], ["cats"] * 3)
    with pytest.raises(DataError, match="precision is 0"):
        fit_head(vectors, labels, precision=0)


def test_with_three_labels_one_is_hidden_to_learn_when_to_abstain(bundle):
    texts, labels = made(8, topics={name: TOPICS[name] for name in ("wool", "cats", "taps")})
    head, _ = fit_head(Encoder.open(bundle).embed(texts), labels, unknown=0.3)
    plain, _ = fit_head(Encoder.open(bundle).embed(texts), labels, unknown=0)
    assert head.unknown == 0.3
    assert head.threshold > plain.threshold


def test_logistic_regression_is_at_the_minimum_of_its_objective():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((90, 6)).astype(np.float32) * 0.2 + 1
    labels = rng.integers(3, size=90)
    weights = fit_logistic(vectors, labels, classes=3, penalty=0.1).astype(np.float64)
    linear = pytest.importorskip("sklearn.linear_model")
    spread = np.sqrt(vectors.var(axis=0).mean())
    scaled = (vectors - vectors.mean(axis=0)) / spread
    peer = linear.LogisticRegression(C=1 / (0.1 * 90), tol=1e-8, max_iter=5_000).fit(scaled, labels)
    np.testing.assert_allclose(
        softmax(logits(vectors, weights.astype(np.float32))), peer.predict_proba(scaled), atol=2e-3
    )


def test_l_bfgs_finds_the_minimum_of_a_narrow_valley():
    scales = np.geomspace(1, 100, 12)
    target = np.arange(12.0)
    found = minimise(lambda x: (float(scales @ (x - target) ** 2) / 2, scales * (x - target)), np.zeros(12))
    np.testing.assert_allclose(found, target, atol=0.05)


def test_prototypes_are_the_directions_of_the_means():
    vectors = np.array([[1, 0], [0, 1], [0, 1], [-1, 0], [1, 0]], dtype=np.float32)
    weights = prototypes(vectors, np.array([0, 0, 1, 2, 2]), 4)
    np.testing.assert_allclose(weights[0], [0.5**0.5, 0.5**0.5, 0], atol=1e-6)
    np.testing.assert_allclose(weights[1], [0, 1, 0])
    np.testing.assert_allclose(weights[2], [0, 0, 0])  # opposite vectors point nowhere
    assert weights[3, -1] == -np.inf


def test_the_threshold_is_the_lowest_that_keeps_the_precision():
    likely, right = [0.9, 0.8, 0.7, 0.6, 0.5], [1, 1, 0, 1, 0]
    assert choose_threshold(likely, right, [], precision=0.75, unknown=0.5) == pytest.approx((0.6, 0.75, 0.8))
    assert choose_threshold(likely, right, [], precision=1, unknown=0) == (0.8, 1.0, 0.4)
    assert choose_threshold(likely, right, [], precision=0.5, unknown=0) == (0.0, 0.6, 1.0)
    # Half of all items are strange, and half of those look as sure as 0.75.
    found = choose_threshold(likely, right, [0.75, 0.1], precision=0.9, unknown=0.5)
    assert found == (0.8, 1.0, 0.4)
    assert choose_threshold([0.9, 0.9], [1, 0], [], precision=0.9, unknown=0) == (0.0, 0.5, 1.0)


def test_classifying_loads_no_package_for_training(with_head):
    code = (
        "import sys\nfrom nearfar.edge.collections.classify import Classifier\n"
        f"Classifier.open({str(with_head.path)!r}).classify(['a text'])\n"
        "print([name for name in ('torch', 'sklearn', 'scipy', 'faiss') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
