"""Recipes for series: defaults of their own, and what makes no sense is said by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.errors import RecipeError
from nearfar.recipe import Recipe, dump_recipe, load_recipe, parse_recipe, summarise
from nearfar.recipe.provenance import in_words, policy_of
from nearfar.recipe.series import HealthyPairing, SeriesViews, Watch
from nearfar.recipe.views import Views

SERIES = """\
name: machine
data:
  source: {kind: series, path: telemetry}
frontend: {kind: series}
encoder: {kind: dilated_cnn}
method: {kind: fault_contrast}
"""
TEXT = """\
name: notes
data:
  source: {kind: folder, path: docs}
  pairings: [{kind: spans}]
encoder: {kind: static}
"""


def parsed(text: str, *overrides: str) -> Recipe:
    return parse_recipe(text, name="r.yaml", base=Path("/recipes"), overrides=overrides)


def complaint(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        parsed(text, *overrides)
    return str(error.value)


def test_series_have_defaults_of_their_own() -> None:
    recipe = parsed(SERIES)
    assert recipe.modality == "series"
    assert recipe.data.pairings == (HealthyPairing(kind="healthy"),)
    assert recipe.views == SeriesViews()
    assert recipe.watch == Watch()
    assert recipe.train.early_stop is None
    assert recipe.evaluate.baselines == ("untrained",)
    source, frontend, _, encoder, _, _ = recipe.of_series
    assert source.path == Path("/recipes/telemetry")
    assert frontend.window == 32
    assert encoder.output_dim == 32


def test_what_is_written_stays() -> None:
    recipe = parsed(
        SERIES,
        "views.jitter=0.3",
        "watch={needed: 2, out_of: 4}",
        "train.early_stop={metric: fault_auc_pr}",
        "data.pairings=[{kind: healthy, near: 1.0}]",
    )
    parts = recipe.of_series
    assert (parts.views.jitter, parts.views.mask, parts.watch.needed) == (0.3, 0.1, 2)
    assert recipe.train.early_stop is not None
    assert isinstance(recipe.data.pairings[0], HealthyPairing)
    assert recipe.data.pairings[0].near == 1.0


def test_a_dumped_recipe_reads_as_itself() -> None:
    recipe = parsed(SERIES, "encoder.kind=spectral", "views.crop=[0.5, 1.0]")
    assert parse_recipe(dump_recipe(recipe), base=Path("/recipes")) == recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("encoder={kind: patch_transformer, patch: 7}",), "encoder.patch is 7, which does not divide frontend.window (32)"),
        (("encoder={kind: patch_transformer, width: 50}",), "encoder.width is 50, which is no multiple of encoder.heads (4)"),
        (("encoder={kind: spectral, segment: 100}",), "encoder.segment is 100, but frontend.window has only 32 frames"),
        (("encoder={kind: static}",), "encoder 'static' does not take what frontend 'series' gives"),
        (("method={kind: simclr}",), "method 'simclr' is for pictures: set it to fault_contrast"),
        (("method={kind: dual_encoder}",), "method 'dual_encoder' is for text: set it to fault_contrast"),
        (("frontend.kind=text",), "data.source is 'series', which frontend 'text' does not read: set frontend.kind to series"),
        (("data.pairings=[{kind: spans}]",), "pairing 'spans' is for text, but the source is 'series'; the pairing of series is 'healthy'"),
        (("views={flip: 0.5}",), "views.flip: unknown key; it belongs to kind image, not 'series'"),
        (("views.jiter=0.5",), 'views.jiter: unknown key; did you mean "jitter"?'),
        (("views.mask=2.0",), "views.mask: expected a number from 0 to 1, got 2.0"),
        (("watch={needed: 9, out_of: 5}",), "needed is 9, but only 5 scores are looked at: out_of must be as many"),
        (("watch.needed=2",), "watch: needed and out_of go together: give both, or neither"),
        (("data.split.by=group",), "data.split.by is for text and pictures: series are split in time"),
        (("data.labels_per_class=5",), "data.labels_per_class is for"),
        (("export.dim=16",), "export.dim is for text and pictures"),
        (("teacher={model: x}",), "teacher is for text: leave it out"),
        (("evaluate.baselines=[bm25]",), "evaluate.baselines has bm25, which frontend 'series' cannot be measured by"),
        (("train.early_stop={metric: knn_accuracy}",), "is not measured for frontend 'series'; set it to fault_auc_pr"),
        (("method.faults.kinds=[]",), "method.faults.kinds"),
        (("method.faults.strength=[4.0, 0.5]",), "the smaller limit comes first"),
        (("data.source.machine=files",), "data.source.machine: unknown value 'files'; did you mean \"file\"?"),
    ],
)  # fmt: skip
def test_a_recipe_for_series_that_makes_no_sense(settings: tuple[str, ...], message: str) -> None:
    found = complaint(SERIES, *settings)
    assert found.count("\n") == 0, found
    assert message in found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("watch={calm: 2}",), "watch is for series: leave it out"),
        (("views={kind: series}",), "views are for series: leave them out"),
        (("data.pairings=[{kind: healthy}]",), "pairing 'healthy' is for series, but the source is 'folder'"),
        (("method={kind: fault_contrast}",), "method 'fault_contrast' is for series: leave it out, or set it to dual_encoder"),
    ],
)  # fmt: skip
def test_a_recipe_for_text_with_what_is_for_series(settings: tuple[str, ...], message: str) -> None:
    found = complaint(TEXT, *settings)
    assert found.count("\n") == 0, found
    assert message in found


def test_views_are_of_the_kind_of_the_frontend() -> None:
    pictures = """\
name: digits
data: {source: {kind: digits}, pairings: [{kind: views}]}
frontend: {kind: image, size: 8, channels: 1}
encoder: {kind: cnn}
method: {kind: simclr}
views: {flip: 0.0}
"""
    assert isinstance(parsed(pictures).views, Views)
    assert isinstance(parsed(SERIES + "views: {mask: 0.0}\n").views, SeriesViews)


def test_the_shipped_recipe_says_what_a_run_would_do() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "machine-monitor.yaml")
    rows = dict(summarise(recipe))
    assert rows["positives"] == "two healthy windows of a machine, 50% of them within 4 windows"
    assert "in time" in rows["held out"]
    assert rows["alarms"].startswith(
        "1 false alarms a day, by 3 of 5 or 20 of 30 scores; the best of mahalanobis of raw"
    )
    assert "permutation" not in rows["views"]
    assert "time warp" not in rows["views"]
    assert "jitter 0.1" in rows["views"]
    negatives, mining = in_words(policy_of(recipe))
    assert "synthetic_faults (per window 1, of its machine" in negatives
    assert "never counted: other healthy windows" in negatives
    assert mining == "none"
