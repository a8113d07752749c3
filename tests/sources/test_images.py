"""Readers of pictures: folders in every layout, tables with holes, and every picture found again by its id."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nearfar.errors import DataError
from nearfar.frontend.image import decode
from nearfar.sources.images import DigitsSource, ImageFolder, ImageTable, Picture


def png(shade: int, size: int = 3) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size), shade, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def folder(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    return root


def rows(source: ImageFolder | ImageTable | DigitsSource) -> list[tuple[str, str, str, str]]:
    return [(picture.id, picture.label, picture.split, picture.group) for picture in source.pictures()]


# --- folders -------------------------------------------------------------------------------------------------------------


def test_the_first_folder_is_the_class(tmp_path):
    root = folder(tmp_path, "dog/b.png", "cat/2.JPG", "cat/10.png", "cat/paws/left/1.png")
    source = ImageFolder(root, "folder")
    assert rows(source) == [
        ("cat/10.png", "cat", "", ""),
        ("cat/2.JPG", "cat", "", ""),
        ("cat/paws/left/1.png", "cat", "", "paws/left"),
        ("dog/b.png", "dog", "", ""),
    ]
    assert source.report.read == 4
    first = next(source.pictures())
    assert isinstance(first.content, Path)
    assert (decode(first.content, 1) == 2).all()
    assert first.location == str(root / "cat" / "10.png")


def test_without_labels_folders_are_no_classes(tmp_path):
    root = folder(tmp_path, "a.png", "IMG_1/b.png", "IMG_2/deep/c.png")
    assert rows(ImageFolder(root, "none")) == [
        ("IMG_1/b.png", "", "", "IMG_1"),
        ("IMG_2/deep/c.png", "", "", "IMG_2/deep"),
        ("a.png", "", "", ""),
    ]


def test_a_picture_in_no_class_is_reported(tmp_path):
    source = ImageFolder(folder(tmp_path, "stray.png", "cat/1.png"), "folder")
    assert [row[0] for row in rows(source)] == ["cat/1.png"]
    assert source.report.skipped == {"not in a folder of a class": 1}
    assert source.report.examples == [f"{tmp_path / 'stray.png'}: not in a folder of a class"]


def test_a_flat_folder_never_becomes_classes(tmp_path):
    with pytest.raises(
        DataError, match=r"no picture in it can be used.*If the folders are no classes, set labels: none"
    ):
        rows(ImageFolder(folder(tmp_path, "a.png", "b.png"), "folder"))


@pytest.mark.parametrize("labels", ["folder", "none"])
def test_splits_come_before_classes(tmp_path, labels):
    root = folder(tmp_path, "Train/cat/1.png", "valid/cat/2.png", "test/dog/x/3.png", "extra/cat/4.png")
    source = ImageFolder(root, labels)
    found = [(label, split, group) for _, label, split, group in rows(source)]
    if labels == "folder":
        assert found == [("cat", "train", ""), ("dog", "test", "x"), ("cat", "validation", "")]
    else:
        assert found == [("", "train", "cat"), ("", "test", "dog/x"), ("", "validation", "cat")]
    assert source.report.skipped == {"not in a folder of a split (train, validation, test)": 1}


def test_a_single_split_and_nothing_else(tmp_path):
    assert rows(ImageFolder(folder(tmp_path, "train/cat/1.png"), "folder")) == [("train/cat/1.png", "cat", "train", "")]


def test_a_picture_of_a_split_without_a_class(tmp_path):
    source = ImageFolder(folder(tmp_path, "train/1.png", "test/2.png"), "folder")
    with pytest.raises(DataError, match="set labels: none"):
        rows(source)
    assert source.report.skipped == {"not in a folder of a class": 2}


def test_a_train_among_cars_is_a_class(tmp_path):
    found = rows(ImageFolder(folder(tmp_path, "bus/1.png", "car/2.png", "train/3.png"), "folder"))
    assert [(label, split) for _, label, split, _ in found] == [("bus", ""), ("car", ""), ("train", "")]


def test_hidden_files_and_other_suffixes_are_left_out(tmp_path):
    root = folder(tmp_path, "cat/1.png", "cat/._1.png", ".thumbs/1.png", "cat/notes.txt", "cat/.DS_Store")
    source = ImageFolder(root, "folder")
    assert [row[0] for row in rows(source)] == ["cat/1.png"]
    assert not source.report.skipped
    assert [row[0] for row in rows(ImageFolder(root, "folder", suffixes=["TXT"]))] == ["cat/notes.txt"]


def test_an_empty_file_a_broken_link_and_a_pipe_are_reported(tmp_path):
    root = folder(tmp_path, "cat/1.png")
    (root / "cat" / "0.png").write_bytes(b"")
    (root / "cat" / "2.png").symlink_to(tmp_path.parent / "nowhere")
    os.mkfifo(root / "cat" / "4.png")
    source = ImageFolder(root, "folder")
    assert [row[0] for row in rows(source)] == ["cat/1.png"]
    assert source.report.skipped == {"empty file": 1, "not a regular file, or a broken link": 2}
    assert source.report.examples[0] == f"{root / 'cat' / '0.png'}: empty file"


def test_links_in_a_circle_end(tmp_path):
    root = folder(tmp_path, "cat/1.png")
    (root / "cat" / "again").symlink_to(root)
    (root / "dog").symlink_to(root / "cat")
    assert [row[0] for row in rows(ImageFolder(root, "folder"))] == ["cat/1.png"]


def test_a_class_behind_a_link_is_read(tmp_path):
    elsewhere = folder(tmp_path / "elsewhere", "7.png")
    root = folder(tmp_path / "root", "cat/1.png")
    (root / "dog").symlink_to(elsewhere)
    assert [row[:2] for row in rows(ImageFolder(root, "folder"))] == [("cat/1.png", "cat"), ("dog/7.png", "dog")]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "nowhere", "does not exist: name a folder with pictures"),
        (lambda path: folder(path, "a.png") / "a.png", "is not a folder"),
        (lambda path: path, "holds no pictures: looked for .jpg"),
    ],
)
def test_a_folder_without_pictures_says_so(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        rows(ImageFolder(make(tmp_path), "none"))


def test_a_name_that_is_not_utf8_is_found_again(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        folder(tmp_path, f"cat/{name}", "cat/plain.png")
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    source = ImageFolder(tmp_path, "folder")
    pictures = list(source.pictures())
    assert [picture.id for picture in pictures] == ["cat/caf\\xe9.png", "cat/plain.png"]
    assert list(source.contents([picture.id for picture in pictures])) == [picture.content for picture in pictures]


def test_files_are_found_again_in_any_order(tmp_path):
    source = ImageFolder(folder(tmp_path, "a/1.png", "a/2.png", "b/3.png"), "folder")
    assert [path.name for path in source.contents(["b/3.png", "a/1.png", "b/3.png"])] == ["3.png", "1.png", "3.png"]
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png is not there any more"):
        list(source.contents(["a/1.png"]))


names = st.text("abXY _é.", min_size=1, max_size=4).filter(lambda name: name.strip(".") and not name.startswith("."))


@settings(max_examples=30, deadline=None)
@given(
    paths=st.sets(st.lists(names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8),
    labels=st.sampled_from(["folder", "none"]),
)
def test_any_tree_is_read_whole_in_order_and_found_again(tmp_path_factory, paths, labels):
    root = folder(tmp_path_factory.mktemp("tree"), *(f"{path}#.png" for path in paths))
    source = ImageFolder(root, labels)
    expected = {f"{path}#.png" for path in paths if labels == "none" or "/" in path}
    if not expected:
        with pytest.raises(DataError):
            rows(source)
        return
    pictures = list(source.pictures())
    assert {picture.id for picture in pictures} == expected
    assert len(pictures) == len(expected) == source.report.read
    assert source.report.read + source.report.skipped_total == len(paths)
    assert list(source.contents([picture.id for picture in pictures])) == [picture.content for picture in pictures]
    assert pictures == list(source.pictures())


# --- tables --------------------------------------------------------------------------------------------------------------


def table(path: Path, row_group_size: int = 4, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def test_rows_are_pictures(tmp_path):
    path = table(tmp_path / "t.parquet", image=[png(k) for k in range(10)], label=[k % 3 for k in range(10)])
    source = ImageTable(path, label="label")
    pictures = list(source.pictures())
    assert [picture.id for picture in pictures] == [f"t.parquet#{k + 1}" for k in range(10)]
    assert [picture.label for picture in pictures] == [str(k % 3) for k in range(10)]
    assert pictures[6].location == f"{path}:7"
    assert pictures[6].content == png(6)
    assert source.report.read == 10


def test_a_struct_as_hugging_face_writes_it(tmp_path):
    image = [{"bytes": png(1), "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    source = ImageTable(table(tmp_path / "t.parquet", image=image))
    assert [picture.content for picture in source.pictures()] == [png(1)]
    assert source.report.skipped == {'"image" is missing': 2}


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())])
def test_other_types_of_bytes(tmp_path, kind):
    column = (
        pa.array([png(1), png(2), png(1)]).cast(kind)
        if kind != pa.dictionary(pa.int32(), pa.binary())
        else pa.array([png(1), png(2), png(1)]).dictionary_encode()
    )
    source = ImageTable(table(tmp_path / "t.parquet", image=column))
    assert [picture.content for picture in source.pictures()] == [png(1), png(2), png(1)]


def test_holes_are_reported(tmp_path):
    path = table(
        tmp_path / "t.parquet",
        image=[png(0), None, b"", png(3), png(4), png(5)],
        label=["cat", "cat", "cat", None, "  ", "dog"],
        name=["a", "b", "c", "d", "e", "a"],
    )
    source = ImageTable(path, label="label", id="name")
    assert [row[:2] for row in rows(source)] == [("a", "cat")]
    assert source.report.skipped == {
        '"image" is missing': 1,
        '"image" is empty': 1,
        "without a label": 2,
        "an id that an earlier row has": 1,
    }
    assert f'{path}:6: an id that an earlier row has ("a")' in source.report.examples
    kept = ImageTable(path, label="label", unlabelled="keep")
    assert [row[1] for row in rows(kept)] == ["cat", "", "", "dog"]


def test_labels_of_every_kind(tmp_path):
    def labels(values: object) -> list[str]:
        return [
            row[1] for row in rows(ImageTable(table(tmp_path / "t.parquet", image=[png(0)] * 2, y=values), label="y"))
        ]

    assert labels([3, -1]) == ["3", "-1"]
    assert labels(["Ünder", " cat "]) == ["Ünder", "cat"]
    assert labels([True, False]) == ["true", "false"]
    assert labels(pa.array(["a", "b"]).dictionary_encode()) == ["a", "b"]
    with pytest.raises(DataError, match=r'"y" is neither text nor a whole number \(got float\)'):
        labels([0.5, 1.0])


def test_the_name_of_a_class_comes_before_its_number(tmp_path):
    path = table(tmp_path / "t.parquet", image=[png(0)], label=[7], label_name=["horse"])
    assert rows(ImageTable(path, label="label", label_name="label_name"))[0][1] == "horse"


def test_splits_and_groups_from_columns(tmp_path):
    path = table(tmp_path / "t.parquet", image=[png(0)] * 3, part=["Val", "test", "fold-3"], patient=[1, 1, None])
    assert [row[2:] for row in rows(ImageTable(path, split="part", group="patient"))] == [
        ("validation", "1"),
        ("test", "1"),
        ("fold-3", ""),
    ]


def test_a_folder_of_files_in_name_order(tmp_path):
    for name in ("train-00001-of-00002", "test", "train-00000-of-00002", "more/valid", "training_notes"):
        table(tmp_path / f"{name}.parquet", image=[png(0), png(1)])
    (tmp_path / "README.md").write_text("no table")
    found = [(id, split) for id, _, split, _ in rows(ImageTable(tmp_path))][::2]
    assert found == [
        ("more/valid.parquet#1", "validation"),
        ("test.parquet#1", "test"),
        ("train-00000-of-00002.parquet#1", "train"),
        ("train-00001-of-00002.parquet#1", "train"),
        ("training_notes.parquet#1", "train"),
    ]
    assert [row[2] for row in rows(ImageTable(tmp_path / "test.parquet"))] == [
        "",
        "",
    ]  # one file says nothing of splits


def test_pictures_are_found_again(tmp_path):
    for name in ("a", "b"):
        table(tmp_path / f"{name}.parquet", image=[png(k) if name == "a" else png(100 + k) for k in range(40)])
    source = ImageTable(tmp_path)
    pictures = list(source.pictures())
    some = pictures[1::7]
    assert list(source.contents([picture.id for picture in some])) == [picture.content for picture in some]
    mixed = [some[3], some[0], some[0], some[-1], some[2]]
    assert list(source.contents([picture.id for picture in mixed])) == [picture.content for picture in mixed]
    assert list(source.contents([])) == []
    for absent in ("a.parquet#41", "a.parquet#0", "c.parquet#1", "nonsense"):
        with pytest.raises(DataError, match="prepare the data again"):
            list(source.contents([absent]))


def test_pictures_are_found_again_by_a_column(tmp_path):
    path = table(tmp_path / "t.parquet", image=[png(k) for k in range(30)], key=[f"k{29 - k}" for k in range(30)])
    source = ImageTable(path, id="key")
    pictures = list(source.pictures())
    some = [pictures[k] for k in (2, 3, 17, 29, 5)]
    assert list(source.contents([picture.id for picture in some])) == [picture.content for picture in some]
    with pytest.raises(DataError, match="has no picture 'k30'"):
        list(source.contents(["k30"]))


def test_in_order_no_row_group_is_read_twice_and_others_not_at_all(tmp_path, monkeypatch):
    path = table(tmp_path / "t.parquet", row_group_size=10, image=[png(k) for k in range(100)])
    read: list[int] = []
    original = pq.ParquetFile.iter_batches

    def counted(self, *arguments, row_groups, **options):
        read.extend(row_groups)
        return original(self, *arguments, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    wanted = [f"t.parquet#{number}" for number in (3, 4, 9, 41, 50, 51, 99)]
    assert len(list(ImageTable(path).contents(wanted))) == 7
    assert read == [0, 4, 5, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "picture"}, r'there is no column "picture"\. The columns are: "image", "label"'),
        ({"label": "klass"}, 'no column "klass"'),
        ({"image": "label"}, "of type int64, which is no encoded picture"),
    ],
)
def test_a_wrong_column_is_named(tmp_path, options, message):
    path = table(tmp_path / "t.parquet", image=[png(0)], label=[1])
    with pytest.raises(DataError, match=message):
        rows(ImageTable(path, **options))


def test_what_is_no_table(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        rows(ImageTable(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"holds no \.parquet file"):
        rows(ImageTable(tmp_path))
    path = table(tmp_path / "t.parquet", image=[None, None])
    with pytest.raises(DataError, match="is of type null"):
        rows(ImageTable(path))
    path = table(tmp_path / "t.parquet", image=pa.array([None, None], pa.binary()))
    with pytest.raises(DataError, match=r'no row in it can be used\. The first: .*"image" is missing'):
        rows(ImageTable(path))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 0.99])
def test_a_truncated_table_is_refused(tmp_path, share):
    path = table(tmp_path / "t.parquet", image=[png(k) for k in range(50)])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="not a sound Parquet file"):
        rows(ImageTable(path))


def test_memory_holds_a_few_rows_and_no_row_group(tmp_path):
    """One row group of 48 MB in pages of a few rows."""
    generator = np.random.default_rng(0)
    images = pa.table({"image": [generator.bytes(500_000) for _ in range(96)]})
    path = tmp_path / "t.parquet"
    pq.write_table(images, path, use_dictionary=False, write_batch_size=2)
    del images
    before, peak = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for _ in ImageTable(path).pictures():
        peak = max(peak, pa.total_allocated_bytes() - before)
    _, in_python = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24e6
    assert in_python < 5e6


def test_without_pyarrow_the_extra_is_named(tmp_path):
    path = table(tmp_path / "t.parquet", image=[png(0)])
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from nearfar.sources.images import ImageTable; from nearfar.errors import MissingExtraError\n"
        f"try: list(ImageTable({str(path)!r}).pictures())\nexcept MissingExtraError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nearfar[parquet]" in run.stdout


# --- digits --------------------------------------------------------------------------------------------------------------


def test_digits():
    source = DigitsSource()
    pictures = list(source.pictures())
    assert len(pictures) == source.report.read == 1797
    assert {picture.label for picture in pictures} == set("0123456789")
    array = pictures[0].content
    assert isinstance(array, np.ndarray)
    assert (array.shape, array.dtype, array.min(), array.max()) == ((8, 8), np.uint8, 0, 239)
    again = list(source.contents(["digits#1797", "digits#1"]))
    np.testing.assert_array_equal(again[0], pictures[-1].content)
    np.testing.assert_array_equal(again[1], array)
    with pytest.raises(DataError, match="none of the digits"):
        list(source.contents(["digits#1798"]))


def test_pictures_compare_by_what_they_are_called():
    array = np.zeros((2, 2), np.uint8)
    assert Picture("a", array) == Picture("a", array.copy())
    assert Picture("a", array) != Picture("b", array)
    assert "array" not in repr(Picture("a", array))
