"""Files of samples as items: equal ones, damaged ones, windows in training and on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_partners import partners_recipe, write_partners

from nearfar.errors import DataError
from nearfar.frontend import SeriesFrontend
from nearfar.frontend.windows import FileSamples, WindowError, frames_of, from_zero, window_ends, window_of
from nearfar.learn.towers.series import SeriesItems, SeriesSide
from nearfar.learn.towers.tower import RefusedItem
from nearfar.recipe.joint import SeriesTower
from nearfar.sources.recording import Channel
from nearfar.sources.series import open_series


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_partners(tmp_path_factory.mktemp("partners"), 24).parent


def side_of(folder: Path, **changes: Any) -> SeriesSide:
    block = partners_recipe(folder / "pairs.csv", towers={"series": changes}).towers["series"]
    assert isinstance(block, SeriesTower)
    return SeriesSide("series", block)


def kept(side: SeriesSide, files: list[Path], target: Path) -> SeriesItems:
    writer = side.writer(target, seed=0)
    numbers = [writer.add(path, f"pairs.csv:{row}") for row, path in enumerate(files)]
    assert numbers == list(range(len(files)))
    writer.finish(np.arange(0, len(files), 2))
    return side.open(target)


def files_in(folder: Path) -> list[Path]:
    return sorted((folder / "series").glob("*.csv"))


def test_equal_samples_are_one_item(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder)
    writer = side.writer(tmp_path / "items", seed=0)
    first, second = files_in(folder)[:2]
    copy = tmp_path / "copy.csv"
    copy.write_bytes(first.read_bytes())
    # The same samples at another time of day are the same item: a file has a clock of its own.
    later = tmp_path / "later.csv"
    rows = first.read_text().splitlines()
    moved = [f"{float(time) + 100:.2f},{rest}" for time, rest in (row.split(",", 1) for row in rows[1:])]
    later.write_text("\n".join([rows[0], *moved]))
    assert [writer.add(path, "t:1") for path in (first, second, str(first), copy)] == [0, 1, 0, 0]
    writer.finish(np.array([0, 1]))
    items = side.open(tmp_path / "items")
    assert len(items) == 2
    assert len(set(items.keys.tolist())) == 2
    settings_ = items.frontend
    windows = [window_of(list(open_series(path).recordings()), settings_) for path in (first, later)]
    np.testing.assert_allclose(windows[0], windows[1], atol=1e-4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "cannot be read"),
        ("nothing,here\na,b\n", "cannot be read"),
        ("time,force\n0.0,\n0.1,\n", "holds no values|cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_file_of_samples_is_refused(folder: Path, tmp_path: Path, content: str | None, reason: str) -> None:
    writer = side_of(folder).writer(tmp_path / "items", seed=0)
    path = tmp_path / "broken.csv"
    if content is not None:
        path.write_text(content)
    for _ in range(2):
        with pytest.raises(RefusedItem, match=reason):
            writer.add(path, "pairs.csv:2")
    with pytest.raises(RefusedItem, match="no path"):
        writer.add(b"bytes", "pairs.csv:3")
    assert writer.add(files_in(folder)[0], "pairs.csv:4") == 0


def test_one_file_is_of_one_machine() -> None:
    times, values = np.arange(4.0), np.ones((4, 1), np.float32)
    some = [FileSamples(name, [Channel("force")], times + 5, values) for name in ("a", "b")]
    with pytest.raises(WindowError, match=r"samples of several machines .2: give each a file of its own"):
        from_zero(some)
    assert from_zero(some[:1])[0].times.tolist() == [0, 1, 2, 3]


def test_a_file_without_a_known_channel_is_named(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("time,heat\n" + "".join(f"{t / 50},{t % 7}\n" for t in range(100)))
    side = side_of(folder)
    writer = side.writer(tmp_path / "items", seed=0)
    for row, path in enumerate([*files_in(folder)[:4], other]):
        writer.add(path, f"pairs.csv:{row}")
    with pytest.raises(
        DataError, match=r"pairs.csv:4: .*other.csv: no value of a known channel .it has heat; known are force"
    ):
        writer.finish(np.arange(4))
    with pytest.raises(DataError, match="no file of samples to train on"):
        side.writer(tmp_path / "none", seed=0).finish(np.zeros(0, np.int64))


def test_a_file_that_is_unlike_the_others_is_named(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.csv"
    odd.write_text("time,other\n1,2\n")
    writer = side_of(folder).writer(tmp_path / "items", seed=0)
    for row, path in enumerate([*files_in(folder)[:3], odd]):
        writer.add(path, f"pairs.csv:{row}")
    with pytest.raises(
        DataError, match=r"rate cannot be told\. Most files have .*; pairs\.csv:3: .*odd\.csv has other$"
    ):
        writer.finish(np.arange(4))


def test_a_killed_writer_starts_again(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder)
    killed = side.writer(tmp_path / "items", seed=0)
    killed.add(files_in(folder)[5], "pairs.csv:5")
    items = kept(side, files_in(folder), tmp_path / "items")
    again = kept(side, files_in(folder), tmp_path / "again")
    np.testing.assert_array_equal(items.last(np.arange(24)), again.last(np.arange(24)))
    assert items.frontend == again.frontend


def test_only_training_files_say_what_is_normal(folder: Path, tmp_path: Path) -> None:
    side, files = side_of(folder), files_in(folder)
    loud = tmp_path / "loud.csv"
    loud.write_text("time,force,shift\n" + "".join(f"{t / 50},{1e6 * (t % 2)},1e6\n" for t in range(100)))
    plain = kept(side, files, tmp_path / "a")
    writer = side.writer(tmp_path / "c", seed=0)
    for row, path in enumerate([*files, loud]):
        writer.add(path, f"t:{row}")
    writer.finish(np.arange(0, 24, 2))
    assert side.open(tmp_path / "c").frontend == plain.frontend


@pytest.mark.parametrize("views", [None, {"mask": 0.3}])
def test_what_is_drawn_depends_on_the_seed_and_the_place(
    folder: Path, tmp_path: Path, views: dict[str, Any] | None
) -> None:
    items = kept(side_of(folder, views=views), files_in(folder), tmp_path / "items")
    numbers = np.array([3, 3, 5, 7])
    first, second = (items.inputs(numbers, np.random.default_rng(4)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.shape == (4, 96, 2)
        assert torch.equal(one, other)
    other = items.inputs(numbers, np.random.default_rng(5))
    assert not torch.equal(first[0], other[0])


def test_training_sees_every_window_and_the_device_the_last(folder: Path, tmp_path: Path) -> None:
    items = kept(side_of(folder), files_in(folder), tmp_path / "items")
    recordings = list(open_series(files_in(folder)[3]).recordings())
    frames, length = frames_of(recordings, items.frontend), items.frontend.window
    windows = np.stack([frames[end - length : end] for end in window_ends(frames, length)])
    assert len(windows) == 5  # 100 frames, 96 of a window
    np.testing.assert_array_equal(items.raw(np.array([3]))[0], window_of(recordings, items.frontend))
    np.testing.assert_array_equal(windows[-1], items.raw(np.array([3]))[0])
    rng = np.random.default_rng(0)
    drawn = {items.inputs(np.array([3]), rng)[0].numpy().tobytes() for _ in range(60)}
    scaled = SeriesFrontend(items.frontend).scaled(windows)[0]
    assert drawn == {window.tobytes() for window in scaled}


def test_a_short_file_ends_where_encoders_look(folder: Path, tmp_path: Path) -> None:
    items = kept(side_of(folder), files_in(folder), tmp_path / "items")
    short = tmp_path / "short.csv"
    short.write_text("\n".join(files_in(folder)[0].read_text().splitlines()[:31]))
    window = window_of(list(open_series(short).recordings()), items.frontend)
    assert np.isnan(window[:66]).all()
    assert np.isfinite(window[66:]).all()


@pytest.mark.parametrize("kind", ["dilated_cnn", "spectral"])
def test_the_graph_gives_the_vectors_of_the_encoder(folder: Path, tmp_path: Path, kind: str) -> None:
    import onnxruntime as ort

    encoder_block = {"kind": kind, "width": 8, "dim": 16}
    side = side_of(folder, encoder=encoder_block)
    items = kept(side, files_in(folder), tmp_path / "items")
    torch.manual_seed(0)
    encoder = side.encoder(items, dim=32).eval()
    numbers = np.arange(24)
    vectors = np.zeros((24, encoder.dim), np.float32)
    with torch.no_grad():
        for places, inputs in items.seen(numbers, 7):
            vectors[places] = encoder(inputs).numpy()
    for quantise, least in (("none", 0.999), ("int8", 0.98)):
        session = ort.InferenceSession(side.graph(encoder, items, quantise=quantise, calibration=numbers[::2]))
        frontend = SeriesFrontend(items.frontend)
        for positions, feed in frontend.feeds(items.raw(numbers), "document", 8):
            found = session.run(["embedding"], feed)[0]
            wanted = vectors[positions]
            cosines = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
            assert cosines.min() > least
    assert side.graph(encoder, items, quantise="int8", calibration=numbers[:0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=5, max_size=30), st.integers(1, 5))
def test_there_is_always_a_last_window(there: list[bool], window: int) -> None:
    frames = np.where(np.array(there)[:, None], 1.0, np.nan).astype(np.float32)
    ends = window_ends(frames, window)
    shares = [np.isfinite(frames[end - window : end]).mean() for end in range(window, len(frames) + 1)]
    good = [end for end, share in zip(range(window, len(frames) + 1), shares, strict=True) if share >= 0.5]
    assert ends.tolist() == (
        good or [max(end for end, share in zip(range(window, 99), shares, strict=False) if share == max(shares))]
    )
