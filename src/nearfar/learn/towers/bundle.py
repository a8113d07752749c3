"""The tower whose encoder is that of a finished bundle: its vectors of all items are computed once, and only a projection learns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from torch import Tensor, nn

from nearfar.errors import DataError
from nearfar.frontend.audio import AudioFrontend
from nearfar.frontend.cells import is_missing
from nearfar.frontend.image import ImageFrontend
from nearfar.frontend.item_error import ItemError
from nearfar.frontend.settings import (
    AudioSettings,
    ImageSettings,
    JointSettings,
    SeriesSettings,
    TableSettings,
    TextSettings,
)
from nearfar.frontend.table import TableFrontend
from nearfar.frontend.windows import window_of
from nearfar.learn.data.noted import content_key
from nearfar.learn.data.whole import write_whole
from nearfar.learn.towers.finished import FinishedEncoder
from nearfar.learn.towers.once import Once
from nearfar.learn.towers.originals import Originals, OriginalsWriter, row_text
from nearfar.learn.towers.stored import StoredVectors
from nearfar.learn.towers.tower import Inputs, Ints, RefusedItem, TowerFrontend
from nearfar.recipe.joint import AnyTower, BundleEncoder
from nearfar.sources.series import open_series


class BundleSide:
    """A tower with the encoder of a finished bundle; see `Tower`. The frontend is that of the bundle, whatever the recipe says of it.

    The encoder of the tower takes vectors, and passes them on. The run keeps the graph, so that the bundle may go.

    Args:
        name: of the tower.
        settings: its block.
    """

    def __init__(self, name: str, settings: AnyTower) -> None:
        self.name, self.settings = name, settings

    def check(self) -> None:
        """Meet a bundle that is not there or embeds other items."""
        self._finished()

    def _finished(self) -> FinishedEncoder:
        assert isinstance(self.settings.encoder, BundleEncoder)
        return FinishedEncoder.of(self.settings.encoder.path, self.name, self.settings.kind)

    def writer(self, folder: Path, *, seed: int) -> BundleWriter:
        """Begin to keep items in `folder`."""
        del seed
        return BundleWriter(folder, self._finished())

    def open(self, folder: Path) -> BundleItems:
        """Open what the writer left."""
        return BundleItems(folder)

    def encoder(self, items: BundleItems, *, dim: int, started: bool = True) -> Vectored:
        """What passes the vectors of the bundle on."""
        del dim, started
        return Vectored(items.dim)

    def graph(self, encoder: nn.Module, items: BundleItems, *, quantise: str, calibration: Ints) -> bytes:
        """The graph of the bundle, as it is."""
        return items.graph


class Vectored(nn.Module):
    """The encoder of a tower whose inputs are vectors already.

    Args:
        dim: components of each.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, inputs: Inputs) -> Tensor:
        """The vectors (n, dim)."""
        return inputs[0]


class BundleWriter:
    """Keeps items as they came, and embeds them in the end; see `ItemWriter`.

    Args:
        folder: where the files go.
        finished: the encoder.
    """

    def __init__(self, folder: Path, finished: FinishedEncoder) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder, self._finished = folder, finished
        self._originals = OriginalsWriter(folder / "originals")
        self._numbers: dict[int, int] = {}
        self._once = Once(self._add)

    def add(self, content: Any, location: str) -> int:
        """Keep an item, if no equal one is there yet; see `ItemWriter.add`."""
        return self._once(content, location)

    def _add(self, content: Any, location: str) -> int:
        try:
            kept, prepared = _looked_at(content, self._finished.settings, location)
        except ItemError as error:
            raise RefusedItem(error.reason, error.detail) from error
        except (DataError, OSError) as error:
            raise RefusedItem("cannot be read", str(error)) from error
        key = content_key(prepared)
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            if isinstance(self._finished.settings, TextSettings):
                self._originals.add_text(kept)
            else:
                self._originals.add(kept)
        return self._numbers[key]

    def finish(self, training: Ints) -> None:
        """Embed all items; see `ItemWriter.finish`."""
        self._originals.close()
        if not len(training):
            raise DataError("there is no item to train on: lower data.split, or leave this tower out")
        folder, finished = self._folder, self._finished
        items = _All(Originals(folder / "originals"))
        StoredVectors(folder / "vectors.npy").keep(len(items), finished.dim, finished.embedded(items))
        np.save(folder / "keys.npy", np.array(list(self._numbers), np.int64))
        (folder / "graph.onnx").write_bytes(finished.graph)
        for name, content in finished.files.items():
            (folder / name).write_bytes(content)
        settings = JointSettings(towers={"bundle": finished.settings})
        # Last: its presence says that the items are whole.
        write_whole(folder / "bundle.json", json.dumps({"dim": finished.dim, **settings.model_dump(mode="json")}))


