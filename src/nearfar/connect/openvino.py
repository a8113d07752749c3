"""A bundle in the form of OpenVINO: a folder with its graphs as .xml and .bin, and what is needed to use them."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from nearfar.bundle import Bundle
from nearfar.bundle.bundle import MANIFEST, SUMS
from nearfar.bundle.swap import put_in_place, restore
from nearfar.connect.openvino_graph import RUNTIME, ConvertedGraph, convert_graph, load_openvino
from nearfar.embedder import Side
from nearfar.errors import BundleError
from nearfar.frontend.frontend import open_frontend
from nearfar.frontend.settings import EventsSettings, JointSettings, PairSettings
from nearfar.progress import Stages, silent

DESCRIPTION: Final = "openvino.json"
"""What lies in the folder, and how well it agrees with the bundle."""


@dataclass(frozen=True)
class Conversion:
    """What `convert_to_openvino` wrote.

    Attributes:
        path: the folder.
        graphs: one or two.
        size_bytes: of all files together.
    """

    path: Path
    graphs: tuple[ConvertedGraph, ...]
    size_bytes: int


def convert_to_openvino(bundle: Bundle, target: str | Path, *, stages: Stages = silent) -> Conversion:
    """Write the graphs of a bundle as OpenVINO reads them, with manifest, vocabulary and card beside them.

    Args:
        bundle: of texts or pictures; stays as it is.
        target: a folder that does not exist, is empty, or was written by this function before.
        stages: told what is being done.

    Returns:
        What was written; every graph gives the vectors of the bundle, which was checked on the files as they are on disk.

    Raises:
        BundleError: the bundle is a reranker, OpenVINO cannot read a graph or gives other vectors, or the folder cannot be
            written; what was there stays.
        MissingExtraError: OpenVINO is not installed.
    """
    settings = bundle.manifest.frontend
    if isinstance(settings, PairSettings):
        raise BundleError(
            f"{bundle.path}: this bundle is a reranker, and only bundles that embed can be converted: run it with onnxruntime"
        )
    if isinstance(settings, EventsSettings):
        raise BundleError(
            f"{bundle.path}: this bundle is a recommender, whose small graph has nothing to gain from it: run it with onnxruntime"
        )
    if not bundle.manifest.towers:
        raise BundleError(
            f"{bundle.path}: this bundle is a monitor without an encoder, so it has no graph to convert: run it as it is"
        )
    if isinstance(settings, JointSettings):
        raise BundleError(
            f"{bundle.path}: this bundle has towers of several modalities, and only bundles of one kind of items can be converted: run it "
            "with onnxruntime"
        )
    openvino = load_openvino()
    folder = Path(target).absolute()
    part: Path | None = None
    try:
        restore(folder)
        _refuse_to_replace(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
        part.chmod(0o755)  # a temporary folder is closed to others, and this one is going to stay
        tick = stages("converting", len(_sides_of(bundle)))
        frontend = open_frontend(settings, bundle.read, bundle.path)
        graphs = []
        for graph, sides in _sides_of(bundle).items():
            graphs.append(convert_graph(openvino, bundle, graph, sides, frontend, part))
            tick(1)
        _write_beside(bundle, graphs, openvino.get_version(), part)
        size = sum(file.stat().st_size for file in part.iterdir())
        put_in_place(part, folder)
        part = None
    except OSError as error:
        raise BundleError(
            f"{folder}: cannot be written ({error.strerror}); what was there is untouched: "
            "check the permissions and the free space, or give another place (-o)"
        ) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return Conversion(folder, tuple(graphs), size)


def _refuse_to_replace(folder: Path) -> None:
    """Only an earlier conversion or an empty folder may give way."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise BundleError(f"{folder}: is a file or a link: give another place (-o) or remove it yourself")
    if any(folder.iterdir()) and not (folder / DESCRIPTION).is_file():
        raise BundleError(
            f"{folder}: holds other things than a conversion to OpenVINO, and is not overwritten: "
            "give another place (-o) or empty it yourself"
        )


def _sides_of(bundle: Bundle) -> dict[str, tuple[Side, ...]]:
    """Each graph of the bundle -> the sides that it embeds."""
    sides: dict[str, tuple[Side, ...]] = {}
    for side, tower in bundle.manifest.towers.items():
        sides[tower.graph] = (*sides.get(tower.graph, ()), cast(Side, side))
    return sides


def _write_beside(bundle: Bundle, graphs: Sequence[ConvertedGraph], version: str, part: Path) -> None:
    """Copy what a graph needs to be used, and describe the whole."""
    left_out = {tower.graph for tower in bundle.manifest.towers.values()} | {SUMS}
    for name in bundle.sums.keys() - left_out:
        (part / name).write_bytes(bundle.read(name))
    (part / DESCRIPTION).write_text(
        json.dumps(
            {
                "format": 1,
                "made_of": bundle.digest,
                "openvino": version,
                "compared_with": dict(RUNTIME),
                "manifest": MANIFEST,
                "towers": {side: found.graph for found in graphs for side in found.sides},
                "graphs": [_rounded(asdict(found)) for found in graphs],
                "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(part.iterdir())},
            },
            indent=2,
        )
        + "\n",
        encoding="utf-8",
    )


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in values.items()}
