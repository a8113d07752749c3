"""The tokenizer of other people's model as what makes rows of tokens on the device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, normalizers

from nearfar.errors import DataError, RunError
from nearfar.frontend import TextFrontend, TextSettings
from nearfar.learn.sentence_layout import SentenceLayout


def text_frontend(tokenizer: bytes, layout: SentenceLayout, source: str) -> TextFrontend:
    """What makes the rows of tokens on the device.

    Args:
        tokenizer: content of a `tokenizer.json`.
        layout: lengths and prompts.
        source: for messages.

    Raises:
        RunError: the tokenizer cannot be used, or not with texts of that length.
    """
    settings = TextSettings(
        max_query_tokens=layout.max_tokens,
        max_document_tokens=layout.max_tokens,
        query_prompt=layout.prompts["query"],
        document_prompt=layout.prompts["document"],
    )
    try:
        frontend = TextFrontend.from_bytes(tokenizer, settings, name=f"the tokenizer of {source!r}")
        if not layout.lowercase:
            return frontend
        folding = Tokenizer.from_buffer(frontend.to_bytes())
        before = [normalizers.Lowercase(), *([folding.normalizer] if folding.normalizer else [])]
        folding.normalizer = normalizers.Sequence(before)
        return TextFrontend.from_bytes(folding.to_str().encode(), settings)
    except DataError as error:
        raise RunError(f"{source}: {error}") from error


def read_tokenizer(folders: Sequence[Path], source: str) -> bytes:
    """The content of the first `tokenizer.json` in these folders.

    Raises:
        RunError: none has one, or it cannot be read.
    """
    for path in (folder / "tokenizer.json" for folder in folders):
        if path.is_file():
            try:
                return path.read_bytes()
            except OSError as error:
                raise RunError(f"{path}: cannot be read ({error.strerror}): check the permissions") from error
    raise RunError(
        f"{source}: there is no tokenizer.json in {' or '.join(map(str, dict.fromkeys(folders)))}: put that of the model there"
    )
