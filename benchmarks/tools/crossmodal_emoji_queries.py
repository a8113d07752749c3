"""Keywords and names of emoji as queries, and what finds their pictures without a model: the names of all of them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.crossmodal_ranking import Floats, Ints

Row = dict[str, Any]

K1, B = 1.2, 0.75


@dataclass(frozen=True)
class Queries:
    """Texts of one language that ask for pictures.

    Attributes:
        texts: q texts, each different from all others.
        strict: of each, the held-out emoji that it was taken from.
        right: of each, all emoji that it is a keyword or the name of.
        unnamed: (q,) bool, whether it shares no word with the name of any held-out emoji that it was taken from.
    """

    texts: list[str]
    strict: list[Ints]
    right: list[Ints]
    unnamed: npt.NDArray[np.bool_]


def plain(text: str) -> str:
    """A text as it is compared: one form of each character, small letters, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def words_of(text: str, language: str) -> list[str]:
    """The words of a text that is `plain`; in Chinese its characters."""
    return list(text.replace(" ", "")) if language == "zh" else re.findall(r"\w+", text)


def keyword_queries(rows: Sequence[Row], language: str) -> Queries:
    """The different keywords of the emoji held out for the test."""
    return _queries(rows, language, lambda row: row[f"keywords_{language}"])


def name_queries(rows: Sequence[Row], language: str) -> Queries:
    """The different names of the emoji held out for the test."""
    return _queries(rows, language, lambda row: [row[f"name_{language}"]])


def _queries(rows: Sequence[Row], language: str, asked: Any) -> Queries:
    owners: dict[str, set[int]] = defaultdict(set)
    strict: dict[str, set[int]] = defaultdict(set)
    written: dict[str, str] = {}
    for number, row in enumerate(rows):
        for text in (row[f"name_{language}"], *row[f"keywords_{language}"]):
            owners[plain(text)].add(number)
        if row["split"] == "test":
            for text in filter(None, asked(row)):
                strict[plain(text)].add(number)
                written.setdefault(plain(text), text)
    keys = sorted(strict)
    names = [plain(row[f"name_{language}"]) for row in rows]

    def unnamed(key: str) -> bool:
        words = set(words_of(key, language))
        return not any(key in names[number] or words & set(words_of(names[number], language)) for number in strict[key])

    return Queries(
        [written[key] for key in keys],
        [np.array(sorted(strict[key]), np.int64) for key in keys],
        [np.array(sorted(owners[key]), np.int64) for key in keys],
        np.array([unnamed(key) for key in keys], dtype=bool),
    )


def name_match(queries: Sequence[str], names: Sequence[str], language: str) -> Floats:
    """BM25 of queries and names (Lucene's variant, k1 = 1.2, b = 0.75), (q, m): 0 where no word is shared."""
    words = [words_of(plain(name), language) for name in names]
    lengths = np.array([len(of) for of in words], dtype=np.float64)
    damping = K1 * (1 - B + B * lengths / max(lengths.mean(), 1e-9))
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, of in enumerate(words):
        for word, count in Counter(of).items():
            postings[word].append((number, count))
    scores = np.zeros((len(queries), len(names)))
    for place, query in enumerate(queries):
        for word in set(words_of(plain(query), language)):
            having = postings.get(word, [])
            rarity = np.log(1 + (len(names) - len(having) + 0.5) / (len(having) + 0.5))
            for number, count in having:
                scores[place, number] += rarity * count * (K1 + 1) / (count + damping[number])
    return scores


def ngram_match(queries: Sequence[str], names: Sequence[str], language: str) -> Floats:
    """Cosine of the tf-idf of letters in a row, two to four within words (of Chinese one to three), (q, m)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3) if language == "zh" else (2, 4))
    known = vectoriser.fit_transform([plain(name) for name in names])
    asked = vectoriser.transform([plain(query) for query in queries])
    return np.asarray((asked @ known.T).toarray(), dtype=np.float64)
