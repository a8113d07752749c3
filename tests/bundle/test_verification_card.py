"""The sections of a card that are of identities."""

from __future__ import annotations

from tiny_image_bundle import tiny_image_manifest

from nearfar.bundle import Manifest, render_card
from nearfar.bundle.block import Metric
from nearfar.bundle.verification_record import VerificationRecord
from nearfar.frontend import ImageSettings


def made(threshold: float | None = 0.7, *, seen: bool = False) -> Manifest:
    record = VerificationRecord(components=16, samples=5, threshold=threshold, fmr=0.001, seen=seen)
    group = {"identities": Metric(value=3), "fmr": Metric(value=0.01), "fnmr": Metric(value=0.2, low=0.1, high=0.3)}
    metrics = {
        "bundle": {"eer": Metric(value=0.04, low=0.03, high=0.05)},
        "attacks": {"unlinkability": Metric(value=0.03), "unlinkability_null": Metric(value=0.04)},
        "group a|b": group,
    }
    manifest = tiny_image_manifest(ImageSettings(size=8), dim=16)
    return manifest.model_copy(update={"verification": record, "metrics": metrics})


def test_threshold_attacks_and_limits_are_told() -> None:
    card = render_card(made())
    assert "a score of 0.7000" in card
    assert "## Attacks" in card
    assert card.index("| `unlinkability` | 0.03 |") < card.index("| `unlinkability_null` | 0.04 |")
    assert "| a b | 3 | 0.01 | 0.2 [0.1, 0.3] |" in card
    assert "no claim of conformance" in card
    # Attacks are no row of the table of how well it works.
    assert "| attacks |" not in card
    assert "`eer`: equal error rate" in card


def test_identities_that_were_trained_on_are_warned_of() -> None:
    warning = "trained on these very identities"
    assert warning in render_card(made(seen=True))
    assert warning not in render_card(made())


def test_a_missing_threshold_is_explained() -> None:
    assert "no threshold ships" in render_card(made(None))


def test_other_bundles_say_nothing_of_it() -> None:
    card = render_card(tiny_image_manifest(ImageSettings(size=8), dim=16))
    assert "Who is it" not in card
    assert "Attacks" not in card