class BundleItems:
    """The items of a tower on disk, with the vectors of a bundle; see `Items`.

    Args:
        folder: what `BundleWriter` left.
    """

    def __init__(self, folder: Path) -> None:
        said = json.loads((folder / "bundle.json").read_text("utf-8"))
        self.dim = int(said.pop("dim"))
        self.frontend: TowerFrontend = JointSettings.model_validate(said).towers["bundle"]
        self.keys: Ints = np.load(folder / "keys.npy")
        self._folder, self._vectors = folder, StoredVectors(folder / "vectors.npy")
        self._originals = Originals(folder / "originals")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def files(self) -> Mapping[str, bytes]:
        """Those that the bundle's frontend needs."""
        return {name: (self._folder / name).read_bytes() for name in self.frontend.files}

    @property
    def graph(self) -> bytes:
        """The ONNX model of the bundle."""
        return (self._folder / "graph.onnx").read_bytes()

    @property
    def counts(self) -> Mapping[str, int]:
        """What there is, for the manifest."""
        return {"items": len(self)}

    def inputs(self, numbers: Ints, rng: np.random.Generator) -> Inputs:
        """Their vectors (n, dim), by no chance."""
        del rng
        return (self._vectors.of(numbers),)

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        """The same in parts."""
        return self._vectors.seen(numbers, at_a_time)

    def raw(self, numbers: Ints) -> list[Any]:
        """As they came; files of samples as windows; see `Items.raw`."""
        return [self._originals[number] for number in numbers.tolist()]


class _All(Sequence[Any]):
    """Items that stay on disk until the frontend asks for them."""

    def __init__(self, originals: Originals) -> None:
        self._originals = originals

    def __len__(self) -> int:
        return len(self._originals)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self._originals[number] for number in range(*place.indices(len(self)))]
        return self._originals[place]


def _looked_at(content: Any, settings: TowerFrontend, location: str) -> tuple[Any, bytes]:
    """What is kept of an item, and the bytes by which an equal one is known: what the frontend makes of it, where it decodes.

    Raises:
        ItemError: it cannot be used.
        DataError: it is of another kind.
        RefusedItem: it is empty.
    """
    match settings:
        case TextSettings():
            if not isinstance(content, str) or not content.strip():
                raise RefusedItem("empty text" if isinstance(content, str) else "no text")
            return content, content.encode("utf-8", "surrogatepass")
        case ImageSettings():
            pixels = ImageFrontend(settings).prepare(content, name=location)
            return content, np.ascontiguousarray(pixels).tobytes()
        case AudioSettings():
            return content, AudioFrontend(settings).prepare(content, name=location).tobytes()
        case SeriesSettings():
            window = window_of(list(open_series(Path(content)).recordings()), settings)
            return window, window.tobytes()
        case TableSettings():
            if not isinstance(content, Mapping):
                raise RefusedItem("no row", type(content).__name__)
            if all(is_missing(cell, frozenset(settings.missing)) for cell in content.values()):
                raise RefusedItem("nothing in any column")
            TableFrontend(settings).encode([content])
            return content, row_text(content, ordered=True).encode("utf-8", "surrogatepass")
