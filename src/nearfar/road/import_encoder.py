"""From an encoder of other people's to a bundle: the way in for teachers, and for models that are good as they are."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nearfar.errors import BundleError, MissingExtraError, RunError
from nearfar.progress import Stages, silent
from nearfar.road.draft import Draft
from nearfar.road.imported import imported_provenance, name_of

if TYPE_CHECKING:
    from nearfar.bundle import Bundle, Manifest
    from nearfar.embedder import Side
    from nearfar.learn.export.foreign_onnx import ForeignGraph
    from nearfar.learn.hub_encoder import HubEncoder
    from nearfar.learn.model_files import ModelFiles
    from nearfar.learn.sentence_layout import SentenceLayout

Quantise = Literal["int8", "none"]

_GRAPH = "encoder.onnx"


def import_encoder(
    source: str,
    target: str | Path,
    *,
    revision: str | None = None,
    name: str | None = None,
    max_tokens: int | None = None,
    pooling: str | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    quantise: Quantise = "none",
    stages: Stages = silent,
) -> Bundle:
    """Make a bundle of a trained text encoder.

    Args:
        source: a directory of transformers or sentence-transformers, a directory or file with an ONNX graph, or a name on the
            Hugging Face hub.
        target: directory of the bundle.
        revision: of the hub repository.
        name: of the bundle; by default the last part of `source`.
        max_tokens: longest text; by default what the model's files say, at most 512.
        pooling: `mean` or `cls`; by default what the model's files say, or the mean.
        query_prompt: put before every query; by default what the model's files say, or nothing.
        document_prompt: the same for documents.
        quantise: `int8` or `none`.
        stages: told what is being done.

    Returns:
        The bundle; it gives the vectors that the model gives, which was checked. What had to be assumed stands in its
        provenance, under `notes`.

    Raises:
        RunError: the model cannot be loaded, asks for what is not supported, or embeds otherwise once exported.
        BundleError: the bundle cannot be written; what was there stays.
        MissingExtraError: packages for it are not installed.
    """
    from nearfar.bundle import BundleWriter

    try:
        from nearfar.learn.model_files import find_model
        from nearfar.learn.sentence_layout import read_layout
    except ImportError as error:
        raise MissingExtraError("train", "importing a model") from error
    with BundleWriter(target) as writer:  # first, so that a target that cannot be written is known before the download
        stages("loading")
        files = find_model(source, revision=revision)
        prompts: dict[Side, str | None] = {"query": query_prompt, "document": document_prompt}
        layout = read_layout(files.root, pooling=pooling, max_tokens=max_tokens, prompts=prompts)
        model = _loaded(files, layout)
        if pooling is not None and model.layout.pooling is None:
            raise RunError(
                f"{source}: the graph gives one vector a text, so that nothing is left to pool: give no pooling"
            )
        stages("exporting")
        graph = _exported(model, quantise, source)
        made_of = origin(files, revision=revision, quantise=quantise, max_tokens=max_tokens)
        made_of |= {"pooling": model.layout.pooling, "notes": list(model.layout.notes)}
        manifest = _manifest(name or name_of(source), model, made_of)
        content = {_GRAPH: graph, model.frontend.settings.tokenizer: model.frontend.to_bytes()}
        _check(model, content, manifest, quantised=quantise == "int8" or model.quantised, stages=stages)
        return Draft(content, manifest).fill(writer)


def origin(files: ModelFiles, *, revision: str | None, quantise: str, max_tokens: int | None) -> dict[str, Any]:
    """What two imports have in common that would give the same bundle, with the same version of nearfar.

    A model on the hub is known by its name and revision, so that nothing need be asked there; one on this disk by its content.
    """
    made_of: dict[str, Any] = {
        "source": files.source,
        "revision": revision,
        "quantise": quantise,
        "max_tokens": max_tokens,
        "read": "safetensors" if files.graph is None else "onnx",
    }
    return made_of | ({"commit": files.commit} if files.commit else {"sha256": files.digest()})


def _loaded(files: ModelFiles, layout: SentenceLayout) -> HubEncoder | ForeignGraph:
    try:
        from nearfar.learn.export.foreign_onnx import ForeignGraph
        from nearfar.learn.hub_encoder import HubEncoder
    except ImportError as error:
        raise MissingExtraError("train", "importing a model") from error
    if files.graph is None:
        return HubEncoder.load(files.source, layout)
    return ForeignGraph.load(files, layout)


def _exported(model: HubEncoder | ForeignGraph, quantise: Quantise, source: str) -> bytes:
    from nearfar.learn.export import export_graph
    from nearfar.learn.export.tracing import weights_in_int8
    from nearfar.learn.hub_encoder import HubEncoder

    if isinstance(model, HubEncoder):
        return export_graph(model, dim=model.dim, quantise=quantise)
    if quantise == "none":
        return bytes(model.export().SerializeToString())
    if model.quantised:
        raise RunError(f"{source}: its weights are integers already: import it with --quantise none")
    return bytes(weights_in_int8(model.export()).SerializeToString())


def _manifest(name: str, model: HubEncoder | ForeignGraph, made_of: dict[str, Any]) -> Manifest:
    from nearfar.bundle import Manifest, Tower

    tower = Tower(graph=_GRAPH)
    return Manifest(
        name=name,
        towers={"query": tower, "document": tower},
        dim=model.dim,
        frontend=model.frontend.settings,
        provenance=imported_provenance(made_of),
    )


def _check(
    model: HubEncoder | ForeignGraph, files: Mapping[str, bytes], manifest: Manifest, *, quantised: bool, stages: Stages
) -> None:
    """Compare what ships, through the device's own code, with the model that it was made of."""
    from nearfar.edge.encoder import Encoder
    from nearfar.learn.export.encoder_check import check_same_vectors

    tick = stages("checking")
    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        bundle = Draft(files, manifest).written(Path(folder) / "bundle")
        try:
            shipped = Encoder.open(bundle)
            cosine = check_same_vectors(model, shipped, quantised=quantised, sides=_sides(model))
        except BundleError as error:
            raise RunError(
                f"the model was exported, but does not run on the device: {error}. Try a smaller --max-tokens."
            ) from error
    tick(1, f"cosine {cosine:.4f}")


def _sides(model: HubEncoder | ForeignGraph) -> tuple[Side, ...]:
    """Both where their prompts differ; lengths and graph are the same."""
    prompts = model.layout.prompts
    return ("query",) if prompts["query"] == prompts["document"] else ("query", "document")
