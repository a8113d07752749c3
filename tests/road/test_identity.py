"""Error rates and attacks of a bundle on made people: pictures of grain around a pattern of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_image_bundle import tiny_image_graph, tiny_image_manifest

from nearfar.bundle import Bundle, BundleWriter, render_card
from nearfar.edge import Encoder
from nearfar.errors import BundleError, DataError
from nearfar.evaluate.verification import det_curve
from nearfar.frontend import ImageSettings
from nearfar.recipe.identity import Verification
from nearfar.road.attack_identity import attack_identity
from nearfar.road.det_plot import write_det
from nearfar.road.evaluate_identity import evaluate_identity
from nearfar.road.measure_identity import measure_identity
from nearfar.road.people import People, within

SETTINGS = ImageSettings(size=8, channels=1)
DIM = 32


def made(count: int, samples: int, grain: float, *, seed: int = 0, first: int = 0) -> People:
    """Two sessions each; the attribute is the brightness of the pattern."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(first, first + count), samples)
    patterns = rng.uniform(0.1, 0.7, (first + count, 8, 8, 1))
    patterns[::2] += 0.2
    pictures = (patterns[labels] + grain * rng.normal(size=(len(labels), 8, 8, 1))).clip(0, 1).astype(np.float32)
    sessions = 2 * labels + np.tile(np.arange(samples) % 2, count)
    attributes = tuple("dark" if label % 2 else "bright" for label in labels)
    return People(list(pictures), labels, sessions, attributes)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    manifest = tiny_image_manifest(SETTINGS, dim=DIM)
    with BundleWriter(tmp_path_factory.mktemp("tiny") / "bundle") as writer:
        writer.add("encoder.onnx", tiny_image_graph(SETTINGS, DIM).SerializeToString())
        return writer.finish(manifest, render_card(manifest))


@pytest.fixture(scope="module")
def encoder(bundle: Bundle) -> Encoder:
    return Encoder.open(bundle)


