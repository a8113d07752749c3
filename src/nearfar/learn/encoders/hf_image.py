"""The vision tower of any model of `transformers`: a local directory or a hub name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import RunError
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.pretrained import keep_parts, load_model, loading
from nearfar.learn.reason import first_line
from nearfar.recipe.joint import HuggingFaceImageEncoder

_FILES = "config.json, model.safetensors and preprocessor_config.json"
_LARGEST = 255.0  # of a pixel, as their files count


def build_hf_image_encoder(
    settings: HuggingFaceImageEncoder, *, size: int, channels: int, weights: bool = True
) -> ImageEncoder:
    """The vision tower of a model, with the mean and standard deviation that it was trained with.

    Args:
        settings: the recipe's encoder block.
        size: height and width of a picture in pixels, `frontend.size`.
        channels: of a picture, `frontend.channels`.
        weights: those of its authors; else fresh ones, for a checkpoint that brings its own.

    Returns:
        An encoder in training mode.

    Raises:
        RunError: the model cannot be loaded, sees no pictures, or none of that size or so many channels.
        MissingExtraError: `transformers` is not installed.
    """
    if channels != 3:
        raise RunError(f"frontend.channels is {channels}, but {settings.model} sees red, green and blue: set it to 3")
    return _HuggingFaceImage(settings, size=size, weights=weights)


class _HuggingFaceImage(ImageEncoder):
    """One vector of each picture: that of `get_image_features` where a model has it (CLIP, SigLIP), else the class token (ViT, DINOv2),
    else what the model itself pools, else the mean over places.
    """

    def __init__(self, settings: HuggingFaceImageEncoder, *, size: int, weights: bool) -> None:
        super().__init__(3)
        self.model: Any = load_model(settings.model, settings.revision, files=_FILES, kind="pictures", weights=weights)
        self.shared = hasattr(self.model, "get_image_features")
        if self.shared:
            keep_parts(self.model, "vision", "visual")
        self.has_class_token = any(name.endswith("cls_token") for name, _ in self.model.named_parameters())
        if getattr(self.model, "main_input_name", "") != "pixel_values" and not self.shared:
            raise RunError(
                f"encoder.model {settings.model!r} is of type {self.model.config.model_type}, which sees no pictures: "
                "give a model such as CLIP, SigLIP, ViT or DINOv2"
            )
        mean, std = _published(settings)
        super().normalise_by(mean, std)
        try:
            with torch.no_grad():
                self.eval()
                self.dim = self.width = int(self._vectors(torch.zeros(1, 3, size, size)).shape[1])
                self.train()
        except (RuntimeError, ValueError, AssertionError) as error:
            wanted = _size_of(self.model.config)
            mend = f"set frontend.size to {wanted}" if wanted else "set frontend.size to what it was made for"
            raise RunError(
                f"encoder.model {settings.model!r} does not take pictures of {size} x {size} pixels "
                f"({first_line(error)}): {mend}, or choose another model"
            ) from error

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """The weights keep the mean and standard deviation that they were trained with."""

    def maps(self, images: Tensor) -> Tensor:
        """The vectors as maps of one place, (n, dim, 1, 1)."""
        return self._vectors(self.normalised(images))[:, :, None, None]

    def _vectors(self, pixels: Tensor) -> Tensor:
        if self.shared:
            found = self.model.get_image_features(pixel_values=pixels)
            features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
            return features
        found = self.model(pixel_values=pixels)
        hidden: Tensor = found.last_hidden_state
        if self.has_class_token:
            return hidden[:, 0]
        pooled = getattr(found, "pooler_output", None)
        if pooled is None:
            pooled = hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden.mean(dim=1)
        flat: Tensor = pooled.flatten(1)
        return flat


def _published(settings: HuggingFaceImageEncoder) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of pixels in [0, 1], by the files of the model."""
    from transformers.image_processing_base import ImageProcessingMixin

    with loading(settings.model, files=_FILES):
        said, _ = ImageProcessingMixin.get_image_processor_dict(settings.model, revision=settings.revision)
    # Their pixels are numbers to 255, times a factor that is nearly always one 255th; ours are shares already.
    factor = float(said.get("rescale_factor") or 1 / _LARGEST) if said.get("do_rescale", True) else 1.0
    scale = factor * _LARGEST
    mean, std = said.get("image_mean"), said.get("image_std")
    if not said.get("do_normalize", True) or mean is None or std is None:
        mean, std = [0.0] * 3, [1.0] * 3
    return [float(value) / scale for value in mean], [float(value) / scale for value in std]


def _size_of(config: Any) -> int | None:
    """Height and width of the pictures that a model was made for."""
    found = getattr(getattr(config, "vision_config", config), "image_size", None)
    return int(found[0] if isinstance(found, (list, tuple)) else found) if found else None
