"""The tower for pictures: squares of pixels on disk, views of them in training, all of each on the device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.errors import DataError, RunError
from nearfar.frontend import ImageSettings
from nearfar.frontend.image import PictureError, decode
from nearfar.learn.data.noted import content_key
from nearfar.learn.data.picture_rows import as_on_device, stored
from nearfar.learn.data.picture_store import PictureWriter, moments, open_pixels, wanted_size
from nearfar.learn.data.whole import write_whole
from nearfar.learn.encoders.build_image import build_image_encoder
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.export.image import export_image_graph
from nearfar.learn.towers.once import Once
from nearfar.learn.towers.originals import Originals, OriginalsWriter
from nearfar.learn.towers.start import check_start, joint_prefixes, load_start
from nearfar.learn.towers.tower import Inputs, RefusedItem
from nearfar.learn.views import Views
from nearfar.recipe.image_encoders import TimmEncoder
from nearfar.recipe.joint import BundleEncoder, HuggingFaceImageEncoder, ImageTower

Ints = npt.NDArray[np.int64]

_CALIBRATED = 512
_AT_A_TIME = 64


class ImageSide:
    """A tower for pictures; see `Tower`.

    Without views a picture is seen as on the device.

    Args:
        name: of the tower.
        settings: its block.
    """

    def __init__(self, name: str, settings: ImageTower) -> None:
        self.name, self.settings = name, settings

    @property
    def frontend(self) -> ImageSettings:
        """What the manifest says of how pictures are prepared."""
        block = self.settings.frontend
        return ImageSettings(size=block.size, channels=block.channels, fit=block.fit)

    @property
    def views(self) -> Views | None:
        """How pictures are changed in training."""
        settings, block = self.settings.views, self.settings.frontend
        return Views(settings, size=block.size, channels=block.channels) if settings is not None else None

    def check(self) -> None:
        """Meet an encoder that cannot be, does not take the views or has nothing to start from."""
        key, start, views = f"towers.{self.name}", self._start, self.views
        check_start(start, f"{key}.start")
        sizes = {self.frontend.size, *(views.sizes[:1] if views is not None else ())}
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            try:
                encoder = self._built(pretrained=True)
                encoder.eval()
                for size in sizes:
                    encoder(torch.zeros(1, self.frontend.channels, size, size))
            except (RunError, DataError) as error:
                raise RunError(f"{key}: {error}") from error
            if start is not None:
                load_start(encoder, start, f"{key}.start", prefixes=joint_prefixes(self.name))

    def writer(self, folder: Path, *, seed: int) -> PicturesWriter:
        """Begin to keep items in `folder`."""
        return PicturesWriter(folder, self, seed=seed)

    def open(self, folder: Path) -> PictureItems:
        """Open what the writer left."""
        return PictureItems.open(folder, self.frontend, self.views)

    def encoder(self, items: PictureItems, *, dim: int, started: bool = True) -> PictureTower:
        """The encoder with fresh weights, those of `start`, or of the pretrained model."""
        del dim
        encoder = self._built(pretrained=started)
        if not isinstance(self.settings.encoder, HuggingFaceImageEncoder):  # that one has its own
            encoder.normalise_by(items.format.mean, items.format.std)
        if started and self._start is not None:
            load_start(encoder, self._start, f"towers.{self.name}.start", prefixes=joint_prefixes(self.name))
        return PictureTower(encoder)

    def graph(self, encoder: nn.Module, items: PictureItems, *, quantise: str, calibration: Ints) -> bytes:
        """The ONNX model of a trained encoder; see `export_image_graph`."""
        assert isinstance(encoder, PictureTower)
        return export_image_graph(
            encoder.encoder,
            size=self.frontend.size,
            channels=self.frontend.channels,
            dim=None,
            quantise=quantise if len(calibration) else "none",
            calibration=(pixels.numpy() for _, (pixels,) in items.seen(calibration[:_CALIBRATED], _AT_A_TIME)),
        )

    @property
    def _start(self) -> Path | None:
        """The weights to start from, of the tower's block or, as elsewhere, of its encoder's."""
        return self.settings.start or getattr(self.settings.encoder, "start", None)

    def _built(self, *, pretrained: bool) -> ImageEncoder:
        settings, frontend = self.settings.encoder, self.frontend
        assert not isinstance(settings, BundleEncoder)
        if isinstance(settings, HuggingFaceImageEncoder):
            from nearfar.learn.encoders.hf_image import build_hf_image_encoder

            return build_hf_image_encoder(settings, size=frontend.size, channels=frontend.channels, weights=pretrained)
        if isinstance(settings, TimmEncoder) and not pretrained:
            settings = settings.model_copy(update={"pretrained": False})
        return build_image_encoder(settings, size=frontend.size, channels=frontend.channels)


class PictureTower(nn.Module):
    """An encoder of pictures, which takes pixels.

    Args:
        encoder: what embeds.
    """

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, encoder.dim

    def forward(self, inputs: Inputs) -> Tensor:
        """Embed n pictures (n, c, h, w) in [0, 1]."""
        (pixels,) = inputs
        # The memory order in which convolutions are fastest, on CPU and GPU alike.
        vectors: Tensor = self.encoder(pixels.contiguous(memory_format=torch.channels_last))
        return vectors


@dataclass(frozen=True)
class PictureFormat:
    """How pictures lie on disk, and what is measured of those trained on.

    Attributes:
        size: height and width.
        channels: of each.
        dtype: of their numbers.
        mean: of each channel, in [0, 1].
        std: likewise.
    """

    size: int
    channels: int
    dtype: str
    mean: list[float]
    std: list[float]


class PicturesWriter:
    """Keeps pictures as squares; see `ItemWriter`.

    Args:
        folder: where the files go.
        tower: whose they are.
        seed: of the recipe.
    """

    def __init__(self, folder: Path, tower: ImageSide, *, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._seed, self._frontend = folder, seed, tower.settings.frontend
        self._pixels = PictureWriter(folder / "pixels.bin", self._frontend)
        self._originals = OriginalsWriter(folder / "originals")
        self._numbers: dict[int, int] = {}
        self._once = Once(self._add)

    def add(self, content: Any, location: str) -> int:
        """Keep a picture, if no equal one is there yet; see `ItemWriter.add`."""
        return self._once(content, location)

    def _add(self, content: Any, location: str) -> int:
        frontend = self._frontend
        try:
            pixels = decode(content, frontend.channels, name=location, at_least=wanted_size(frontend))
        except PictureError as error:
            raise RefusedItem(error.reason, error.detail) from error
        except DataError as error:
            raise RefusedItem("no picture", str(error)) from error
        key = content_key(repr(pixels.shape).encode() + pixels.tobytes())
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._pixels.add(pixels)
            self._originals.add(content)
        return self._numbers[key]

    def finish(self, training: Ints) -> None:
        """Measure mean and deviation of the training pictures; see `ItemWriter.finish`."""
        self._pixels.close()
        self._originals.close()
        if not len(training):
            raise DataError("there is no picture to train on: lower data.split, or leave this tower out")
        written, channels = self._pixels, self._frontend.channels
        shape = (len(self._numbers), channels, written.size, written.size)
        mean, std = moments(open_pixels(self._folder / "pixels.bin", shape, written.dtype), training, self._seed)
        keys = np.array(list(self._numbers), np.int64)
        np.savez(self._folder / "pictures.npz", keys=keys, aspects=np.array(written.aspects, np.float32))
        found = PictureFormat(written.size, channels, str(written.dtype), mean, std)
        # Last: its presence says that the items are whole.
        write_whole(self._folder / "pictures.json", json.dumps(asdict(found)))


@dataclass(frozen=True)
class PictureItems:
    """The pictures of a tower on disk; see `Items`.

    Attributes:
        frontend: what the manifest says.
        format: how they lie there.
        keys: (n,) equal only for equal pixels.
        pixels: (n, c, S, S) in [0, 1] as fractions of the largest number of their format; squashed to squares.
        aspects: (n,) width / height that each had.
        originals: as they came.
        views: one view of each picture in training; None leaves them as the device sees them.
    """

    frontend: ImageSettings
    format: PictureFormat
    keys: Ints
    pixels: npt.NDArray[Any]
    aspects: npt.NDArray[np.float32]
    originals: Originals
    views: Views | None

    @classmethod
    def open(cls, folder: Path, frontend: ImageSettings, views: Views | None) -> PictureItems:
        """Open what `PicturesWriter` left."""
        found = PictureFormat(**json.loads((folder / "pictures.json").read_text("utf-8")))
        with np.load(folder / "pictures.npz") as arrays:
            keys, aspects = arrays["keys"], arrays["aspects"]
        pixels = open_pixels(folder / "pixels.bin", (len(keys), found.channels, found.size, found.size), found.dtype)
        return cls(frontend, found, keys, pixels, aspects, Originals(folder / "originals"), views)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def files(self) -> Mapping[str, bytes]:
        """None are needed in a bundle."""
        return {}

    @property
    def counts(self) -> Mapping[str, int]:
        """What there is, for the manifest."""
        return {"pictures": len(self), "store_size": self.format.size}

    def inputs(self, numbers: Ints, rng: np.random.Generator) -> Inputs:
        """A view of each picture, float32 (n, c, size, size) in [0, 1]; see `Items.inputs`."""
        if self.views is None:
            return (self._plain(numbers),)
        draws = self.views.draw(self.aspects[numbers], rng)
        return (self.views.apply(stored(self, numbers), draws, count=1)[0],)

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        """Pictures as the device sees them; see `Items.seen`."""
        for first in range(0, len(numbers), at_a_time):
            places = np.arange(first, min(first + at_a_time, len(numbers)))
            yield places, (self._plain(numbers[places]),)

    def _plain(self, numbers: Ints) -> Tensor:
        return as_on_device(self, numbers, self.frontend.size, self.frontend.fit)

    def raw(self, numbers: Ints) -> list[Any]:
        """Paths, encoded bytes or arrays, as they came; see `Items.raw`."""
        return [self.originals[number] for number in numbers.tolist()]
