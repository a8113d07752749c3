"""What the card of a reranker says that the card of an encoder does not."""

from __future__ import annotations

from nearfar.bundle.manifest import Manifest
from nearfar.frontend.settings import PairSettings


def what(manifest: Manifest, frontend: PairSettings) -> str:
    """What it is, in a paragraph."""
    scale = (
        "The score is a share from 0 to 1, which can be held against a threshold."
        if manifest.scorer is not None and manifest.scorer.scale == "logit"
        else "The score has no scale of its own: it orders the passages of one query, and no threshold fits all queries."
    )
    return (
        "A reranker (cross-encoder): it reads a query and a passage together and scores how well the passage answers. "
        f"{scale} Queries are cut to {frontend.max_query_tokens} tokens, passages to what is left of {frontend.max_tokens}."
    )


def use(manifest: Manifest) -> str:
    """How to run it."""
    scale = "from 0 to 1" if manifest.scorer is not None and manifest.scorer.scale == "logit" else "of no fixed scale"
    return f"""## Use

`BUNDLE` is this folder.

```python
from nearfar.edge.reranker import Reranker
reranker = Reranker.open("BUNDLE")
scores = reranker.scores("a question", ["a passage", "another"])  # (2,), higher is better
```

The scores are float32, {scale}. It reads every pair anew: let a search find the first few dozen passages, and reorder those."""


def limits(manifest: Manifest, frontend: PairSettings) -> str:
    """What it is not for."""
    share = (
        "- A share is the model's own estimate, learned on its training data: choose a threshold on your own queries.\n"
        if manifest.scorer is not None and manifest.scorer.scale == "logit"
        else ""
    )
    return f"""## Limits and intended use

- Meant for ordering texts like those it was trained on. On another subject or language, measure first.
- It only reorders: what the search before it does not find stays lost.
{share}- The vocabulary file holds words of the training data. Do not hand the bundle to people who may not see those words.
- What lies beyond {frontend.max_tokens} tokens of query and passage together does not count: cut long texts into passages.
- It repeats the leanings of its training data. Do not use it alone to decide about people."""
