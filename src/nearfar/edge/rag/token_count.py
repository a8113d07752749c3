"""How many tokens a text has, near enough to fill the context of a language model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nearfar.edge.rag.texts import text_towers
from nearfar.errors import DataError
from nearfar.frontend.settings import TextSettings

if TYPE_CHECKING:
    from nearfar.bundle.bundle import Bundle

CHARACTERS_OF_UNKNOWN = 2
"""An unknown word counts as one token for so many of its characters: another vocabulary would cut it into pieces."""


def token_counter(bundle: Bundle) -> Callable[[str], int]:
    """Count tokens with the vocabulary that a bundle has.

    A language model has another vocabulary, so its own count differs. Give its own counter where the budget is tight.

    Args:
        bundle: of a text encoder, or of several modalities with a tower of texts.

    Returns:
        A function of a text. Special tokens that a tokenizer would add are not counted.

    Raises:
        DataError: the bundle has no vocabulary.
    """
    settings = next(iter(text_towers(bundle).values()), bundle.manifest.frontend)
    if not isinstance(settings, TextSettings):
        raise DataError(
            f"{bundle.path}: this bundle has no vocabulary to count tokens with; give a `count` of your own"
        )

    from tokenizers import Tokenizer

    from nearfar.frontend.unicode import without_surrogates

    tokenizer = Tokenizer.from_str(bundle.read(settings.tokenizer).decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    name = getattr(tokenizer.model, "unk_token", None)
    unknown = tokenizer.token_to_id(name) if isinstance(name, str) else None

    def count(text: str) -> int:
        encoding = tokenizer.encode(without_surrogates(text), add_special_tokens=False)
        total = len(encoding.ids)
        for token, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if token == unknown:
                total += (end - begin - 1) // CHARACTERS_OF_UNKNOWN
        return total

    return count
