"""What every model of `transformers` is loaded with: quietly, with errors of ours, and with a tokenizer for the device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from nearfar.errors import RunError
from nearfar.learn.reason import first_line


@contextlib.contextmanager
def loading(source: str) -> Iterator[None]:
    """Hold back the bars and reports of `transformers`, and turn what loading raises into an error that says what to give.

    Args:
        source: a directory or a hub name, for messages.

    Raises:
        RunError: where the block raises what `transformers` raises for models that it cannot read.
    """
    from safetensors import SafetensorError

    with _quiet():
        try:
            yield
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise RunError(
                f"the model {source!r} could not be loaded: {first_line(error)} Give a directory with config.json, "
                "model.safetensors and tokenizer.json, or a hub name that this machine can reach."
            ) from error


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
