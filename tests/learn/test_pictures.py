"""Pictures on disk to a corpus: what is read, what is passed over, what is held out; and whole or not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from made_pictures import digits_recipe, noise, picture_recipe, write_classes, write_picture

from nearfar.errors import DataError
from nearfar.learn.data.picture_rows import PictureRows, stored
from nearfar.learn.data.pictures import PictureCorpus, first_pictures, prepare_pictures
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.learn.run import prepare_run
from nearfar.learn.views import Views, plain
from nearfar.recipe import Recipe

NO_LABELS = "data.source.labels=none"


def prepared(recipe: Recipe, folder: Path) -> PictureCorpus:
    return prepare_pictures(recipe.data, recipe.of_images.frontend, folder, recipe.seed)


def sides(corpus: PictureCorpus) -> dict[str, int]:
    """The side of each picture by its name."""
    return {corpus.ids[i]: int(side) for i, side in enumerate(corpus.side)}


def labels(corpus: PictureCorpus) -> dict[str, str | None]:
    return {
        corpus.ids[i]: corpus.counts.classes[label] if label >= 0 else None for i, label in enumerate(corpus.labels)
    }


def rows_of(corpus: PictureCorpus, recipe: Recipe, *, labelled_only: bool = True) -> PictureRows:
    frontend = recipe.of_images.frontend
    views = Views(recipe.of_images.views, size=frontend.size, channels=frontend.channels)
    return PictureRows.of(
        corpus, views, seed=recipe.seed, labels_per_class=recipe.data.labels_per_class, labelled_only=labelled_only
    )


# --- what is read ------------------------------------------------------------------------------------------------------


def test_a_flat_folder_without_labels(tmp_path: Path) -> None:
    for number in range(9):
        write_picture(tmp_path / "in" / f"{number}.png", noise(number))
    recipe = picture_recipe(tmp_path / "in", NO_LABELS, "data.split={validation: 0, test: 0}")
    corpus = prepared(recipe, tmp_path / "out")
    assert [corpus.ids[i] for i in range(9)] == [f"{i}.png" for i in range(9)]
    assert corpus.labels.tolist() == [-1] * 9
    assert (corpus.counts.labelled, corpus.counts.classes, corpus.counts.train) == (0, [], 9)
    # 1.5 x 8 pixels of the 20 that there are; what lies on disk is the whole picture.
    assert corpus.pixels.shape == (9, 3, 12, 12)
    for i in range(9):
        from_disk = corpus.pixels[i].astype(float).mean(axis=(1, 2))
        np.testing.assert_allclose(from_disk, noise(i).mean(axis=(0, 1)), atol=2)


def test_a_small_picture_is_stored_as_it_is_and_seen_as_it_is(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / "in" / f"{number}.png", noise(number, 8, 8))
    recipe = picture_recipe(tmp_path / "in", NO_LABELS, "data.split={validation: 0, test: 0}")
    corpus = prepared(recipe, tmp_path / "out")
    for number in range(3):
        np.testing.assert_array_equal(corpus.pixels[number], noise(number, 8, 8).transpose(2, 0, 1))
    seen = plain(stored(corpus, [1]), corpus.aspects[[1]], 8)
    np.testing.assert_allclose(seen[0], noise(1, 8, 8).transpose(2, 0, 1) / 255, atol=1e-6)
    everything = np.stack([noise(number, 8, 8) for number in range(3)]) / 255
    np.testing.assert_allclose(corpus.counts.mean, everything.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(corpus.counts.std, everything.std(axis=(0, 1, 2)), atol=1e-6)


def test_folders_are_labels_and_numbers_come_before_words(tmp_path: Path) -> None:
    for label in ("10", "9", "cat", "Ant", "2"):
        for number in range(2):
            write_picture(tmp_path / "in" / label / f"{number}.png", noise(hash_of(label) + number))
    corpus = prepared(picture_recipe(tmp_path / "in"), tmp_path / "out")
    assert corpus.counts.classes == ["2", "9", "10", "Ant", "cat"]
    assert labels(corpus)["cat/1.png"] == "cat"
    assert labels(corpus)["10/0.png"] == "10"


def hash_of(text: str) -> int:
    return sum(ord(c) * 31**i for i, c in enumerate(text))


def test_mixed_sizes_and_proportions_keep_their_proportions(tmp_path: Path) -> None:
    shapes = {"wide.png": (20, 60), "tall.png": (60, 20), "square.png": (30, 30), "tiny.png": (4, 4)}
    for seed, (name, shape) in enumerate(shapes.items()):
        write_picture(tmp_path / "in" / name, noise(seed, *shape))
    recipe = picture_recipe(tmp_path / "in", NO_LABELS, "data.split={validation: 0, test: 0}")
    corpus = prepared(recipe, tmp_path / "out")
    found = {corpus.ids[i]: float(corpus.aspects[i]) for i in range(4)}
    assert found == pytest.approx({"wide.png": 3.0, "tall.png": 1 / 3, "square.png": 1.0, "tiny.png": 1.0})
    assert corpus.counts.store_size == 12


@pytest.mark.parametrize(
    ("longest", "settings", "expected"),
    [
        (100, (), 12),  # half as large again as the views
        (10, (), 10),  # no larger than the pictures are
        (100, ("frontend.store_size=30",), 30),
        (10, ("frontend.store_size=30",), 30),  # what is asked for is done
        (100, ("frontend.size=33",), 50),
    ],
)
def test_how_large_pictures_are_stored(tmp_path: Path, longest: int, settings: tuple[str, ...], expected: int) -> None:
    for number, side in enumerate((3, longest // 2, longest)):
        write_picture(tmp_path / "in" / f"{number}.png", noise(number, side, longest))
    recipe = picture_recipe(tmp_path / "in", NO_LABELS, "data.split={validation: 0, test: 0}", *settings)
    corpus = prepared(recipe, tmp_path / "out")
    assert corpus.counts.store_size == expected
    assert corpus.pixels.shape == (3, 3, expected, expected)
    assert (tmp_path / "out" / "pixels.bin").stat().st_size == 9 * expected**2


def test_sixteen_bit_grey_keeps_its_bits(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65_536, (5, 8, 8), dtype=np.uint16)
    for number in range(5):
        write_picture(tmp_path / "in" / f"{number}.png", pixels[number])
    recipe = picture_recipe(tmp_path / "in", NO_LABELS, "data.split={validation: 0, test: 0}", "frontend.channels=1")
    corpus = prepared(recipe, tmp_path / "out")
    assert corpus.counts.dtype == "uint16"
    np.testing.assert_array_equal(corpus.pixels[:, 0], pixels)
    assert corpus.counts.mean == pytest.approx([pixels.mean() / 65_535])
    batch = rows_of(corpus, recipe, labelled_only=False)[(0, np.arange(5), 0, 1)]
    (view, _) = Views(recipe.of_images.views, size=8, channels=1).apply(batch.pixels, batch.draws)
    assert 0 <= float(view.min()) < float(view.max()) <= 1


def test_pictures_of_several_number_formats_are_fractions_of_one(tmp_path: Path) -> None:
    half = {
        "a.npy": np.full((8, 8, 3), 0.5, np.float32),
        "b.npy": np.full((8, 8, 3), 32_768, np.uint16),
        "c.npy": np.full((8, 8, 3), 128, np.uint8),
    }
    for name, pixels in half.items():
        write_picture(tmp_path / "in" / name, pixels)  # type: ignore[arg-type]
    recipe = picture_recipe(tmp_path / "in", NO_LABELS, "data.split={validation: 0, test: 0}")
    for first in ("a", "c"):  # the first pictures decide, here all of them
        corpus = prepared(recipe, tmp_path / first)
        assert corpus.counts.dtype == "float32"
        np.testing.assert_allclose(corpus.pixels, 0.5, atol=0.003)


def test_five_channels(tmp_path: Path) -> None:
    for number in range(4):
        write_picture(tmp_path / "in" / f"{number}.npy", noise(number, 8, 8, 5))
    write_picture(tmp_path / "in" / "rgb.png", noise(9, 8, 8))
    recipe = picture_recipe(tmp_path / "in", NO_LABELS, "data.split={validation: 0, test: 0}", "frontend.channels=5")
    corpus = prepared(recipe, tmp_path / "out")
    assert corpus.pixels.shape == (4, 5, 8, 8)
    np.testing.assert_array_equal(corpus.pixels[2], noise(2, 8, 8, 5).transpose(2, 0, 1))
    assert sum(corpus.counts.skipped.values()) == 1
    assert "rgb.png" in corpus.counts.examples[0]


# --- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    folder = write_classes(tmp_path / "in", 2, 4)
    whole = (folder / "a" / "000.png").read_bytes()
    (folder / "a" / "cut off.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a" / "text.jpg").write_text("no picture at all")
    (folder / "b" / "empty.png").touch()
    (folder / "b" / "notes.txt").write_text("files of other kinds are not looked at")
    return folder


def test_what_cannot_be_read_is_counted_with_its_place(damaged: Path, tmp_path: Path) -> None:
    corpus = prepared(picture_recipe(damaged), tmp_path / "out")
    assert corpus.counts.pictures == 8
    assert sum(corpus.counts.skipped.values()) == 3
    assert corpus.counts.skipped["empty file"] == 1
    told = "\n".join(corpus.counts.examples)
    for place in (damaged / "a" / "cut off.png", damaged / "a" / "text.jpg", damaged / "b" / "empty.png"):
        assert str(place) in told
    assert corpus.ids[0] == "a/000.png"
    assert len(corpus.labels) == len(corpus.aspects) == len(corpus.side) == len(corpus.pixels) == 8


def test_bad_rows_can_be_refused(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^3 items of the images source could not be read.*bad_rows") as caught:
        prepared(picture_recipe(damaged, "data.bad_rows=refuse"), tmp_path / "out")
    assert "empty.png" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "pictures.json").exists()


def test_a_folder_without_a_single_picture(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        prepared(picture_recipe(tmp_path / "in"), tmp_path / "out")
    (tmp_path / "in" / "a").mkdir()
    (tmp_path / "in" / "a" / "text.jpg").write_text("no picture at all")
    with pytest.raises(DataError, match=r"no pictures.*skipped 1, first: .*text\.jpg"):
        prepared(picture_recipe(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        prepared(picture_recipe(tmp_path / "nowhere"), tmp_path / "out")


# --- what is held out --------------------------------------------------------------------------------------------------


def test_a_split_that_the_folders_give_is_kept(tmp_path: Path) -> None:
    write_classes(tmp_path / "in" / "train", each=40)
    write_classes(tmp_path / "in" / "test", each=5, skip=900)
    recipe = picture_recipe(tmp_path / "in", "data.split={validation: 0.2, test: 0.5}")
    corpus = prepared(recipe, tmp_path / "out")
    for name, side in sides(corpus).items():
        assert (side == TEST) == name.startswith("test/")
    counts = corpus.counts
    assert (counts.test, counts.train + counts.validation, counts.twins_dropped) == (15, 120, 0)
    assert 10 < counts.validation < 40, "validation pictures are drawn from those to train on"
    assert counts.classes == ["a", "b", "c"]


def test_a_split_of_three_folders_is_all_there_is(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val", "test")):
        write_classes(tmp_path / "in" / name, each=10, skip=100 * number)
    corpus = prepared(picture_recipe(tmp_path / "in", "data.split={validation: 0.3, test: 0.3}"), tmp_path / "out")
    assert (corpus.counts.train, corpus.counts.validation, corpus.counts.test) == (30, 30, 30)


@pytest.mark.parametrize("given", [("train", "val"), ("train",)])
def test_what_a_given_split_lacks_is_drawn_from_its_training_pictures(tmp_path: Path, given: tuple[str, ...]) -> None:
    """Else nothing would be left to measure the bundle on, and nobody would be told."""
    for number, name in enumerate(given):
        write_classes(tmp_path / "in" / name, each=30, skip=100 * number)
    corpus = prepared(picture_recipe(tmp_path / "in", "data.split={validation: 0.2, test: 0.2}"), tmp_path / "out")
    assert 5 < corpus.counts.test < 35
    assert corpus.counts.validation == 90 if "val" in given else 5 < corpus.counts.validation < 35
    for name, side in sides(corpus).items():
        assert side == VALIDATION or name.startswith("train/")


def test_the_training_twin_of_a_held_out_picture_is_dropped(tmp_path: Path) -> None:
    train, test = (write_classes(tmp_path / "in" / name, each=20, skip=s) for name, s in (("train", 0), ("test", 99)))
    for number in range(4):
        write_picture(train / "a" / f"twin{number}.png", noise(number))
        write_picture(test / "b" / f"other name {number}.bmp", noise(number))  # another name, label and format
    write_picture(train / "a" / "twice.png", noise(77))
    write_picture(train / "c" / "twice.png", noise(77))
    corpus = prepared(picture_recipe(tmp_path / "in", "data.split.validation=0.2"), tmp_path / "out")
    found = sides(corpus)
    assert [found[f"train/a/twin{i}.png"] for i in range(4)] == [DROPPED] * 4
    assert [found[f"test/b/other name {i}.bmp"] for i in range(4)] == [TEST] * 4
    assert corpus.counts.twins_dropped == 4
    assert corpus.counts.test == 64
    assert found["train/a/twice.png"] == found["train/c/twice.png"] != DROPPED
    rows = rows_of(corpus, picture_recipe(tmp_path / "in"))
    assert not set(rows.numbers.tolist()) & set(np.flatnonzero(corpus.side != TRAIN).tolist())


def test_pictures_of_one_content_are_drawn_to_one_side(tmp_path: Path) -> None:
    for number in range(100):
        for copy in range(2):
            write_picture(tmp_path / "in" / "ab"[copy] / f"{number}.png", noise(number, 8, 8))
    corpus = prepared(picture_recipe(tmp_path / "in", "data.split={validation: 0.3, test: 0.3}"), tmp_path / "out")
    found = sides(corpus)
    assert all(found[f"a/{i}.png"] == found[f"b/{i}.png"] for i in range(100))
    assert set(found.values()) == {TRAIN, VALIDATION, TEST}
    assert corpus.counts.twins_dropped == 0


def test_no_picture_is_validated_and_tested_on(tmp_path: Path) -> None:
    """A twin of a test picture among those to validate by would choose the weights by the test set."""
    for number in range(60):
        write_picture(tmp_path / "in" / "val" / "a" / f"{number}.png", noise(number, 8, 8))
        write_picture(tmp_path / "in" / "train" / "a" / f"{number}.png", noise(1_000 + number, 8, 8))
    for number in range(30):
        write_picture(tmp_path / "in" / "test" / "a" / f"{number}.png", noise(number, 8, 8))
    corpus = prepared(picture_recipe(tmp_path / "in"), tmp_path / "out")
    assert (corpus.counts.train, corpus.counts.validation, corpus.counts.test) == (60, 30, 30)
    assert corpus.counts.twins_dropped == 30


def test_the_split_depends_on_the_seed_and_on_nothing_else(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", 3, 40)
    recipe = picture_recipe(tmp_path / "in")
    first, again = prepared(recipe, tmp_path / "1"), prepared(recipe, tmp_path / "2")
    assert sides(first) == sides(again)
    assert first.counts == again.counts
    other = prepared(picture_recipe(tmp_path / "in", "seed=1"), tmp_path / "3")
    assert sides(other) != sides(first)
    assert other.counts.fingerprint == first.counts.fingerprint
    # One more picture moves no other to another side.
    write_picture(tmp_path / "in" / "a" / "one more.png", noise(1))
    more = prepared(recipe, tmp_path / "4")
    assert {name: side for name, side in sides(more).items() if name != "a/one more.png"} == sides(first)
    assert more.counts.fingerprint != first.counts.fingerprint


def write_groups(folder: Path, groups: int = 30, each: int = 6) -> Path:
    """Folders of pictures below the class: one film or patient each."""
    for group in range(groups):
        for number in range(each):
            path = folder / "ab"[group % 2] / f"film{group:02}" / f"{number}.png"
            write_picture(path, noise(100 * group + number, 8, 8))
    return folder


def group_of(name: str) -> str:
    return name.rsplit("/", 1)[0].removeprefix("train/")


def test_a_split_by_group_keeps_groups_whole(tmp_path: Path) -> None:
    write_groups(tmp_path / "in")
    recipe = picture_recipe(tmp_path / "in", "data.split={by: group, validation: 0.2, test: 0.2}")
    corpus = prepared(recipe, tmp_path / "out")
    whole = {(group_of(name), side) for name, side in sides(corpus).items()}
    assert len(whole) == 30
    assert Counter(side for _, side in whole) == {TRAIN: 18, VALIDATION: 6, TEST: 6}
    assert sides(prepared(recipe, tmp_path / "again")) == sides(corpus)


def test_validation_groups_are_drawn_whole_from_a_given_training_part(tmp_path: Path) -> None:
    write_groups(tmp_path / "in" / "train")
    write_classes(tmp_path / "in" / "test", each=5, skip=900)
    recipe = picture_recipe(tmp_path / "in", "data.split={by: group, validation: 0.2, test: 0.2}")
    corpus = prepared(recipe, tmp_path / "out")
    given = {name: side for name, side in sides(corpus).items() if name.startswith("train/")}
    assert VALIDATION in given.values()
    assert len({(group_of(name), side) for name, side in given.items()}) == 30


def test_a_split_by_group_of_pictures_without_any_group(tmp_path: Path) -> None:
    """All of them would be one group, and nothing would be held out."""
    write_classes(tmp_path / "in")
    with pytest.raises(DataError, match=r"data\.split\.by is group, but nothing .*group"):
        prepared(picture_recipe(tmp_path / "in", "data.split.by=group"), tmp_path / "out")
    with pytest.raises(DataError, match=r"data\.split\.by is group"):
        prepared(digits_recipe("data.split.by=group"), tmp_path / "out")


# --- few pictures, few labels ------------------------------------------------------------------------------------------


def test_a_single_picture_is_too_little_to_train_on(tmp_path: Path) -> None:
    write_picture(tmp_path / "in" / "a" / "only.png", noise(0))
    recipe = picture_recipe(tmp_path / "in")
    corpus = prepared(recipe, tmp_path / "out")
    with pytest.raises(DataError, match=r"^only [01] training pictures \(of 1, "):
        rows_of(corpus, recipe, labelled_only=False)


def write_table(path: Path, rows: int, names: list[str | None]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    encoded = []
    for number in range(rows):
        file = path.with_suffix(".png")
        Image.fromarray(noise(number, 8, 8)).save(file)
        encoded.append(file.read_bytes())
    pq.write_table(pa.table({"image": encoded, "label": pa.array(names * (rows // len(names)), pa.string())}), path)
    return path


def test_a_table_in_which_some_or_all_labels_are_missing(tmp_path: Path) -> None:
    for name, values in {"none": [None], "some": ["x", None, "y", ""]}.items():
        path = write_table(tmp_path / f"{name}.parquet", 40, values)  # type: ignore[arg-type]
        recipe = picture_recipe(f"{{kind: image_table, path: {path}, columns: {{label: label}}}}")
        corpus = prepared(recipe, tmp_path / name)
        assert corpus.counts.pictures == 40, "a picture without a label is learned from all the same"
        if name == "none":
            assert (corpus.counts.labelled, corpus.counts.classes) == (0, [])
            with pytest.raises(DataError, match=r"only 0 labelled training pictures \(of 40, 0 with a label"):
                rows_of(corpus, recipe)
            assert len(rows_of(corpus, recipe, labelled_only=False)) == corpus.counts.train
        else:
            assert (corpus.counts.labelled, corpus.counts.classes) == (20, ["x", "y"])
            known = rows_of(corpus, recipe)
            assert len(known) == int((corpus.labels[corpus.side == TRAIN] >= 0).sum())


def test_so_many_labels_a_class_are_learned_from(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", 3, 30)
    write_picture(tmp_path / "in" / "rare" / "only.png", noise(5))

    def learned(*settings: str) -> tuple[PictureRows, npt.NDArray[np.int64]]:
        recipe = picture_recipe(tmp_path / "in", "data.split={validation: 0, test: 0}", *settings)
        rows = rows_of(prepared(recipe, tmp_path / "out"), recipe)
        return rows, rows.labels[rows.numbers]

    everything, every_label = learned()
    assert np.bincount(every_label).tolist() == [30, 30, 30, 1]
    few, few_labels = learned("data.labels_per_class=4")
    assert np.bincount(few_labels).tolist() == [4, 4, 4, 1]
    assert set(few.numbers) < set(everything.numbers)
    again, _ = learned("data.labels_per_class=4")
    np.testing.assert_array_equal(again.numbers, few.numbers)
    other, _ = learned("data.labels_per_class=4", "seed=1")
    assert set(other.numbers) != set(few.numbers)
    # The other pictures stay where their labels are not what is learned from.
    recipe = picture_recipe(tmp_path / "in", "data.split={validation: 0, test: 0}", "data.labels_per_class=4")
    rows = rows_of(PictureCorpus.open(tmp_path / "out"), recipe, labelled_only=False)
    assert len(rows) == 91
    assert int((rows.labels >= 0).sum()) == 13
    assert int((rows.corpus.labels >= 0).sum()) == 91, "what is measured with keeps all labels"


def test_a_batch_is_that_of_all_ranks_together(tmp_path: Path) -> None:
    recipe = picture_recipe(write_classes(tmp_path / "in"), "data.split={validation: 0, test: 0}")
    rows = rows_of(prepared(recipe, tmp_path / "out"), recipe)
    chosen = np.array([5, 3, 30, 8, 0, 2, 11])
    whole = rows[(4, chosen, 0, 1)]
    shares = [rows[(4, chosen, rank, 3)] for rank in range(3)]
    assert whole.items.tolist() == rows.numbers[chosen].tolist()
    for rank, share in enumerate(shares):
        assert share.items.tolist() == whole.items[rank::3].tolist()
        assert share.labels.tolist() == whole.labels[rank::3].tolist()
        np.testing.assert_array_equal(share.pixels, whole.pixels[rank::3])
        for own, of_all in zip(share.draws, whole.draws, strict=True):
            np.testing.assert_array_equal(own, of_all[rank::3])
    other = rows[(5, chosen, 0, 1)]
    assert not np.array_equal(other.draws.affine, whole.draws.affine), "views are drawn anew at every step"


# --- whole or not there ------------------------------------------------------------------------------------------------


def test_what_was_prepared_is_opened_and_not_read_again(tmp_path: Path) -> None:
    write_classes(tmp_path / "in")
    recipe = picture_recipe(tmp_path / "in")
    (tmp_path / "run").mkdir()
    first = prepare_run(recipe, tmp_path / "run")
    for path in (tmp_path / "in").rglob("*.png"):
        path.unlink()
    again = prepare_run(recipe, tmp_path / "run")
    assert again.corpus.counts == first.corpus.counts
    np.testing.assert_array_equal(again.corpus.pixels, first.corpus.pixels)  # type: ignore[union-attr]


def test_a_kill_in_the_middle_of_preparing_is_recovered_from(tmp_path: Path) -> None:
    """Killed when part of the pictures lies on disk; read again to the same bits, with nothing left of the first try."""
    write_classes(tmp_path / "in", each=40)
    recipe = picture_recipe(tmp_path / "in")
    (tmp_path / "whole").mkdir()
    whole = prepare_run(recipe, tmp_path / "whole").corpus
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from made_pictures import picture_recipe\n"
        "from nearfar.learn.data.pictures import prepare_pictures\n"
        "count = 0\n"
        "def tick(n):\n"
        "    global count\n"
        "    count += n\n"
        "    if count == 100: os.kill(os.getpid(), signal.SIGKILL)\n"
        "recipe = picture_recipe(Path(sys.argv[2]))\n"
        "prepare_pictures(recipe.data, recipe.of_images.frontend, Path(sys.argv[3]) / 'data', recipe.seed, tick)\n"
    )
    (tmp_path / "broken").mkdir()
    arguments = [str(Path(__file__).parent), str(tmp_path / "in"), str(tmp_path / "broken")]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    data = tmp_path / "broken" / "data"
    assert (data / "pixels.bin").exists()
    assert not (data / "pictures.json").exists()
    with (data / "pixels.bin").open("ab") as file:  # and a file longer than what comes after
        file.write(bytes(10**6))
    corpus = prepare_run(recipe, tmp_path / "broken").corpus
    assert corpus.counts == whole.counts
    np.testing.assert_array_equal(corpus.pixels, whole.pixels)  # type: ignore[union-attr]
    np.testing.assert_array_equal(corpus.side, whole.side)
    names = sorted(path.name for path in (tmp_path / "whole" / "data").iterdir())
    assert sorted(path.name for path in data.iterdir()) == names
    for name in names:
        if name != "pictures.npz":  # a zip file, with times in it
            assert (data / name).read_bytes() == (tmp_path / "whole" / "data" / name).read_bytes()
    assert json.loads((data / "pictures.json").read_text("utf-8"))["pictures"] == 120


# --- looking at the first ones -----------------------------------------------------------------------------------------


def test_the_first_pictures_are_those_that_a_run_would_store(tmp_path: Path) -> None:
    """Also where they alone would be stored smaller, or in another number format, than with what follows."""
    for number in range(10):
        pixels = noise(number, 9, 9).astype(np.uint16) * 257 if number > 5 else noise(number, 9, 9)
        write_picture(tmp_path / "in" / f"{number}.npy", pixels if number < 9 else pixels.repeat(3, 0).repeat(3, 1))
    recipe = picture_recipe(tmp_path / "in", NO_LABELS, "data.split={validation: 0, test: 0}")
    corpus = prepared(recipe, tmp_path / "out")
    pixels, aspects = first_pictures(recipe.data, recipe.of_images.frontend, 4)
    assert corpus.pixels.shape[2:] == (12, 12)
    np.testing.assert_array_equal(pixels, corpus.pixels[:4])
    np.testing.assert_array_equal(aspects, corpus.aspects[:4])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        first_pictures(picture_recipe(tmp_path / "nothing").data, recipe.of_images.frontend, 4)
