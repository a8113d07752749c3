"""Similarity of sentences: the rank correlation of cosines with what people said, on the English dev part of STS-B."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.stats import rankdata

from nearfar.embedder import Embedder
from nearfar.evaluate import Interval

TRAIN, DEV = "stsb_en_train.parquet", "stsb_dev_11langs.parquet"
_RESAMPLES = 2_000

Floats = npt.NDArray[np.float64]


def write_sentences(folder: Path, target: Path, *, limit: int | None = None) -> Path:
    """The sentences of the training part as a table of documents; their scores are not read."""
    columns = pq.read_table(folder / TRAIN, columns=["sentence1", "sentence2"])
    sentences = dict.fromkeys(text for name in columns.column_names for text in columns[name].to_pylist())
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8") as file:
        for text in list(sentences)[:limit]:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return target


def spearman_on_dev(folder: Path, embedder: Embedder, *, limit: int | None = None) -> Interval:
    """Spearman's correlation with its 95 % interval by a bootstrap over the pairs, the first `limit` of them."""
    rows = [row for row in pq.read_table(folder / DEV).to_pylist() if row["lang"] == "en"][:limit]
    one, other = (embedder.embed([row[name] for row in rows]) for name in ("sentence1", "sentence2"))
    cosines = np.einsum("nd,nd->n", one, other).astype(np.float64)
    said = np.array([row["score"] for row in rows], dtype=np.float64)
    generator = np.random.default_rng(0)
    drawn = (generator.integers(len(said), size=len(said)) for _ in range(_RESAMPLES))
    low, high = np.quantile([_spearman(cosines[rows], said[rows]) for rows in drawn], [0.025, 0.975])
    return Interval(_spearman(cosines, said), float(low), float(high))


def _spearman(one: Floats, other: Floats) -> float:
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
