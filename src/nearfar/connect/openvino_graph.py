"""One graph of a bundle in the form of OpenVINO, compared with the bundle on the files as they are on disk."""

from __future__ import annotations

import importlib
import io
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle
from nearfar.connect.sample import sample_feeds
from nearfar.edge.bundle_graph import BundleGraph
from nearfar.embedder import Side
from nearfar.errors import BundleError, MissingExtraError
from nearfar.frontend.frontend import Feed, Frontend

RUNTIME: Final = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
"""How OpenVINO is run for the comparison. Left alone it computes in bfloat16 where the processor can."""

Values = npt.NDArray[np.float32]

_ROUNDS: Final = 2
_SMALL: Final = {"i8", "u8", "i4", "u4"}


class Floors(NamedTuple):
    """The least cosines at which a converted graph passes for the same, over all items and of every single one."""

    mean: float
    lowest: float


_EXACT = Floors(0.999, 0.999)
# Where activations are rounded, a value between two int8 steps falls to one side here and to the other there, and a row is as
# far off as its layers add up: two versions of onnxruntime give all-MiniLM-L6-v2 in int8 rows with a cosine of 0.995. And where
# only weights are in int8, OpenVINO (2026.4) rounds the activations of up to four rows by itself, whatever its settings.
_ROUNDED = Floors(0.99, 0.95)


@dataclass(frozen=True)
class ConvertedGraph:
    """One graph in the new form.

    Attributes:
        graph: name of its .xml file; the .bin file has the same name.
        sides: which towers it is.
        size_bytes: of both files together.
        mean: cosine between what the two runtimes give for the same item, over the sample.
        lowest: the same of the item that differs most.
        onnxruntime_ms: milliseconds an item over the sample, one thread.
        openvino_ms: the same.
    """

    graph: str
    sides: tuple[Side, ...]
    size_bytes: int
    mean: float
    lowest: float
    onnxruntime_ms: float
    openvino_ms: float


def load_openvino() -> Any:
    """Import OpenVINO without the package beside it, `openvino_telemetry`, that tells its makers of every import.

    Raises:
        MissingExtraError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # what Python takes for "there is none"
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise MissingExtraError("openvino", "Converting to OpenVINO") from error


def convert_graph(
    openvino: Any, bundle: Bundle, name: str, sides: tuple[Side, ...], frontend: Frontend, folder: Path
) -> ConvertedGraph:
    """Write one graph into `folder`, read it back, and compare it with the one of the bundle.

    Args:
        openvino: what `load_openvino` gave.
        bundle: where the graph comes from.
        name: its file there.
        sides: which towers it is.
        frontend: of the bundle.
        folder: where the .xml and .bin files go.

    Raises:
        BundleError: OpenVINO cannot read the graph, or gives other vectors.
    """
    manifest, path = bundle.manifest, bundle.path / name
    outputs = {"embedding": manifest.dim}
    if manifest.classes and "document" in sides:
        outputs["scores"] = len(manifest.classes)
    original = BundleGraph(
        bundle,
        name,
        takes=frontend.inputs,
        contract=frontend.contract,
        gives=dict.fromkeys(outputs, ("n", "d")),
        unit=frontend.unit,
    )
    xml = folder / f"{Path(name).stem}.xml"
    version = openvino.get_version()
    try:
        core = openvino.Core()
        # Given in memory, a graph cannot make OpenVINO read other files. Saving in half precision, which is the default,
        # would change the vectors.
        model = core.read_model(io.BytesIO(bundle.read(name)))
        openvino.save_model(model, xml, compress_to_fp16=False)
        request = core.compile_model(core.read_model(xml), "CPU", dict(RUNTIME)).create_infer_request()
        here, there = _run_both(
            lambda feed: [original.run(feed, output, width) for output, width in outputs.items()],
            lambda feed: _outputs(request.infer(feed), outputs),
            sample_feeds(frontend, "document" if "document" in sides else "query"),
        )
    except RuntimeError as error:  # all that OpenVINO raises is one, with pages of text
        raise BundleError(
            f"{path}: OpenVINO {version} cannot read, write or run this graph ({_reason(error)}): "
            "run the bundle with onnxruntime instead"
        ) from error
    cosines = np.concatenate([_cosines(*pair) for pair in zip(here.values, there.values, strict=True)])
    mean, lowest = float(cosines.mean()), float(cosines.min())
    floors = _ROUNDED if _has_small_integers(model) else _EXACT
    if not (mean >= floors.mean and lowest >= floors.lowest):  # NaN must fail too
        raise BundleError(
            f"{path}: OpenVINO {version} gives other vectors than onnxruntime: over made items the mean cosine is "
            f"{mean:.4f} and the lowest {lowest:.4f}, where {floors.mean} and {floors.lowest} are asked for: "
            "run the bundle with onnxruntime instead"
        )
    size = xml.stat().st_size + xml.with_suffix(".bin").stat().st_size
    return ConvertedGraph(xml.name, sides, size, mean, lowest, here.milliseconds, there.milliseconds)


def _has_small_integers(model: Any) -> bool:
    """Whether numbers of 8 bits or fewer are stored in a graph; truth values do not count."""
    constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
    return any(node.get_element_type().get_type_name() in _SMALL for node in constants)


def _outputs(results: Any, names: Iterable[str]) -> list[Values]:
    """Copies, because OpenVINO writes the next results over these."""
    return [results[name].copy() for name in names]


class _Ran(NamedTuple):
    """What a graph gave.

    Attributes:
        values: each output over all items.
        milliseconds: an item, the best of the timed rounds.
    """

    values: list[Values]
    milliseconds: float


Runner = Callable[[Feed], list[Values]]


def _run_both(first: Runner, second: Runner, feeds: Sequence[Feed]) -> tuple[_Ran, _Ran]:
    """Run two graphs on the same feeds, in turns, so that a busy machine slows both alike.

    The first round is not timed, because OpenVINO makes code for every new shape.
    """
    values = [[runner(feed) for feed in feeds] for runner in (first, second)]
    seconds = ([0.0] * _ROUNDS, [0.0] * _ROUNDS)
    for turn in range(_ROUNDS):
        for feed in feeds:
            for runner, spent in zip((first, second), seconds, strict=True):
                start = time.perf_counter()
                runner(feed)
                spent[turn] += time.perf_counter() - start
    items = sum(len(next(iter(feed.values()))) for feed in feeds)
    here, there = (
        _Ran([np.concatenate(output) for output in zip(*batches, strict=True)], 1e3 * min(spent) / items)
        for batches, spent in zip(values, seconds, strict=True)
    )
    return here, there


def _cosines(first: Values, second: Values) -> Values:
    """Cosine of each row (n, d) with the row of the same place; NaN where the shapes differ or a row is zero."""
    if first.shape != second.shape:
        return np.full(1, np.nan, dtype=np.float32)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines: Values = (first * second).sum(axis=1) / lengths
    return cosines


def _reason(error: Exception) -> str:
    """The last line of what OpenVINO says, which begins with where in its own code it happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
