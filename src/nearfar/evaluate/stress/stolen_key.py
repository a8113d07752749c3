"""What a keyed transform adds, and what is left of it when the key is stolen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.evaluate.verification import Trials

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KeyedTrials:
    """The same samples against the same templates, in two hands.

    Attributes:
        own_key: the impostor has only a key of his own, so that his sample is transformed by that one. Figures that are published of
            cancellable templates are often these, and they say more of the key than of the biometric.
        stolen_key: the impostor has the victim's key (or stands at the victim's device, which is the same). This is the figure that
            counts.
    """

    own_key: Trials
    stolen_key: Trials


def keyed_trials(
    templates: npt.NDArray[np.int8],
    template_of: Ints,
    probes: Vectors,
    probe_of: Ints,
    same_session: npt.NDArray[np.bool_],
    keyed: Callable[[int, Vectors], Vectors],
) -> KeyedTrials:
    """Score samples against templates, each transformed by the key of an identity.

    Args:
        templates: (N, L) int8, each made with the key of its identity.
        template_of: (N,) int64, that identity, each once.
        probes: (n, d) embeddings of samples that no template was made of.
        probe_of: (n,) int64, the identity of each; all have templates.
        same_session: (n,) bool, whether the template of its identity has a sample of the same session.
        keyed: the transform by the key of an identity: its number and vectors (n, d) in, (n, L) out.
    """
    template_place = np.searchsorted(np.sort(template_of), probe_of)
    own_place = np.argsort(template_of)[template_place]
    own = np.zeros((len(probes), len(templates)))
    stolen = np.zeros_like(own)
    for place, identity in enumerate(template_of.tolist()):
        transformed = keyed(identity, probes)
        stolen[:, place] = _cosines(transformed, templates[place : place + 1])[:, 0]
        mine = probe_of == identity
        if mine.any():
            own[mine] = _cosines(transformed[mine], templates)
    genuine = stolen[np.arange(len(probes)), own_place]  # with the right key by either
    sample, template = np.nonzero(probe_of[:, None] != template_of[None])
    rest = (probe_of[sample], template_of[template])
    return KeyedTrials(
        Trials(genuine, probe_of, same_session, own[sample, template], *rest),
        Trials(genuine, probe_of, same_session, stolen[sample, template], *rest),
    )


def _cosines(vectors: Vectors, templates: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Cosines (n, N) of transformed samples (n, L) and templates (N, L)."""
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    kept = templates.astype(np.float64)
    kept /= np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.asarray(units.astype(np.float64) @ kept.T)
