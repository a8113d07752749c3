"""Who is who in pictures: what shares a batch, what is held out, and that strangers are told apart afterwards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from interruption import interrupt_at
from made_glyphs import folder_source, glyph_recipe, table_source, write_glyph_folders, write_glyph_table
from PIL import Image

from nearfar.errors import DataError, InterruptedRunError
from nearfar.learn.data.batches import Share
from nearfar.learn.data.identity_batches import trained_identities
from nearfar.learn.data.picture_rows import PictureRows, turned_by
from nearfar.learn.data.pictures import PictureCorpus, prepare_pictures
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.learn.pictures import TrainedPictures
from nearfar.learn.run import open_run, train_run
from nearfar.learn.trainer.pictures import embed_stored
from nearfar.learn.views import Views
from nearfar.recipe import Recipe


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glyph_folders(tmp_path_factory.mktemp("glyphs") / "in", characters=24, hands=9, days=3)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glyph_table(tmp_path_factory.mktemp("glyphs") / "glyphs.parquet", characters=30, hands=8)


def prepared(recipe: Recipe, folder: Path) -> PictureCorpus:
    return prepare_pictures(recipe.data, recipe.of_images.frontend, folder, recipe.seed)


def rows_of(corpus: PictureCorpus, recipe: Recipe) -> PictureRows:
    frontend = recipe.of_images.frontend
    views = Views(recipe.of_images.views, size=frontend.size, channels=frontend.channels)
    assert recipe.identity is not None
    return PictureRows.by_identity(corpus, views, recipe.identity, seed=recipe.seed)


# --- what is read and held out -----------------------------------------------------------------------------------------


def test_folders_below_an_identity_are_its_sessions(folders: Path, tmp_path: Path) -> None:
    corpus = prepared(glyph_recipe(folder_source(folders)), tmp_path / "out")
    assert corpus.counts.sessions == 24 * 3
    for label in range(24):
        of = corpus.sessions[corpus.labels == label]
        assert sorted(Counter(of.tolist()).values()) == [3, 3, 3]
        assert not set(of) & set(corpus.sessions[corpus.labels != label])
    assert corpus.attributes.tolist() == [-1] * len(corpus.labels)


def test_a_table_names_sessions_and_attributes(table: Path, tmp_path: Path) -> None:
    corpus = prepared(glyph_recipe(table_source(table)), tmp_path / "out")
    assert corpus.counts.attributes == ["left", "right"]
    assert np.bincount(corpus.attributes).tolist() == [60, 180]
    assert corpus.counts.sessions == 30 * 3


def test_identities_are_held_out_whole(folders: Path, tmp_path: Path) -> None:
    corpus = prepared(glyph_recipe(folder_source(folders)), tmp_path / "out")
    sides = [set(corpus.labels[corpus.numbers_of(side)].tolist()) for side in (TRAIN, VALIDATION, TEST)]
    assert sum(map(len, sides)) == 24
    assert [len(side) for side in sides] == pytest.approx([14, 4, 6], abs=1)
    assert trained_identities(corpus).tolist() == sorted(sides[0])


def test_alphabets_are_held_out_whole(table: Path, tmp_path: Path) -> None:
    recipe = glyph_recipe(table_source(table), "data.split={by: group, validation: 0.17, test: 0.17}")
    corpus = prepared(recipe, tmp_path / "out")
    sides = [set((corpus.labels[corpus.numbers_of(side)] // 5).tolist()) for side in (TRAIN, VALIDATION, TEST)]
    assert sorted(map(len, sides)) == [1, 1, 4]
    assert len(set.union(*sides)) == 6


def test_an_identity_in_two_folders_of_the_split_is_refused_unless_it_is_known(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_glyph_folders(tmp_path / "in" / split, characters=4, hands=5 if split == "train" else 6)
    for character in range(4):
        for hand in range(5):
            (tmp_path / "in" / "test" / f"c{character:03}" / f"{hand:02}.png").unlink()
    with pytest.raises(DataError, match=r"4 of 4 identities lie on two sides .*c000 \(5 in train, 1 in test\)"):
        prepared(glyph_recipe(folder_source(tmp_path / "in")), tmp_path / "out")
    seen = glyph_recipe(folder_source(tmp_path / "in"), "data.split={identities: seen, validation: 0, test: 0.2}")
    assert np.bincount(prepared(seen, tmp_path / "seen").side).tolist() == [20, 0, 4]


def test_one_picture_of_two_identities_is_counted_and_left_out(tmp_path: Path) -> None:
    folder = write_glyph_folders(tmp_path / "in", characters=6, hands=4)
    (folder / "c001" / "00.png").write_bytes((folder / "c000" / "00.png").read_bytes())
    corpus = prepared(glyph_recipe(folder_source(folder)), tmp_path / "out")
    assert corpus.counts.twins_dropped == 2
    left_out = [corpus.ids[i] for i in np.flatnonzero(corpus.side == DROPPED)]
    assert left_out == ["c000/00.png", "c001/00.png"]


# --- what shares a batch -----------------------------------------------------------------------------------------------


def test_a_batch_holds_some_samples_of_some_identities(folders: Path, tmp_path: Path) -> None:
    recipe = glyph_recipe(
        folder_source(folders),
        "train.batch_size=60",
        pairing="{kind: identity, samples: 3, session: other}",
        method="{kind: triplet}",
    )
    corpus = prepared(recipe, tmp_path / "out")
    rows = rows_of(corpus, recipe)
    batch = rows[Share(4, np.arange(12))]
    assert sorted(Counter(batch.labels.tolist()).values()) == [3, 3, 3, 3]
    assert int(batch.labels.max()) < len(trained_identities(corpus))
    known = trained_identities(corpus)
    assert known[batch.labels.numpy()].tolist() == corpus.labels[batch.items.numpy()].tolist()
    for label in set(batch.labels.tolist()):
        assert len(set(corpus.sessions[batch.items[batch.labels == label].numpy()])) == 3


def test_ranks_together_hold_what_one_would(folders: Path, tmp_path: Path) -> None:
    recipe = glyph_recipe(folder_source(folders))
    rows = rows_of(prepared(recipe, tmp_path / "out"), recipe)
    whole = rows[Share(3, np.arange(64))]
    parts = [rows[Share(3, np.arange(64), rank, 3)] for rank in range(3)]
    for rank, part in enumerate(parts):
        assert torch.equal(part.pixels, whole.pixels[rank::3])
        assert torch.equal(part.labels, whole.labels[rank::3])
        assert torch.equal(part.draws.affine, whole.draws.affine[rank::3])


@pytest.mark.parametrize("turned", [1, 2, 4, 8])
def test_turned_copies_are_identities_of_their_own(turned: int, folders: Path, tmp_path: Path) -> None:
    recipe = glyph_recipe(folder_source(folders), pairing=f"{{kind: identity, samples: 4, turned: {turned}}}")
    corpus = prepared(recipe, tmp_path / "out")
    rows = rows_of(corpus, recipe)
    assert len(rows) == turned * corpus.counts.train
    seen: dict[int, set[int]] = {}
    known = trained_identities(corpus)
    for step in range(40):
        batch = rows[Share(step, np.arange(16))]
        for pixels, item, label in zip(batch.pixels, batch.items.tolist(), batch.labels.tolist(), strict=True):
            assert known[label // turned] == corpus.labels[item]
            seen.setdefault(label % turned, set()).add(label // turned)
            assert np.array_equal(pixels[0], dihedral(corpus.pixels[item][0], turned, label % turned))
    assert set(seen) == set(range(turned))


def dihedral(pixels: npt.NDArray[np.uint8], turned: int, turn: int) -> npt.NDArray[np.uint8]:
    quarters, mirrored = {1: (0, 0), 2: (0, turn), 4: (turn, 0), 8: (turn // 2, turn % 2)}[turned]
    return np.rot90(pixels[:, ::-1] if mirrored else pixels, quarters)


def test_the_eight_copies_differ() -> None:
    pixels = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(8, 1, 4, 4)
    made = turned_by(pixels, np.arange(8))
    assert len(torch.unique(made.flatten(1), dim=0)) == 8
    assert torch.equal(made[0], pixels[0])


def test_a_quarter_turn_swaps_the_proportions(tmp_path: Path) -> None:
    """A view keeps them where it rotates: the rotation of a wide picture lying on its side is that of a high one."""
    for character in range(4):
        for hand in range(4):
            path = tmp_path / "in" / f"c{character}" / f"{hand}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([character, hand]).integers(0, 256, (16, 32), dtype=np.uint8)
            Image.fromarray(noise).save(path)
    pairing = "{kind: identity, samples: 4, turned: 4}"
    recipe = glyph_recipe(
        folder_source(tmp_path / "in"), "views={crop: null, flip: 0.0, rotation: 90}", pairing=pairing
    )
    rows = rows_of(prepared(recipe, tmp_path / "out"), recipe)
    batch = rows[Share(0, np.arange(32))]
    affine = batch.draws.affine[:, 0].numpy()
    for label, view in zip(batch.labels.tolist(), affine, strict=True):
        wide = 2.0 if label % 2 == 0 else 0.5
        if abs(view[0, 1]) > 0.05:
            assert -view[1, 0] / view[0, 1] == pytest.approx(wide**2, rel=1e-3)


# --- training ----------------------------------------------------------------------------------------------------------


def recall_of_strangers(trained: TrainedPictures, *, encoder: torch.nn.Module | None = None) -> float:
    """How often the nearest other test picture is of the same character; no such character was trained on."""
    corpus, settings = trained.corpus, trained.recipe.of_images.frontend
    numbers = corpus.numbers_of(TEST)
    vectors = embed_stored(encoder or trained.method().encoder, corpus, numbers, settings.size)  # type: ignore[arg-type]
    cosines = vectors @ vectors.T - 2 * np.eye(len(numbers))
    labels = corpus.labels[numbers]
    return float((labels[cosines.argmax(axis=1)] == labels).mean())


@pytest.mark.recipe
@pytest.mark.parametrize(
    "method",
    [
        "{kind: sup_con, projector: []}",
        "{kind: sup_con, projector: [32]}",
        "{kind: arc_face}",
        "{kind: triplet}",
        "{kind: triplet, mine: all, margin: 0.3}",
    ],
)
def test_strangers_are_told_apart_by_what_was_learned(method: str, table: Path, tmp_path: Path) -> None:
    # The directions of arc_face have to find their places first.
    steps = 300 if "arc_face" in method else 120
    recipe = glyph_recipe(table_source(table), f"train.max_steps={steps}", method=method)
    trained = train_run(recipe, tmp_path / "run")
    assert isinstance(trained, TrainedPictures)
    untrained = trained.untrained()
    assert recall_of_strangers(trained) > recall_of_strangers(trained, encoder=untrained.encoder) + 0.1


@pytest.mark.recipe
def test_an_interrupted_run_goes_on_to_the_same_weights(folders: Path, tmp_path: Path) -> None:
    recipe = glyph_recipe(folder_source(folders), "train.checkpoint_every=5", "train.max_steps=12")
    train_run(recipe, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patched:
        interrupt_at(7, patched)
        with pytest.raises(InterruptedRunError):
            train_run(recipe, tmp_path / "broken")
    train_run(recipe, tmp_path / "broken", resume=True)
    states = [
        torch.load(tmp_path / name / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.recipe
def test_early_stopping_watches_how_strangers_find_each_other(folders: Path, tmp_path: Path) -> None:
    recipe = glyph_recipe(
        folder_source(folders), "train.validate_every=10", "train.early_stop={metric: knn_accuracy, patience: 9}"
    )
    train_run(recipe, tmp_path / "run")
    log = (tmp_path / "run" / "logs" / "attempt-1" / "metrics.csv").read_text("utf-8").splitlines()
    column = log[0].split(",").index("validation/knn_accuracy")
    figures = [float(line.split(",")[column]) for line in log[1:] if line.split(",")[column]]
    assert len(figures) == 4
    assert max(figures) > 0.3
    assert isinstance(open_run(tmp_path / "run"), TrainedPictures)
