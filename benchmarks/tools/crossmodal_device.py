"""The part `device` of benchmarks/crossmodal.py: one index of texts, pictures and recordings, asked with each of them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nearfar.bundle import Bundle
from nearfar.edge import Encoder, SearchIndex
from nearfar.progress import Stages
from nearfar.sources.document import Document
from tools import crossmodal_sets as sets
from tools.identity_trainings import RECIPES, trained
from tools.latency import interleaved
from tools.text_state import State

ITEMS = 10_000
RATE = 16_000
ENDINGS = {"image": ".jpg", "audio": ".wav", "text": ".txt"}
_ASKED = 40
_SIDE = 512


def measure_device(
    data: Path, work: Path, state: State, stages: Stages, changes: Sequence[str], *, quick: bool
) -> None:
    """A bundle of three towers, an index of items of all of them, and queries of each from the bytes of a file to hits.

    Args:
        data: folder of the public sets, or of made ones.
        work: for run, index and queries.
        state: where figures are kept.
        stages: told what is being done.
        changes: overrides of the recipe.
        quick: few of everything.
    """
    bundle = _bundle(data, work, stages, changes)
    index = work / "index"
    count = 300 if quick else ITEMS
    stages(f"indexing {count:,} items")
    SearchIndex.build(bundle, _documents(count), index, threads=1).close()
    queries = work / "queries"
    _write_queries(queries)
    stages("asking")
    asked = [str(number) for number in range(10 if quick else 60)]
    timed: dict[str, Callable[[], Callable[[str], object]]] = {}
    for kind in ENDINGS:
        timed[f"{kind}_query"] = partial(open_search, index, queries, kind)
        timed[f"{kind}_embed"] = partial(open_encoder, bundle.path, queries, kind)
    for what, seconds in interleaved(timed, asked, rounds=1 if quick else 3).items():
        state.keep("value", "all", 1000 * float(np.median(seconds)), group=f"{what}_p50_ms")
        state.keep("value", "all", 1000 * float(np.quantile(seconds, 0.95)), group=f"{what}_p95_ms")
    state.keep("value", "all", bundle.size_bytes / 1e6, group="bundle_mb")
    state.keep("value", "all", float(count), group="device_items")


def open_search(index: Path, queries: Path, kind: str) -> Callable[[str], object]:
    """In the process that is timed: a search whose argument chooses one of the queries of a kind.

    A query is the text, or the bytes of the file, as they lie in memory.
    """
    opened, contents = SearchIndex.open(index, threads=1), _contents(queries, kind)

    def search(number: str) -> object:
        return opened.search(contents[zlib.crc32(number.encode()) % len(contents)], 10, tower=kind)

    return search


def open_encoder(bundle: Path, queries: Path, kind: str) -> Callable[[str], object]:
    """Likewise: the embedding of a query alone."""
    encoder, contents = Encoder.open(bundle, tower=kind, threads=1), _contents(queries, kind)

    def embed(number: str) -> object:
        return encoder.embed([contents[zlib.crc32(number.encode()) % len(contents)]], side="query")

    return embed


def _contents(queries: Path, kind: str) -> list[Any]:
    found: list[Any] = [path.read_bytes() for path in sorted(queries.glob(f"*{ENDINGS[kind]}"))]
    return [content.decode("utf-8") for content in found] if kind == "text" else found


def _bundle(data: Path, work: Path, stages: Stages, changes: Sequence[str]) -> Bundle:
    """The towers of recipes/emoji.yaml and one for sound at 16 kHz, of the size of its own recipe but for the wider space; after four steps,
    for weights do not change how long it takes.
    """
    work.mkdir(parents=True, exist_ok=True)
    table, voices = work / "emoji.parquet", work / "voices.parquet"
    if not voices.is_file():
        sets.emoji(data, table)
        sets.spoken_digits(data, voices, sets.SPEAKERS[:1], most=120)
    recipe = yaml.safe_load((RECIPES / "emoji.yaml").read_text("utf-8"))
    digits = yaml.safe_load((RECIPES / "spoken-digits.yaml").read_text("utf-8"))
    sound = digits["towers"]["audio"]
    sound["frontend"]["rate"] = RATE
    recipe["name"] = "three-towers"
    recipe["towers"]["audio"] = sound
    recipe["data"]["source"]["files"].append(
        {"path": "voices.parquet", "columns": {"audio": "audio", "text": "word"}, "split": "split"}
    )
    path = work / "three-towers.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")
    further = ["train.max_steps=4", "train.batch_size=32", "evaluate.bootstrap=0", *changes]
    _, bundle = trained(str(path.absolute()), [table, voices], work / "run", stages, changes=further, quick=False)
    return bundle


def _documents(count: int) -> Iterator[Document]:
    """Half texts, two fifths pictures, a tenth recordings, all different."""
    random = np.random.default_rng(0)
    for number in range(count):
        if number % 10 < 5:
            yield Document(f"text-{number}", f"{_phrase(random)} {number}", modality="text")
        elif number % 10 < 9:
            yield Document(f"image-{number}", "", modality="image", item=_encoded(random, 48, "PNG"))
        else:
            yield Document(f"audio-{number}", "", modality="audio", item=_sound(random))


def _write_queries(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(1)
    for number in range(_ASKED):
        stem = folder / f"{number:03d}"
        stem.with_suffix(".txt").write_text(_phrase(random), encoding="utf-8")
        stem.with_suffix(".jpg").write_bytes(_encoded(random, _SIDE, "JPEG"))
        stem.with_suffix(".wav").write_bytes(_sound(random))


def _phrase(random: np.random.Generator) -> str:
    words = (
        "red",
        "heart",
        "sun",
        "smiling",
        "cat",
        "flag",
        "hand",
        "clock",
        "boat",
        "tree",
        "Fisch",
        "Haus",
        "luna",
        "main",
    )
    return " ".join(words[place] for place in random.integers(len(words), size=3).tolist())


def _encoded(random: np.random.Generator, side: int, kind: str) -> bytes:
    """A picture with something in it at every size, as a photograph has."""
    from PIL import Image

    content = io.BytesIO()
    picture = Image.fromarray(random.integers(0, 256, size=(16, 16, 3), dtype=np.uint8))
    large = picture.resize((side, side), Image.Resampling.BICUBIC)
    noisy = np.asarray(large, np.int16) + random.integers(-12, 13, size=(side, side, 3))
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(content, kind)
    return content.getvalue()


def _sound(random: np.random.Generator) -> bytes:
    """A second of falling and rising tones as a WAV file."""
    import soundfile

    time = np.arange(RATE) / RATE
    pitches = random.uniform(100, 2000, size=3)
    samples = sum(np.sin(2 * np.pi * pitch * time * (1 + 0.2 * time)) for pitch in pitches) / 6
    content = io.BytesIO()
    soundfile.write(content, samples + 0.01 * random.standard_normal(RATE), RATE, format="WAV", subtype="PCM_16")
    return content.getvalue()
