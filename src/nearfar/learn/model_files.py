"""Where an encoder of other people's lies: a folder, an ONNX file, or a repository of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from nearfar.errors import MissingExtraError, RunError
from nearfar.learn.reason import first_line

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_GRAPHS = ("model.onnx", "onnx/model.onnx")
_SAID = {".json", ".txt", ".model"}  # configuration, vocabularies, sentencepiece models
_FIRST = ("*.json", "*.txt", "*.model", "*.safetensors")  # of a repository; graphs only where that has no safetensors
_THEN = ("model.onnx*", "onnx/model.onnx*")


@dataclass(frozen=True)
class ModelFiles:
    """A model on this disk.

    Attributes:
        source: what the user gave.
        root: the folder with its configuration and its tokenizer.
        graph: the ONNX file to use; None where the weights in safetensors are used.
        commit: of a hub repository.
    """

    source: str
    root: Path
    graph: Path | None
    commit: str | None = None

    def digest(self) -> str:
        """SHA-256 in hex over names and contents of all files that may matter: two of them alike are the same model."""
        kept = _SAID | {".safetensors"} if self.graph is None else _SAID
        files = {path for path in self.root.rglob("*") if path.suffix in kept}
        if self.graph is not None:  # with its external data, whatever that is called
            files |= {path for path in self.graph.parent.iterdir() if path.suffix not in {".onnx", ".safetensors"}}
            files.add(self.graph)
        whole = hashlib.sha256()
        for path in sorted(path for path in files if path.is_file()):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{content}  {path.relative_to(self.root)}\n".encode())
        return whole.hexdigest()


def find_model(source: str, *, revision: str | None = None) -> ModelFiles:
    """Find a model, and fetch it where it is a name on the hub and not a path.

    Weights in safetensors come before an ONNX graph beside them: they are what the authors trained, while nothing says how a
    graph was made of them. Who wants the graph gives its file.

    Args:
        source: a directory, an `.onnx` file, or a hub name.
        revision: of the hub repository: a tag, a branch or a commit.

    Raises:
        RunError: there is no such file, it holds no model that can be read, or the hub cannot be reached.
        MissingExtraError: `huggingface_hub`, which fetches it, is not installed.
    """
    path = Path(source)
    if path.is_file():
        if path.suffix != ".onnx":
            raise RunError(f"{source}: is a file, but no .onnx graph: give the folder that the model lies in")
        return ModelFiles(source, _folder_of_tokenizer(path), path)
    if path.is_dir():
        return _in_folder(source, path)
    if path.exists() or not _HUB_NAME.fullmatch(source):
        raise RunError(f"{source}: there is no such folder, and it is no name on the hub: check the path")
    return _from_hub(source, revision)


def _in_folder(source: str, root: Path, commit: str | None = None) -> ModelFiles:
    if _has_weights(root):
        return ModelFiles(source, root, None, commit)
    graph = _graph_in(root)
    if graph is None:
        bare = (
            " It has pytorch_model.bin, which can run code when it is read: convert it to safetensors."
            if (root / "pytorch_model.bin").is_file()
            else ""
        )
        raise RunError(f"{source}: holds neither model.safetensors nor model.onnx.{bare} Give the folder of a model.")
    return ModelFiles(source, root if (root / "tokenizer.json").is_file() else graph.parent, graph, commit)


def _has_weights(root: Path) -> bool:
    """Older models of sentence-transformers keep them in a folder of the first module."""
    return any((folder / name).is_file() for folder in (root, root / "0_Transformer") for name in _WEIGHTS)


def _graph_in(root: Path) -> Path | None:
    return next((root / name for name in _GRAPHS if (root / name).is_file()), None)


def _folder_of_tokenizer(graph: Path) -> Path:
    """The graph's own folder, or the one above it, as in `onnx/model.onnx`."""
    folders = (graph.parent, graph.resolve().parent.parent)
    for folder in folders:
        if (folder / "tokenizer.json").is_file():
            return folder
    return graph.parent


def _from_hub(source: str, revision: str | None) -> ModelFiles:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    except ImportError as error:
        raise MissingExtraError("hf", "fetching a model from the hub") from error
    silent = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        root = Path(snapshot_download(source, revision=revision, allow_patterns=list(_FIRST)))
        if not _has_weights(root):
            root = Path(snapshot_download(source, revision=revision, allow_patterns=[*_FIRST, *_THEN]))
    except (OSError, ValueError, RuntimeError) as error:  # the hub's own errors are children of these
        at = f" at revision {revision!r}" if revision else ""
        raise RunError(
            f"there is no folder {source!r} here, and the model could not be fetched from the hub{at}: {first_line(error)}. "
            "Check the name and the network, or give a directory with config.json, model.safetensors and tokenizer.json."
        ) from error
    finally:
        if not silent:
            enable_progress_bars()
    return _in_folder(source, root, commit=root.name)
