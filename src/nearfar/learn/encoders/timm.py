"""Any encoder of pictures that the `timm` package has."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import MissingExtraError, RunError
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.reason import first_line
from nearfar.recipe.image_encoders import TimmEncoder


class TimmImageEncoder(ImageEncoder):
    """The features of a timm model before its head, with the mean over places.

    Args:
        settings: the recipe's encoder block.
        channels: of the pictures.
        size: height and width of a picture in pixels, for models whose weights depend on it.

    Raises:
        MissingExtraError: timm, or torchvision, which it needs, is not installed.
        RunError: timm cannot be imported for another reason, has no such model, or cannot make it for such pictures.
    """

    def __init__(self, settings: TimmEncoder, *, channels: int, size: int) -> None:
        super().__init__(channels)
        self.pretrained = settings.pretrained
        self.model: Any = _created(settings, channels=channels, size=size)
        self.prefix_tokens = int(getattr(self.model, "num_prefix_tokens", 0))
        if settings.pretrained:
            published = self.model.pretrained_cfg
            if len(published["mean"]) == channels:  # else timm has summed or repeated the weights of three channels
                super().normalise_by(published["mean"], published["std"])
        try:
            with torch.no_grad():
                self.eval()
                shape = self.maps(torch.zeros(1, channels, size, size)).shape
                self.train()
        except RuntimeError as error:
            raise RunError(
                f"encoder.model {settings.model!r} does not take pictures of {size} x {size} pixels ({first_line(error)}): "
                "set frontend.size to what it was made for, or choose another model"
            ) from error
        self.dim = self.width = int(shape[1])
        self.reduction = max(1, size // int(shape[2]))

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """As for every encoder, but published weights keep the mean and standard deviation that they were trained with."""
        if not self.pretrained:
            super().normalise_by(mean, std)

    def maps(self, images: Tensor) -> Tensor:
        """The features before the head, (n, width, h', w').

        Raises:
            RunError: the model takes pictures of one size only, and these have another.
        """
        try:
            features: Tensor = self.model.forward_features(self.normalised(images))
        except AssertionError as error:
            raise RunError(
                f"this timm model does not take pictures of {images.shape[2]} x {images.shape[3]} pixels "
                f"({first_line(error)}): set frontend.size to what it was made for, leave local crops out, or choose another"
            ) from error
        if features.ndim == 4:
            channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
            return features.permute(0, 3, 1, 2) if channels_last else features
        patches = features[:, self.prefix_tokens :].transpose(1, 2)
        side = round(patches.shape[2] ** 0.5)  # pictures are square
        return patches.reshape(len(patches), patches.shape[1], side, -1)


def _created(settings: TimmEncoder, *, channels: int, size: int) -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"timm", "torchvision"}:
            raise MissingExtraError("timm", "encoder 'timm'") from error
        raise RunError(f"timm is installed but cannot be imported: {first_line(error)}") from error
    except Exception as error:  # a torchvision made for another torch raises what it likes
        raise RunError(
            f"timm is installed but cannot be imported ({first_line(error)}): install the torchvision that belongs to "
            f"torch {torch.__version__}, from the same index, or take another encoder.kind"
        ) from error
    if not timm.is_model(settings.model):
        near = get_close_matches(settings.model, timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; timm.list_models() lists what it has"
        raise RunError(f"encoder.model: timm {timm.__version__} has no {settings.model!r}{hint}")
    wanted = {"pretrained": settings.pretrained, "in_chans": channels, "num_classes": 0}
    try:
        try:
            return timm.create_model(settings.model, img_size=size, **wanted)
        except TypeError:  # convolutional models have no img_size
            return timm.create_model(settings.model, **wanted)
    except Exception as error:  # the network, the hub, the file, the size
        raise RunError(f"encoder.model {settings.model!r} could not be made by timm: {first_line(error)}") from error
