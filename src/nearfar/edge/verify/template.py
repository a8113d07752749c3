"""What is kept of an identity: a byte a component, of no use without the key of its rotation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.edge.verify.transform import KeyedTransform

Vectors = npt.NDArray[np.float32]
Template = npt.NDArray[np.int8]

_TOP = 127


def make_template(vectors: Vectors, transform: KeyedTransform) -> Template:
    """Make the template of an identity.

    Args:
        vectors: embeddings of its samples, unit rows (k, d), k >= 1.
        transform: of the identity.

    Returns:
        int8 (L,): the rotated mean direction, its largest component at 127. A cosine needs no scale.

    Raises:
        ValueError: the mean has no direction, because the samples cancel each other out.
    """
    mean = np.asarray(vectors, dtype=np.float64).mean(axis=0)
    rotated = transform.apply(mean[None].astype(np.float32))[0].astype(np.float64)
    largest = float(np.abs(rotated).max())
    if not largest > 1e-6:
        raise ValueError("the vectors cancel each other out: their mean has no direction")
    template: Template = np.rint(rotated * (_TOP / largest)).astype(np.int8)
    return template


def match_scores(templates: Template, probes: Vectors) -> Vectors:
    """Hold each template against its probe.

    The same operations are done whatever the values are, and nothing ends early.

    Args:
        templates: int8 (N, L).
        probes: rotated by the transforms of the templates, (N, L); or (L,), one for all.

    Returns:
        float32 (N,): cosines; 0 where a side has no length.
    """
    # Laid out alike, so that a score does not depend on how its operands came.
    held = np.ascontiguousarray(templates, dtype=np.float32)
    tried = np.ascontiguousarray(np.broadcast_to(np.asarray(probes, dtype=np.float32), held.shape))
    products = np.einsum("nl,nl->n", held, tried)
    lengths = np.sqrt(np.einsum("nl,nl->n", held, held) * np.einsum("nl,nl->n", tried, tried))
    return np.asarray(products / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
