"""What every model of `transformers` is loaded with: quietly, with errors of ours, and with a tokenizer for the device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from nearfar.errors import MissingExtraError, RunError
from nearfar.learn.reason import first_line


@contextlib.contextmanager
def loading(source: str, *, files: str = "config.json, model.safetensors and tokenizer.json") -> Iterator[None]:
    """Hold back the bars and reports of `transformers`, and turn what loading raises into an error that says what to give.

    Args:
        source: a directory or a hub name, for messages.
        files: what a directory must hold, for messages.

    Raises:
        RunError: where the block raises what `transformers` raises for models that it cannot read.
    """
    from safetensors import SafetensorError

    with _quiet():
        try:
            yield
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise RunError(
                f"the model {source!r} could not be loaded: {first_line(error)} Give a directory with {files}, "
                "or a hub name that this machine can reach."
            ) from error


def load_model(source: str, revision: str | None, *, files: str, kind: str, weights: bool = True) -> Any:
    """A model of `transformers` in float32 and in training mode. Only safetensors are read, and code beside a model is never run.

    Args:
        source: a directory or a hub name.
        revision: branch, tag or commit of a hub model.
        files: what a directory must hold, for messages.
        kind: of the tower, for the message about a missing package.
        weights: those of its authors; else fresh ones, for a checkpoint that brings its own.

    Raises:
        RunError: it cannot be loaded.
        MissingExtraError: `transformers` is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("hf", f"encoder 'hf' of {kind}") from error
    untyped: Any = transformers
    with loading(source, files=files):
        config = untyped.AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        _without_chance(config)
        if not weights:
            model = untyped.AutoModel.from_config(config, trust_remote_code=False)
        else:
            model = untyped.AutoModel.from_pretrained(
                source, revision=revision, config=config, trust_remote_code=False, use_safetensors=True
            )
    # It comes in eval mode and in the numbers of its file; Lightning leaves modes as they are, and no dropout would be trained with.
    return model.float().train()


def keep_parts(model: Any, *names: str) -> None:
    """Leave out all parts and weights of a model of several towers whose names begin otherwise."""
    for name, _ in [*model.named_children(), *model.named_parameters(recurse=False)]:
        if not name.startswith(names):
            delattr(model, name)


def _without_chance(config: Any) -> None:
    """What models of sound draw besides dropout comes from numpy's own generator, which no checkpoint knows; and CLAP in the form that
    looks at three parts of a long recording looks at one here, as its authors have it for short ones.
    """
    for part in (config, getattr(config, "audio_config", None)):
        for name, value in (("apply_spec_augment", False), ("layerdrop", 0.0), ("enable_fusion", False)):
            if hasattr(part, name):
                setattr(part, name, value)


def fast_tokenizer(tokenizer: Any, source: str) -> bytes:
    """The content of the `tokenizer.json` that does what a tokenizer of `transformers` does.

    Raises:
        RunError: it has no fast form.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise RunError(
            f"{source!r}: its tokenizer has no fast form (tokenizer.json), which the device needs: give another"
        )
    if tokenizer.pad_token_id is not None:
        backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    content: str = backend.to_str()
    return content.encode()


def check_vocabulary(tokens: int, known: int, source: str) -> None:
    """Refuse a tokenizer with ids that the model has no rows for.

    Args:
        tokens: of the tokenizer.
        known: of the model.
        source: of both, for the message.

    Raises:
        RunError: the tokenizer has more.
    """
    if tokens > known:
        raise RunError(
            f"the tokenizer of {source!r} has {tokens} tokens, but the model knows only {known}: "
            "the two do not belong together"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Those bars and reports are for people who load models by hand."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
