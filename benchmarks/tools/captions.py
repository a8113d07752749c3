"""CLIP and SigLIP on pictures whose captions name their label: towers from scratch, in nearfar's own parts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.learn.data.batches import StepSampler
from nearfar.learn.data.picture_rows import PictureRows
from nearfar.learn.data.pictures import PictureCorpus
from nearfar.learn.encoders.build_image import build_image_encoder
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.projection import build_projection
from nearfar.learn.methods.clip import Clip
from nearfar.learn.methods.joint import JointBatch
from nearfar.learn.methods.siglip import SigLip
from nearfar.learn.views import Views
from nearfar.recipe import Recipe

TEMPLATES = ("a photo of a {}", "a small picture of a {}", "this is a {}", "a blurry photo of the {}")
_WIDTH = 128


class Words(nn.Module):
    """The text tower: the mean of learned word vectors, and a layer after it."""

    def __init__(self, captions: list[list[str]]) -> None:
        super().__init__()
        words = sorted({word for some in captions for caption in some for word in caption.split()})
        self.places = {word: i for i, word in enumerate(words)}
        self.vectors = nn.EmbeddingBag(len(words), _WIDTH)
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(_WIDTH, _WIDTH))

    def forward(self, captions: list[str]) -> Tensor:
        """Embed n captions; (n, 128)."""
        words = [[self.places[word] for word in caption.split()] for caption in captions]
        starts = np.cumsum([0, *(len(some) for some in words[:-1])])
        flat = torch.tensor([place for some in words for place in some])
        made: Tensor = self.layers(self.vectors(flat, torch.from_numpy(starts)))
        return made


class TrainedTower(NamedTuple):
    """The image tower of a finished training, and the steps it took."""

    encoder: ImageEncoder
    steps: int


def train_on_captions(kind: str, recipe: Recipe, corpus: PictureCorpus) -> TrainedTower:
    """Train as the recipe says, but each picture with a caption in place of its other view.

    Pictures of one label have captions that fit all of them, so these are no negatives of each other.

    Args:
        kind: `clip` or `siglip`.
        recipe: views, encoder, seed and training.
        corpus: pictures with labels.
    """
    torch.manual_seed(recipe.seed)
    _, frontend, settings, block, _ = recipe.of_images
    views = Views(settings, size=frontend.size, channels=frontend.channels)
    rows = PictureRows.of(corpus, views, seed=recipe.seed, labels_per_class=None, labelled_only=True)
    encoder = build_image_encoder(block, size=frontend.size, channels=frontend.channels)
    encoder.normalise_by(corpus.counts.mean, corpus.counts.std)
    captions = [[template.format(name) for template in TEMPLATES] for name in corpus.counts.classes]
    text = Words(captions)
    widths = {"image": encoder.dim, "text": _WIDTH}
    projections = {name: build_projection("linear", width, _WIDTH) for name, width in widths.items()}
    method = (Clip if kind == "clip" else SigLip)({"image": encoder, "text": text}, projections, [("image", "text")])
    training = recipe.train
    steps = round(training.epochs * (len(rows) // training.batch_size))
    optimiser = torch.optim.AdamW(method.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.learning_rate, total_steps=steps, pct_start=0.05)
    templates = np.random.default_rng([recipe.seed, 9])
    for share in StepSampler(len(rows), training.batch_size, steps, seed=recipe.seed):
        if share.step:
            method.follow(share.step, steps)
        batch = rows[share]
        view = views.apply(batch.pixels, batch.draws, count=1)[0].contiguous(memory_format=torch.channels_last)
        drawn = templates.integers(len(TEMPLATES), size=len(batch.labels))
        said = [captions[label][number] for label, number in zip(batch.labels.tolist(), drawn, strict=True)]
        links = JointBatch.of_two(("image", view), ("text", said), left_ids=batch.items, right_ids=batch.labels)
        loss = method.loss(method.embed(links))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return TrainedTower(encoder.eval(), steps)
