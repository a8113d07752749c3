"""The part `emoji` of benchmarks/crossmodal.py: words of six languages find pictures that nobody had seen, and pictures find words."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.progress import Stages
from tools import crossmodal_sets as sets
from tools.crossmodal_emoji_queries import Queries, keyword_queries, name_match, name_queries, ngram_match
from tools.crossmodal_failures import Failure, draw_failures
from tools.crossmodal_ranking import Floats, Ints, hits
from tools.crossmodal_systems import Embed, keep, named, systems
from tools.identity_sets import read_rows
from tools.text_state import State

Row = dict[str, Any]
DEPTHS = (1, 5, 10)
NAMES = {"name_baseline": name_match, "name_ngram_baseline": ngram_match}
PIXELS = 32
SHOWN = ("en", "de", "es", "fr")
"""Languages of the failures that are drawn: the font has no Chinese letters, and joins no Arabic ones."""


def measure_emoji(
    data: Path,
    work: Path,
    state: State,
    stages: Stages,
    seeds: int,
    changes: Sequence[str],
    failures: Path | None,
    *,
    quick: bool,
) -> None:
    """Train recipes/emoji.yaml with each seed, and keep what it and what stands beside it find.

    Args:
        data: folder of the public sets.
        work: of table and runs.
        state: where figures are kept.
        stages: told what is being done.
        seeds: how many trainings.
        changes: overrides of the recipe.
        failures: a PNG file for the worst failures of the first seed.
        quick: few pictures, few steps.
    """
    table = work / "emoji.parquet"
    if not table.is_file():
        sets.emoji(data, table, most=200 if quick else None)
    rows = read_rows(table)
    asked = {language: keyword_queries(rows, language) for language in sets.LANGUAGES}
    asked = {language: queries for language, queries in asked.items() if queries.texts}
    stages("matching names and pixels")
    for system, match in NAMES.items():
        for language, queries in asked.items():
            names = [row[f"name_{language}"] for row in rows]
            _keep_finds(state, system, language, queries, match(queries.texts, names, language), 0)
    captions = sorted({text for row in rows for text in _captions(row)})
    _keep_captions(state, "pixels", rows, captions, _by_pixels(rows, captions), 0)
    found = systems("emoji.yaml", [table], work, stages, seed=0, changes=changes, beside=not quick, quick=quick)
    for seed in range(seeds):
        if seed:
            found = systems("emoji.yaml", [table], work, stages, seed=seed, changes=changes, beside=False, quick=quick)
        for system, embed in found:
            stages(f"measuring emoji {system}")
            pictures = _measure(rows, asked, captions, embed, system, state, seed)
            if failures is not None and not seed and not system:
                draw_failures(_worst(asked, embed, pictures), [row["image"] for row in rows], failures)


def _measure(
    rows: list[Row],
    asked: dict[str, Queries],
    captions: list[str],
    embed: Embed,
    system: str,
    state: State,
    seed: int,
) -> npt.NDArray[np.float32]:
    """Keep what one system finds, and return its pictures."""
    pictures = embed("image", [row["image"] for row in rows])
    for language, queries in asked.items():
        _keep_finds(state, system, language, queries, embed("text", queries.texts) @ pictures.T, seed)
        named_ones = name_queries(rows, language)
        found = hits(embed("text", named_ones.texts) @ pictures.T, named_ones.right, 10)
        keep(state, named("emoji", system, f"names_t2i_recall_at_10_{language}"), found, seed=seed)
    test = [number for number, row in enumerate(rows) if row["split"] == "test"]
    _keep_captions(state, system, rows, captions, pictures[test] @ embed("text", captions).T, seed)
    return pictures


def _keep_finds(
    state: State, system: str, language: str, queries: Queries, scores: npt.NDArray[np.floating], seed: int
) -> None:
    """Of keyword queries of one language: what any right emoji is found by, what the held-out one is, and beyond names."""
    everything = np.ones(len(queries.texts), dtype=bool)
    for relevance, right in (("", queries.right), ("strict_", queries.strict)):
        for among, chosen in (("", everything), ("unnamed_", queries.unnamed)):
            for k in DEPTHS:
                if chosen.any():
                    found = hits(scores, right, k)[chosen]
                    key = f"t2i_{among}{relevance}recall_at_{k}_{language}"
                    if system in NAMES:
                        key = key.removeprefix("t2i_")
                    keep(state, named("emoji", system, key), found, seed=seed)


def _keep_captions(
    state: State,
    system: str,
    rows: list[Row],
    captions: list[str],
    scores: npt.NDArray[np.floating],
    seed: int,
) -> None:
    """Of held-out pictures: whether a name or keyword of theirs, in whatever language, is among the first captions."""
    places = {text: number for number, text in enumerate(captions)}
    right = [np.array([places[text] for text in _captions(row)], np.int64) for row in rows if row["split"] == "test"]
    for k in DEPTHS:
        keep(state, named("emoji", system, f"i2t_recall_at_{k}"), hits(scores, right, k), seed=seed)


def _captions(row: Row) -> list[str]:
    """All names and keywords of an emoji."""
    texts = [text for language in sets.LANGUAGES for text in (row[f"name_{language}"], *row[f"keywords_{language}"])]
    return list(dict.fromkeys(filter(None, texts)))


def _by_pixels(rows: list[Row], captions: list[str]) -> Floats:
    """Each caption counts for a held-out picture as much as the most alike training picture that has it; (test, captions)."""
    pixels = np.stack([_pixels(row["image"]) for row in rows])
    pixels -= pixels.mean(axis=0)
    pixels /= np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-9)
    places = {text: number for number, text in enumerate(captions)}
    test = [number for number, row in enumerate(rows) if row["split"] == "test"]
    scores = np.full((len(test), len(captions)), -2.0)
    for number, row in enumerate(rows):
        if row["split"] == "train":
            alike = pixels[test] @ pixels[number]
            own = [places[text] for text in _captions(row)]
            scores[:, own] = np.maximum(scores[:, own], alike[:, None])
    return scores


def _pixels(content: bytes) -> Floats:
    """A small picture on white, as one row."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        coloured = picture.convert("RGBA")
    white = Image.new("RGBA", coloured.size, "white")
    white.alpha_composite(coloured)
    small = white.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel() / 255


def _worst(asked: dict[str, Queries], embed: Embed, pictures: npt.NDArray[np.float32], most: int = 24) -> list[Failure]:
    """The keywords whose first right emoji stands last, the same number of each language, no two of one emoji."""
    chosen: list[Failure] = []
    for language in filter(asked.__contains__, SHOWN):
        queries = asked[language]
        scores = embed("text", queries.texts) @ pictures.T
        ranks = [int((row > row[right].max()).sum()) + 1 for row, right in zip(scores, queries.right, strict=True)]
        used: set[int] = set()
        for query in np.argsort(-np.array(ranks), kind="stable").tolist():
            own = int(queries.strict[query][0])
            if len(used) < most // len(SHOWN) and own not in used:
                used.add(own)
                first = _first(scores[query], 5)
                chosen.append(Failure(language, queries.texts[query], ranks[query], own, first.tolist()))
    return chosen


def _first(scores: npt.NDArray[np.float32], k: int) -> Ints:
    return np.argsort(-scores, kind="stable")[:k].astype(np.int64)
