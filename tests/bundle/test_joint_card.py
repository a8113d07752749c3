"""The record of several modalities, and what the card and `describe` say of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from nearfar.bundle import Bundle, BundleWriter, Manifest, Metric, Provenance, Tower, describe, render_card
from nearfar.bundle.joint_record import Gap, JointRecord, ScoreScale, ShippedTower
from nearfar.bundle.manifest import read_manifest
from nearfar.frontend.settings import (
    AudioSettings,
    ImageSettings,
    JointSettings,
    NumberColumn,
    TableSettings,
    TextSettings,
)

FIGURES = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr_at_10", "median_rank")


def figures(shift: float) -> dict[str, Metric]:
    found = {
        f"{direction}_{name}": Metric(value=0.1 * place + shift, low=0.1 * place, high=0.9)
        for direction in ("text_to_image", "image_to_text")
        for place, name in enumerate(FIGURES)
    }
    return found | {"audio_to_image_precision_at_10": Metric(value=0.5 + shift)}


def made_manifest(**changes: object) -> Manifest:
    mixed = {
        f"mixed_{name}_{way}": Metric(value=value, low=value, high=value)
        for way, value in (("plain", 0.125), ("scaled", 0.875))
        for name in ("recall_at_10", "share_text", "share_image", "share_audio")
    }
    values: dict[str, object] = {
        "created": datetime(2025, 1, 2, tzinfo=UTC),
        "name": "things | and more",
        "kind": "joint-encoder",
        "towers": {name: Tower(graph=f"{name}.onnx") for name in ("text", "image", "audio")},
        "dim": 32,
        "frontend": JointSettings(
            towers={
                "text": TextSettings(tokenizer="text-tokenizer.json", max_query_tokens=16, max_document_tokens=32),
                "image": ImageSettings(size=32),
                "audio": sound(),
            }
        ),
        "joint": JointRecord(
            trained=(("text", "image"), ("text", "text")),
            centred=True,
            gaps=(Gap(towers=("text", "image"), distance=Metric(value=0.25, low=0.125, high=0.375)),),
            scales=(
                ScoreScale(query="text", items="image", mean=0.0625, spread=0.5),
                ScoreScale(query="text", items="text", mean=0.125, spread=0.25),
            ),
            graphs=(
                ShippedTower(tower="text", weights="int8", size=120_000, cosine=0.9991),
                ShippedTower(tower="image", weights="float32", size=2_500_000, cosine=1.0, int8_cosine=0.912),
            ),
        ),
        "metrics": {
            "bundle": figures(0.3) | mixed | {"text_to_image_recall_at_10_name_de": Metric(value=0.75)},
            "chance": figures(0.0),
            "model": figures(0.2),
        },
        "provenance": Provenance(recipe={}, recipe_sha256="0" * 64, data_fingerprint="1" * 64),
    }
    return Manifest(**(values | changes))  # type: ignore[arg-type]


def sound() -> AudioSettings:
    return AudioSettings(rate=8000, step=2000, longest=16_000, frame=200, hop=80, bands=24, lowest=60.0, highest=3800.0)


def test_the_manifest_comes_back_as_it_was():
    manifest = made_manifest()
    assert read_manifest(manifest.to_bytes(), "here") == manifest
    assert manifest.file_names == {"text.onnx", "image.onnx", "audio.onnx", "text-tokenizer.json"}


def test_a_record_of_other_things_is_refused():
    with pytest.raises(ValidationError, match="towers must be"):
        made_manifest(towers={"text": Tower(graph="text.onnx")})
    with pytest.raises(ValidationError, match="cannot do without"):
        made_manifest(joint=None)
    with pytest.raises(ValidationError):
        ScoreScale(query="text", items="image", mean=0.0, spread=0.0)
    with pytest.raises(ValidationError, match="cosine, not euclidean"):
        made_manifest(similarity="euclidean")


@pytest.mark.parametrize("size", [{"mean": 1e308}, {"mean": float("nan")}, {"spread": 5e-324}, {"spread": 1e300}])
def test_a_scale_that_no_cosines_have_is_refused(size: dict[str, float]):
    with pytest.raises(ValidationError):
        ScoreScale(**({"query": "text", "items": "image", "mean": 0.0, "spread": 0.1} | size))


def test_a_record_names_towers_that_are_there_each_pair_once():
    scale = ScoreScale(query="text", items="image", mean=0.0, spread=0.1)
    with pytest.raises(ValidationError, match="names sound, which is no tower"):
        made_manifest(joint=JointRecord(trained=(("text", "sound"),)))
    with pytest.raises(ValidationError, match="must differ by query and items"):
        JointRecord(trained=(("text", "image"),), scales=(scale, scale))


def test_the_card_has_a_line_for_each_direction():
    card = render_card(made_manifest())
    section = card.partition("## How well it works")[2].partition("###")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert lines[0] == f"| this bundle | {' | '.join(FIGURES)} | precision_at_10 |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["text → image", "image → text", "audio → image"]
    assert "0.500 [0.200, 0.900]" in lines[2]


def test_the_card_sets_the_bundle_beside_chance_and_the_model():
    card = render_card(made_manifest())
    section = card.partition("### Beside chance")[2].partition("###")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert lines[0] == "| | | a random order | trained model, float weights | **this bundle, as it runs on a device** |"
    assert lines[-1] == "| audio → image | precision_at_10 | 0.5 | 0.7 | 0.8 |"
    assert len(lines) == 5


def test_the_card_says_what_ships_and_how_modalities_lie():
    card = render_card(made_manifest())
    assert "| text | texts, cut to" in card
    assert "`text.onnx`, 0.12 MB, int8 | cosine 0.9991 |" in card
    assert "2.50 MB, float32 | cosine 1.0000; in int8 it was only 0.912, so it ships in float |" in card
    assert "Learned from each other: text and image, text with text." in card
    assert "| text and image | 0.250 [0.125, 0.375] | 0.062 ± 0.500 |" in card
    assert "Within one tower: text 0.125 ± 0.250." in card
    assert "| by the cosine | 0.125 | 0.125 | 0.125 | 0.125 |" in card
    assert "| name_de | 0.75 |" in card
    assert "Each tower's mean is taken" in card
    assert "# things \\| and more" in card


def test_a_card_without_figures_says_so():
    card = render_card(made_manifest(metrics={}, joint=JointRecord(trained=(("text", "image"),))))
    assert "Nothing was measured" in card
    assert "How the modalities lie" not in card


def test_towers_of_rows_are_in_words():
    table = TableSettings(columns=(NumberColumn(name="size | cm", knots=(0.0, 1.0), levels=(0.0, 1.0)),))
    manifest = made_manifest(
        towers={"table": Tower(graph="table.onnx"), "image": Tower(graph="image.onnx")},
        frontend=JointSettings(towers={"table": table, "image": ImageSettings(size=32)}),
        joint=JointRecord(trained=(("table", "image"),)),
        metrics={},
    )
    assert "| table | rows of size \\| cm | `table.onnx` |" in render_card(manifest)
    assert "--image photo.jpg" in render_card(manifest)


def test_inspect_shows_the_towers(tmp_path):
    manifest = made_manifest()
    with BundleWriter(tmp_path / "bundle") as writer:
        for name in manifest.file_names:
            writer.add(name, b"content")
        writer.finish(manifest, render_card(manifest))
    rows = dict(describe(Bundle.open(tmp_path / "bundle")))
    assert rows["kind"] == "joint-encoder, format 1"
    assert rows["towers"] == "text: text.onnx, image: image.onnx, audio: audio.onnx"
    assert rows["tower image"].startswith("pictures, their central square, 32 x 32 pixels")
    assert rows["learned pairs"] == "text and image, text with text"
    assert rows["gap text and image"] == "0.250 [0.125, 0.375]"