def as_torch(encoder: Encoder, people: People) -> Any:
    """The float model of the tiny graph, fitted to what it gives: it is linear up to the length of a row."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((64, DIM)).astype(np.float32)
    bias = rng.standard_normal(DIM).astype(np.float32)
    model = torch.nn.Linear(64, DIM)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(values.T))
        model.bias.copy_(torch.from_numpy(bias))
    pixels = torch.from_numpy(np.stack(people.items[:3]).transpose(0, 3, 1, 2).copy())
    found = torch.nn.functional.normalize(model(pixels.flatten(1)), dim=1).detach().numpy()
    np.testing.assert_allclose(found, encoder.embed(people.items[:3]), atol=1e-4)
    return lambda inputs: model(inputs.flatten(1))


def test_the_threshold_is_of_validation_and_the_figures_of_test(encoder: Encoder) -> None:
    settings = Verification(fmr=0.01, samples=4, components=DIM)
    found = measure_identity(
        {"untrained": encoder, "bundle": encoder},
        made(20, 8, 0.25),
        made(24, 8, 0.25, seed=1, first=20),
        settings,
        resamples=60,
    )
    record, figures = found.record, found.metrics["bundle"]
    assert found.why_no_threshold == ""
    assert record.identities == 20
    assert record.impostor == 20 * 19 * 8
    assert record.realised_fmr is not None
    assert record.realised_fmr.high is not None
    assert record.realised_fmr.high <= 0.01
    assert {"eer", "fmr100", "fmr", "fnmr", "one_shot_20", "eer_other_session"} <= set(figures)
    assert "fmr" not in found.metrics["untrained"]
    assert figures["eer"] == found.metrics["untrained"]["eer"]
    assert 0 < figures["eer"].value < 0.4


def test_too_few_trials_give_no_threshold_and_say_what_it_takes(encoder: Encoder) -> None:
    people = made(4, 6, 0.2)
    found = measure_identity({"bundle": encoder}, people, people, Verification(fmr=0.0001, samples=3), resamples=20)
    assert found.record.threshold is None
    assert found.record.impostor == 4 * 3 * 6
    assert "29,956" in found.why_no_threshold
    assert "fmr" not in found.metrics["bundle"]
    alone = measure_identity({"bundle": encoder}, None, made(3, 2, 0.2), Verification(samples=5), resamples=20)
    assert alone.metrics == {}


def test_the_attack_report(encoder: Encoder) -> None:
    people = made(24, 8, 0.25)
    rows = attack_identity(
        encoder,
        people,
        samples=4,
        components=DIM,
        threshold=None,
        model=as_torch(encoder, people),
        resamples=50,
    )
    attacks = {name: metric.value for name, metric in rows["attacks"].items()}
    # Templates with keys of their own say nothing; with one key for all the same measure sees the link.
    assert attacks["unlinkability"] < 2 * attacks["unlinkability_null_95"]
    assert attacks["unlinkability_one_key"] > 2 * attacks["unlinkability_null_95"]
    assert attacks["own_key_eer"] < attacks["stolen_key_eer"]
    # An orthogonal transform of all components is undone by its key, and only by it.
    assert attacks["inversion_cosine"] > 0.99
    assert attacks["stolen_template_after_renewal"] == 0
    assert attacks["fnmr_noise_05"] <= attacks["fnmr_noise_10"] <= attacks["fnmr_noise_20"]
    assert attacks["pgd_success"] >= attacks["pgd_success_noise"]
    assert attacks["pgd_evasion"] > attacks["pgd_evasion_noise"]
    assert attacks["pgd_evasion"] == pytest.approx(attacks["pgd_evasion_model"], abs=0.1)
    assert attacks["attribute_accuracy"] > attacks["attribute_base"] + 0.1
    assert rows["group bright"]["identities"].value == 12
    assert {"fmr", "fnmr"} < set(rows["group dark"])


def test_fewer_components_leave_a_thief_with_less(encoder: Encoder) -> None:
    people = made(16, 6, 0.2)
    few, all_of_them = (
        attack_identity(encoder, people, samples=3, components=kept, threshold=0.9, resamples=10)["attacks"]
        for kept in (8, DIM)
    )
    assert few["inversion_cosine"].value < 0.7 < all_of_them["inversion_cosine"].value
    assert "pgd_success" not in few


def test_nobody_with_enough_samples_is_attacked_not_at_all(encoder: Encoder) -> None:
    assert attack_identity(encoder, made(5, 3, 0.2), samples=3, components=DIM, threshold=0.9) == {}


def test_whole_identities_are_left_out() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, -1, 2, 2])
    kept = within(np.arange(9), labels, 6, seed=0)
    assert len(kept) <= 6
    assert 6 not in kept
    for label in range(3):
        assert (
            np.isin(np.flatnonzero(labels == label), kept).all()
            or not np.isin(kept, np.flatnonzero(labels == label)).any()
        )


class _Samples:
    """Samples as a source yields them."""

    def __init__(self, people: People, broken: Sequence[Any] = ()) -> None:
        from nearfar.edge.verify.samples import Sample

        self.all = [
            Sample(str(label), item, str(s))
            for label, item, s in zip(people.labels, people.items, people.sessions, strict=True)
        ]
        self.all += [Sample("somebody", item, location=f"broken {n}") for n, item in enumerate(broken)]


def test_other_people_are_measured_beside_raw_pixels(bundle: Bundle, tmp_path: Path) -> None:
    samples = _Samples(made(24, 8, 0.25), broken=[b"no picture"]).all
    report = evaluate_identity(bundle, samples, of=4, threshold=0.9, resamples=30)
    assert sum(report.refused.skipped.values()) == 1
    assert set(report.metrics) == {"pixels", "bundle", "attacks"}
    assert report.identities == 24
    assert report.sessions
    curves = {row: det_curve(trials) for row, trials in report.trials.items()}
    write_det(curves, tmp_path / "det.html", "a & b", threshold=report.threshold)
    page = (tmp_path / "det.html").read_text("utf-8")
    assert "a &amp; b" in page
    assert page.count('class="curve"') == 2
    assert 'class="at"' in page
    assert "http" not in page
    with pytest.raises(DataError, match=r"\.png or \.html"):
        write_det(curves, tmp_path / "det.pdf", "x")


def test_the_picture_of_the_curves(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = evaluate_identity(bundle, _Samples(made(10, 6, 0.3)).all, of=3, attacks=False, resamples=10)
    write_det({row: det_curve(t) for row, t in report.trials.items()}, tmp_path / "det.png", "people")
    assert (tmp_path / "det.png").read_bytes().startswith(b"\x89PNG")


def test_one_identity_alone_is_refused(bundle: Bundle) -> None:
    with pytest.raises(DataError, match="one identity alone"):
        evaluate_identity(bundle, _Samples(made(1, 8, 0.2)).all, of=3)
    with pytest.raises(DataError, match="no sample"):
        evaluate_identity(bundle, [])
    with pytest.raises(BundleError):
        evaluate_identity(Bundle.open(bundle.path / "nothing"), [])
