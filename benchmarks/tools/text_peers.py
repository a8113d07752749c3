"""What the students are set beside, of other people's making: LSA, and a static model distilled by model2vec."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from nearfar.embedder import Item, Side

Vectors = npt.NDArray[np.float32]

_COMPONENTS = 256
_QUICK_PATTERN = r"\[unused\d+\]|.{4,}"


@dataclass(frozen=True)
class Lsa:
    """TF-IDF with logarithmic counts, and the first singular vectors of the documents.

    Attributes:
        words: text to weighted counts.
        axes: weighted counts to the vector.
    """

    words: TfidfVectorizer
    axes: TruncatedSVD

    @classmethod
    def fitted(cls, documents: Sequence[str]) -> Lsa:
        """Fit to the documents that are searched."""
        words = TfidfVectorizer(sublinear_tf=True, stop_words="english")
        counts = words.fit_transform(documents)
        axes = TruncatedSVD(min(_COMPONENTS, min(counts.shape) - 1), random_state=0).fit(counts)
        return cls(words, axes)

    @classmethod
    def open(cls, path: Path) -> Lsa:
        """Open what `save` wrote."""
        opened = joblib.load(path)
        assert isinstance(opened, cls)
        return opened

    def save(self, path: Path) -> None:
        """Write it to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(self, path)

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return int(self.axes.components_.shape[0])

    @property
    def size_bytes(self) -> int:
        """What a device would carry: the axes in float32, a weight a word, and the words."""
        words = self.words.vocabulary_
        return 4 * (self.axes.components_.size + len(words)) + sum(len(str(word).encode()) for word in words)

    def embed(self, items: Sequence[Item], side: Side = "document") -> Vectors:
        """Embed texts: float32 (n, d), rows of unit length, or of zeros where no word is known."""
        del side
        return np.asarray(normalize(self.axes.transform(self.words.transform(items))), dtype=np.float32)


class Model2vec:
    """A folder that `distil_model2vec` made, as an embedder of the benchmark."""

    def __init__(self, folder: Path) -> None:
        from model2vec import StaticModel

        self._model = StaticModel.from_pretrained(str(folder))

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return int(self._model.dim)

    def embed(self, items: Sequence[Item], side: Side = "document") -> Vectors:
        """Embed texts: float32 (n, d), rows of unit length, or of zeros where no piece is known."""
        del side
        return np.asarray(self._model.encode(list(items), use_multiprocessing=False), dtype=np.float32)


def has_model2vec() -> bool:
    """Whether that peer and what its distillation needs are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("model2vec", "skeletoken", "transformers"))


def distil_model2vec(model: Path, target: Path, *, quick: bool) -> int:
    """Distil a transformer with the defaults of model2vec (256 dimensions, float16), and say how many bytes that takes.

    With `quick` only short pieces are embedded, which shows that it runs.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    from model2vec.distill import distill

    if not (target / "model.safetensors").is_file():
        found = (
            distill(str(model), device="cpu", token_remove_pattern=_QUICK_PATTERN)
            if quick
            else distill(str(model), device="cpu")
        )
        found.save_pretrained(str(target))
    return sum((target / name).stat().st_size for name in ("model.safetensors", "tokenizer.json", "config.json"))
