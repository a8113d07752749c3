"""Inversion: what who has a template and its key learns of the embedding, and what that opens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Inversion:
    """What was gained from stolen templates with stolen keys.

    Attributes:
        cosine: mean cosine of the inverted template and the embedding that it was made of.
        rematch: share that passes where embeddings are compared as they are, against other samples of the identity.
        after_revocation: share of the inverted ones that passes the renewed template, which has a new key and other samples: the
            thief feeds a vector in behind the sensor, and the device transforms it by the new key. Renewal does not help against that.
        replayed: share of the stolen templates that passes the renewed one as they are, without being inverted. That is what
            renewal is for.
        templates: how many there were.
    """

    cosine: float
    rematch: float
    after_revocation: float
    replayed: float
    templates: int


def invert(templates: npt.NDArray[np.int8], matrices: Vectors) -> Vectors:
    """The embeddings of least length that give these templates.

    Args:
        templates: (N, L) int8.
        matrices: (N, d, L) float32: what the key of each turns the d unit vectors into; columns are orthonormal.

    Returns:
        (N, d) float32, rows of unit length.
    """
    # The pseudo-inverse of a matrix with orthonormal columns is its transpose.
    back = np.einsum("ndl,nl->nd", matrices, templates.astype(np.float32))
    lengths = np.linalg.norm(back, axis=1, keepdims=True)
    return np.asarray(back / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)


def measure_inversion(
    inverted: Vectors,
    embeddings: Vectors,
    others: Vectors,
    *,
    renewed: npt.NDArray[np.float32],
    replayed: npt.NDArray[np.float32],
    threshold: float,
) -> Inversion:
    """What inverted templates are worth.

    Args:
        inverted: (N, d) unit rows.
        embeddings: (N, d) unit rows, the means that the templates were made of.
        others: (N, d) unit rows, means of other samples of the same identities.
        renewed: (N,) scores of the inverted templates against renewed ones, made of `others` with new keys.
        replayed: (N,) scores of the stolen templates as they are against the renewed ones.
        threshold: least score of a match.
    """
    plain = np.einsum("nd,nd->n", inverted, others)
    return Inversion(
        cosine=float(np.einsum("nd,nd->n", inverted, embeddings).mean()),
        rematch=float(np.mean(plain >= threshold)),
        after_revocation=float(np.mean(renewed >= threshold)),
        replayed=float(np.mean(replayed >= threshold)),
        templates=len(inverted),
    )
