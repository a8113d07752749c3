"""Random metadata and conditions over it."""

from __future__ import annotations

import random
from typing import Any

from nearfar.edge.where import And, Compare, Exists, In, Like, Not, Or

KEYS = ("year", "lang", "draft", "a.b", "o'clock", 'quo"te', "ключ")
VALUES: tuple[Any, ...] = (
    -1, 0, 1, 2020, 2020.0, 2020.5, 0.1, 1e300, -1e-300, 2**53 + 1, 2.0**63, 2**63 - 1, 10**30,
    "", "en", "EN", "de", "2020", "true", "ß", "STRASSE", "straße", "İ", "i", "😀", "\uffff", "a\0b", "it's", 'say "hi"', "100%", "a_b", "\\d", "line\nline",
    True, False,
)  # fmt: skip
PATTERNS = ("%", "", "e%", "%E", "_n", "%ß%", "100\\%", "%s%", "İ", "%\n%", "__", "%'%", '%"%', "\\%")


def made_metadata(seed: int, *, keys=KEYS, values=VALUES) -> dict[str, Any]:
    rng = random.Random(seed)
    metadata: dict[str, Any] = {}
    for key in keys:
        kind = rng.random()
        if kind < 0.5:
            metadata[key] = rng.choice(values)
        elif kind < 0.75:
            metadata[key] = tuple(rng.choices(values, k=rng.randrange(4)))
    return metadata


def made_condition(rng: random.Random, *, depth: int = 3, keys=KEYS, values=VALUES, patterns=PATTERNS):
    inner = (
        [made_condition(rng, depth=depth - 1, keys=keys, values=values, patterns=patterns) for _ in range(2)]
        if depth
        else []
    )
    kinds = [
        "compare",
        "compare",
        "in",
        "exists",
        *(["like"] if patterns else []),
        *(["and", "or", "not"] * 2 if depth else []),
    ]
    key = rng.choice(keys)
    match rng.choice(kinds):
        case "compare":
            return Compare(key, rng.choice(("=", "!=", "<", "<=", ">", ">=")), rng.choice(values))
        case "in":
            return In(key, tuple(rng.choices(values, k=rng.randrange(4))))
        case "exists":
            return Exists(key)
        case "like":
            return Like(key, rng.choice(patterns))
        case "and":
            return And(tuple(inner[: rng.randrange(3)]))
        case "or":
            return Or(tuple(inner[: rng.randrange(3)]))
        case _:
            return Not(inner[0])
