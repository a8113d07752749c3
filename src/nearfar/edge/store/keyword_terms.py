"""The words of a query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nearfar.edge.store.schema import COMMON_TERM

MAX_TERMS = 32
_MAX_CHARACTERS = 20_000
_MAX_WORDS = 256

# Underscore is a border for the store's tokeniser as well.
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a query.

    Attributes:
        word: as the user wrote it, in lower case.
        stem: as the store keeps it.
        documents: how many passages hold it; without postings, and for rare words, a guess on the low side.
    """

    word: str
    stem: str
    documents: int

    def tells(self, total: int) -> bool:
        """Whether the word is in less than half of the passages; in the others its weight in BM25 is zero."""
        return self.documents <= max(total / 2, COMMON_TERM)


def telling(terms: Sequence[Term], total: int) -> list[Term]:
    """The words that tell, or the rarest one where none does."""
    return [term for term in terms if term.tells(total)] or list(terms[:1])


def distinct_words(query: str) -> list[str]:
    """The different words of a query in lower case, in its order; at most 256."""
    return list(dict.fromkeys(_WORD.findall(query[:_MAX_CHARACTERS].lower())))[:_MAX_WORDS]
