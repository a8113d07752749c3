"""Who is attacked: identities with templates under keys of their own, and samples to try against them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.edge.encoder import Encoder
    from nearfar.edge.verify.transform import KeyedTransform
    from nearfar.road.people import People

    Vectors = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]
    Templates = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Enrolled:
    """Identities with a template each, and samples that are left.

    Attributes:
        numbers: (N,) of identities, ascending.
        means: (N, d) unit rows that templates are made of.
        others: (N, d) unit rows of the samples that are left.
        probes: rows (p,) of the samples that are left, in the order of `probe_of`.
        probe_of: (p,) numbers of identities.
        same_session: (p,) whether the template has a sample of their session.
    """

    numbers: Ints
    means: Vectors
    others: Vectors
    probes: Ints
    probe_of: Ints
    same_session: npt.NDArray[np.bool_]


def enrol(vectors: Vectors, people: People, samples: int, seed: int) -> Enrolled | None:
    """Enrol everyone who has more samples than a template is made of.

    Args:
        vectors: (n, d), unit rows, of the samples of `people`.
        people: whose they are.
        samples: that a template is made of, drawn by chance.
        seed: of that.

    Returns:
        Who is enrolled, and what is left to try; None where nobody has enough.
    """
    import numpy as np

    from nearfar.evaluate.pixels import at_unit_length

    rng = np.random.default_rng([seed, 12])
    numbers, means, others, probes, same = [], [], [], [], []
    for label in np.unique(people.labels):
        own = rng.permutation(np.flatnonzero(people.labels == label))
        if len(own) <= samples:
            continue
        chosen, left = own[:samples], np.sort(own[samples:])
        numbers.append(int(label))
        means.append(vectors[chosen].mean(axis=0))
        others.append(vectors[left].mean(axis=0))
        probes.append(left)
        same.append(np.isin(people.sessions[left], people.sessions[chosen]))
    if not numbers:
        return None
    rows = np.concatenate(probes)
    return Enrolled(
        np.array(numbers, np.int64),
        at_unit_length(np.stack(means).astype(np.float32)),
        at_unit_length(np.stack(others).astype(np.float32)),
        rows,
        people.labels[rows],
        np.concatenate(same),
    )


class Bench:
    """Templates and a threshold that all attacks have in common.

    Args:
        encoder: of the bundle, as on the device.
        people: who is attacked.
        vectors: (n, d), the unit embeddings of their samples.
        enrolled: who of them has a template.
        components: of a template.
        threshold: least cosine of a match.
        resamples: of intervals.
        seed: of keys and of all that is drawn.
    """

    def __init__(
        self,
        encoder: Encoder,
        people: People,
        vectors: Vectors,
        enrolled: Enrolled,
        components: int,
        threshold: float,
        resamples: int,
        seed: int,
    ) -> None:
        self.encoder, self.people, self.vectors, self.enrolled = encoder, people, vectors, enrolled
        self.components, self.threshold, self.resamples, self.seed = components, threshold, max(1, resamples), seed

    @property
    def kind(self) -> str:
        """What samples are: `image` or `audio`."""
        return self.encoder.bundle.manifest.frontend.kind

    def transform(self, identity: int, key: int) -> KeyedTransform:
        """That of an identity with one of its keys."""
        from nearfar.edge.verify.transform import KeyedTransform

        secret = hashlib.sha256(f"attacks {self.seed} {identity} {key}".encode()).digest()
        return KeyedTransform(secret, self.vectors.shape[1], self.components)

    def templates(self, means: Vectors, key: int) -> Templates:
        """A template (L,) of each mean, all with keys of their own."""
        import numpy as np

        from nearfar.edge.verify.template import make_template

        numbers = self.enrolled.numbers.tolist()
        made = [make_template(mean[None], self.transform(n, key)) for n, mean in zip(numbers, means, strict=True)]
        return np.stack(made)

    def scores(self, vectors: Vectors, identities: Ints) -> npt.NDArray[np.float64]:
        """Score of each vector against the template of an identity."""
        import numpy as np

        from nearfar.edge.verify.template import match_scores

        templates = self.templates(self.enrolled.means, 0)
        places = np.searchsorted(self.enrolled.numbers, identities)
        probes = np.empty((len(vectors), self.components), np.float32)
        for identity in np.unique(identities):
            mine = identities == identity
            probes[mine] = self.transform(int(identity), 0).apply(vectors[mine])
        return match_scores(templates[places], probes).astype(np.float64)

    def some(self, count: int, rng: np.random.Generator) -> Ints:
        """Places of so many probes, drawn by chance, in the order in which their source is read."""
        import numpy as np

        places = rng.permutation(len(self.enrolled.probes))[:count]
        return places[np.argsort(self.enrolled.probes[places])]

    def prepared(self, row: int) -> Any:
        """A sample as the encoder takes it after all that the frontend does: (h, w, c) in [0, 1], or (t,) in [-1, 1]."""
        from nearfar.frontend.image import ImageFrontend, scaled

        frontend: Any = self.encoder.frontend
        made = frontend.prepare(self.people.items[row])
        return scaled(made) if isinstance(frontend, ImageFrontend) else made
