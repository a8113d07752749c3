"""What the files beside a model say about using it: the layout of sentence-transformers, read without that library.

`modules.json` names the steps from text to vector, each with a folder for its settings; see "Structure of Sentence Transformer
Models" in the documentation of sentence-transformers. A step that is not known here is refused, never left out: a vector
without its Dense layer is another vector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, cast

from nearfar.embedder import Side
from nearfar.errors import RunError

Pooling = Literal["mean", "cls"]

LONGEST: Final = 512
"""Tokens of a text by default, where a model takes more: each doubling doubles the memory of the device and more."""

_POOLINGS = ("mean", "cls")
_OLD_POOLINGS = {  # before sentence-transformers 5.2: one switch each
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_FOLDS = ("query", "document", "passage", "corpus")
_ENDLESS = 1_000_000  # tokenizers without a limit note a huge number
_RESERVES_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}  # positions start after padding's


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling.

    Attributes:
        weights: its safetensors file.
        activation: the name of a class of `torch.nn`.
    """

    weights: Path
    activation: str


@dataclass(frozen=True)
class SentenceLayout:
    """How texts become vectors.

    Attributes:
        transformer: the folder with configuration, weights and tokenizer.
        pooling: how token vectors become one; None where nothing says.
        max_tokens: of a text, special tokens included.
        lowercase: whether texts are folded to lower case before the tokenizer.
        prompts: what is put before the texts of a side.
        after: linear layers after pooling, and "normalise" where rows are brought to unit length between them.
        notes: what was assumed because the files do not say, and what will differ, for people.
    """

    transformer: Path
    pooling: Pooling | None
    max_tokens: int
    lowercase: bool
    prompts: Mapping[Side, str]
    after: tuple[Dense | Literal["normalise"], ...] = ()
    notes: tuple[str, ...] = ()

    def pooled(self) -> SentenceLayout:
        """The same with the mean where nothing says how to pool, and a note that says so."""
        if self.pooling is not None:
            return self
        note = "nothing beside the model says how to pool: the mean is taken; --pooling cls takes the first token"
        return replace(self, pooling="mean", notes=(*self.notes, note))


def read_layout(
    root: Path, *, pooling: str | None = None, max_tokens: int | None = None, prompts: Mapping[Side, str | None]
) -> SentenceLayout:
    """Read what the files of a model say; what is given here comes before it.

    Args:
        root: the folder of the model.
        pooling: `mean` or `cls`.
        max_tokens: longest text.
        prompts: of each side; None, or a side left out, takes what the files say.

    Raises:
        RunError: the files contradict themselves, ask for something that is not supported, or take no text that long.
    """
    layout = _modules(root, pooling)
    said = _read(root / "config_sentence_transformers.json")
    notes = list(layout.notes)
    if said.get("similarity_fn_name") in {"dot", "dot_product"} and "normalise" not in layout.after:
        notes.append("it was trained for dot products, but the bundle compares by cosine: lengths of vectors are lost")
    limit, longest = _limits(layout.transformer, root)
    if max_tokens is not None and max_tokens > longest:
        raise RunError(f"max_tokens is {max_tokens}, but {root} takes only {longest}: lower it")
    if max_tokens is None and limit > LONGEST:
        notes.append(f"texts are cut to {LONGEST} tokens, but it takes {limit}: --max-tokens {limit} makes use of that")
    own = _prompts(said)
    chosen: dict[Side, str] = {side: _given(prompts.get(side), own[side]) for side in ("query", "document")}
    after = layout.after[:-1] if layout.after and layout.after[-1] == "normalise" else layout.after  # the graph ends so
    return replace(
        layout, max_tokens=max_tokens or min(limit, LONGEST), prompts=chosen, after=after, notes=tuple(notes)
    )


def _given(wanted: str | None, said: str) -> str:
    return said if wanted is None else wanted


