"""A made corpus: each pair shares a few topic words, so an encoder can learn it in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nearfar.recipe import Recipe, parse_recipe

_SYLLABLES = ["ba", "do", "ki", "lu", "me", "no", "pa", "ri", "su", "ta", "ve", "zo"]


def made_words(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    words: set[str] = set()
    while len(words) < count:
        words.add("".join(rng.choice(_SYLLABLES, size=3)))
    return sorted(words)


def write_pairs(path: Path, pairs: int = 400, *, topics: int = 100, seed: int = 0) -> Path:
    """Write a JSONL of query and positive; query and positive of a topic use different words for it (synonyms)."""
    rng = np.random.default_rng(seed)
    asked, answered = made_words(3 * topics, seed), [w + "x" for w in made_words(3 * topics, seed)]
    filler = made_words(60, seed + 1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(pairs):
            topic = number % topics
            mine = [3 * topic, 3 * topic + 1, 3 * topic + 2]
            query = [asked[i] for i in rng.permutation(mine)[:2]] + list(rng.choice(filler, 3))
            positive = [answered[i] for i in mine] + list(rng.choice(filler, 8)) + [f"n{number}"]
            file.write(json.dumps({"query": " ".join(query), "positive": " ".join(positive)}) + "\n")
    return path


def made_recipe(data: Path, *overrides: str, encoder: str = "{kind: static, dim: 32}") -> Recipe:
    text = f"""
name: made
data:
  source: {{kind: jsonl, path: {data}}}
  pairings: [{{kind: columns}}]
  split: {{validation: 0.1, test: 0.1}}
frontend:
  tokenizer: {{kind: train, vocab_size: 600}}
encoder: {encoder}
method: {{temperature: {{initial: 0.05, learned: true}}, matryoshka: [16]}}
train: {{epochs: 8, batch_size: 64, learning_rate: 0.02, threads: 1, accelerator: cpu}}
"""
    return parse_recipe(text, base=data.parent, overrides=overrides)
