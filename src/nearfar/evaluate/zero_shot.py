"""Classes given by their names: the vectors of a text encoder, over several ways to say each name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Embedder
from nearfar.errors import DataError

Vectors = npt.NDArray[np.float32]

TEMPLATES = ("{}", "a {}", "a photo of a {}", "this is {}")
"""What a name is said as where nothing else is asked for: short, as names are what most tables of captions hold."""


def class_vectors(texts: Embedder, names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> Vectors:
    """One vector for each class: the mean of its prompts' unit vectors, at unit length.

    Args:
        texts: embeds texts to unit vectors.
        names: c different names, at least two.
        templates: at least one; `{}` in it stands for the name.

    Returns:
        float32 (c, d), rows of unit length.

    Raises:
        DataError: names or templates cannot be used.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (arXiv:2103.00020), section 3.1.4.
    """
    if len(names) < 2 or len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise DataError(f"classes are {', '.join(map(repr, names)) or 'none'}: give two different names or more")
    if not templates or not all(template.count("{}") == 1 for template in templates):
        raise DataError(
            f"templates are {', '.join(map(repr, templates)) or 'none'}: each needs {{}} once, where the name goes, as in 'a photo of a {{}}'"
        )
    prompts = [template.replace("{}", name) for name in names for template in templates]
    vectors = np.asarray(texts.embed(prompts, "query"), np.float64).reshape(len(names), len(templates), -1)
    means = vectors.mean(axis=1)
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12), np.float32)