def _modules(root: Path, pooling: str | None) -> SentenceLayout:
    if pooling is not None and pooling not in _POOLINGS:
        raise RunError(f"pooling is {pooling!r}: it must be one of {', '.join(_POOLINGS)}")
    listing = root / "modules.json"
    if not listing.is_file():
        return SentenceLayout(root, cast("Pooling | None", pooling), 0, False, {})
    steps = _read(listing)
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise RunError(f"{listing}: is no list of modules: save the model again with sentence-transformers")
    kinds = [str(step.get("type", "")) for step in steps]
    names = [kind.rsplit(".", 1)[-1] if kind.startswith("sentence_transformers.") else kind for kind in kinds]
    folders = [_folder(root, str(step.get("path", "")), listing) for step in steps]
    if names[:2] != ["Transformer", "Pooling"]:
        raise RunError(
            f"{listing}: begins with {' and '.join(names[:2]) or 'nothing'}; only models of Transformer and Pooling, then Dense "
            "and Normalize, can be imported: give another"
        )
    after: list[Dense | Literal["normalise"]] = []
    for name, folder in zip(names[2:], folders[2:], strict=True):
        if name == "Normalize":
            after.append("normalise")
        elif name == "Dense":
            after.append(_dense(folder))
        else:
            raise RunError(
                f"{listing}: has the module {name}, which is not supported, and without it the vectors would be others: "
                "give another model"
            )
    settings = _read(folders[0] / "sentence_bert_config.json")
    own, notes = _pooling(
        folders[1] / "config.json", pooling, _prompts(_read(root / "config_sentence_transformers.json"))
    )
    return SentenceLayout(
        folders[0], own, 0, bool(settings.get("do_lower_case", False)), {}, after=tuple(after), notes=notes
    )


def _pooling(path: Path, wanted: str | None, prompts: Mapping[Side, str]) -> tuple[Pooling, tuple[str, ...]]:
    if not path.is_file():
        raise RunError(f"{path}: is missing, though modules.json names it: copy the whole folder of the model")
    said = _read(path)
    modes = said.get("pooling_mode") or [mode for key, mode in _OLD_POOLINGS.items() if said.get(key)] or "mean"
    modes = [modes] if isinstance(modes, str) else list(modes)
    if wanted is not None:
        if modes != [wanted]:
            return cast("Pooling", wanted), (f"pooled by {wanted}, though {path} says {' and '.join(map(str, modes))}",)
        return cast("Pooling", wanted), ()
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise RunError(
            f"{path}: the pooling is {' and '.join(map(str, modes))}, and only {' or '.join(_POOLINGS)} is supported: "
            "give another model"
        )
    if not said.get("include_prompt", True) and any(prompts.values()):
        raise RunError(f"{path}: leaves the prompt out of pooling, which is not supported: give another model")
    return cast("Pooling", modes[0]), ()


def _dense(folder: Path) -> Dense:
    path = folder / "config.json"
    said = _read(path)
    if said.get("use_residual") or said.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise RunError(f"{path}: a Dense module with a residual, or not of the pooled vector, is not supported")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise RunError(f"{weights}: is missing; weights in other formats can run code when read, and are not read")
    activation = str(said.get("activation_function") or "torch.nn.modules.linear.Identity")
    return Dense(weights, activation.rsplit(".", 1)[-1] if activation.startswith("torch.nn.") else activation)


def _prompts(said: Mapping[str, Any]) -> dict[Side, str]:
    """The prompts that sentence-transformers puts before texts in `encode_query` and `encode_document`."""
    named = said.get("prompts") or {}
    usual = str(named.get(said.get("default_prompt_name") or "", ""))
    document = next((named[name] for name in _FOLDS[1:] if name in named), usual)
    return {"query": str(named.get("query", usual)), "document": str(document)}


def _limits(transformer: Path, root: Path) -> tuple[int, int]:
    """How long texts are by what the files say, and how long they can be at most."""
    config = _read(transformer / "config.json")
    positions = int(config.get("max_position_embeddings") or config.get("n_positions") or _ENDLESS)
    if config.get("model_type") in _RESERVES_POSITIONS:
        positions -= int(config.get("pad_token_id") or 0) + 1
    said = _read(transformer / "sentence_bert_config.json").get("max_seq_length")
    if said is None:
        folder = transformer if (transformer / "tokenizer_config.json").is_file() else root
        said = _read(folder / "tokenizer_config.json").get("model_max_length")
    limit = int(min(said or _ENDLESS, positions))
    return (limit if limit < _ENDLESS else LONGEST), positions


def _folder(root: Path, path: str, listing: Path) -> Path:
    parts = Path(path).parts
    if Path(path).is_absolute() or ".." in parts:
        raise RunError(f"{listing}: names the folder {path!r} outside the model: do not trust it")
    return root / path


def _read(path: Path) -> Any:
    """The content of a JSON file; an empty object where there is none."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error}): copy the model again") from error
