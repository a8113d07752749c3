"""The score of every item for one user at one moment: a weighted sum of what the encoder, the prior and popularity say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.bundle.recommender_record import RecommenderRecord
from nearfar.edge.bundle_graph import BundleGraph
from nearfar.edge.recommend.catalogue import Catalogue, recommender_of
from nearfar.edge.recommend.profile import Profile
from nearfar.edge.recommend.scan_graph import ItemScan, product
from nearfar.errors import BundleError, DataError
from nearfar.frontend.events import EventsFrontend
from nearfar.frontend.frontend import Feed, GraphInput
from nearfar.frontend.settings import EventsSettings
from nearfar.frontend.table import Features

Floats = npt.NDArray[np.float32]
Context = Mapping[str, Any]

_EMBEDDING: Final = "embedding"


class Weights(NamedTuple):
    """How much each part of a score counts."""

    encoder: float
    prior: float
    popularity: float

    @classmethod
    def of(cls, record: RecommenderRecord) -> Weights:
        """Those that a bundle was made with."""
        return cls(record.encoder_weight, record.prior_weight, record.popularity_weight)


class Parts(NamedTuple):
    """The parts of the scores, each float32 (n,) by number of item, before they are weighted.

    Attributes:
        encoder: inner product of the history's vector and the item's; 0 without a history, where the encoder has nothing to go by.
        prior: how much the item is expected after the latest actions, 0 to 1; see `nearfar.edge.recommend.prior`.
        popularity: log of the share of training actions.
    """

    encoder: Floats
    prior: Floats
    popularity: Floats


class Scorer:
    """Scores all items of a catalogue; one may be used from several threads.

    Args:
        bundle: of a recommender.
        catalogue: of the bundle, or a later one.
        weights: of the parts; those of the bundle by default.
        threads: CPU threads of one run; the scores do not depend on it.

    Raises:
        BundleError: the bundle is no recommender, or its graph does not fit its manifest.
    """

    def __init__(
        self, bundle: Bundle, catalogue: Catalogue, *, weights: Weights | None = None, threads: int = 1
    ) -> None:
        record = recommender_of(bundle)
        settings = bundle.manifest.frontend
        if not isinstance(settings, EventsSettings):
            raise BundleError(f"{bundle.path}: its frontend is of kind {settings.kind}: export the bundle again")
        self.bundle, self.catalogue = bundle, catalogue
        self.weights = weights or Weights.of(record)
        self.frontend = EventsFrontend(settings)
        self._length, self._half_life, self._dim = settings.length, record.half_life, bundle.manifest.dim
        takes, contract = _takes(self.frontend, self._dim)
        self._tower = BundleGraph(
            bundle,
            bundle.manifest.towers["query"].graph,
            takes=takes,
            contract=contract,
            gives={_EMBEDDING: ("n", "d")},
            unit="numbers",
            threads=threads,
        )
        self._scan = ItemScan(catalogue.codes, threads=threads)
        self._scales = catalogue.scales.astype(np.float32)
        self._popularity = catalogue.popularity.astype(np.float32)
        self._popular = np.float32(self.weights.popularity) * self._popularity
        # Popularity is all there is to go by without a history, whatever it is worth beside one.
        alone = self.weights.popularity if self.weights.popularity > 0 else 1.0
        self._weights_of_new = Weights(0.0, 0.0, alone)

    def new_profile(self) -> Profile:
        """The profile of a new user."""
        return Profile.empty(self._length, self._dim, self._half_life)

    def scores(self, profile: Profile, now: float, context: Context | Features | None = None) -> Floats:
        """The scores of all items, float32 (n,); larger is better. Whoever asks removes what the user knows.

        Args:
            profile: of the user.
            now: seconds since 1970.
            context: what is known of the moment, by column; or the features of that, (1, F).

        Raises:
            DataError: the context names nothing that the bundle knows of.
            BundleError: the graph fails.
        """
        weights, total = self.weights, self._popular
        vector = self._history_vector(profile, now, context) if weights.encoder else None
        if vector is None and not len(profile):
            return np.float32(self._weights_of_new.popularity) * self._popularity
        if vector is not None:
            total = self._scan.products(vector)
            total *= self._scales
            total *= np.float32(weights.encoder)
            total += self._popular
        else:
            total = total.copy()
        if weights.prior and self.catalogue.prior is not None and len(profile):
            numbers, expected = self.catalogue.prior.part(profile.items, profile.times)
            total[numbers] += np.float32(weights.prior) * expected
        return total

    def parts(self, profile: Profile, now: float, context: Context | Features | None = None) -> Parts:
        """The parts of the scores of all items, not weighted; see `scores`. Their weighted sum is the score, beyond rounding."""
        encoder, prior = np.zeros_like(self._popularity), np.zeros_like(self._popularity)
        vector = self._history_vector(profile, now, context)
        if vector is not None:
            encoder = self._scan.products(vector) * self._scales
        if self.catalogue.prior is not None and len(profile):
            numbers, expected = self.catalogue.prior.part(profile.items, profile.times)
            prior[numbers] = expected
        return Parts(encoder, prior, self._popularity.copy())

    def parts_of(self, number: int, profile: Profile, now: float, context: Context | Features | None = None) -> Weights:
        """What each part adds to the score of one item, weighted; together they are its score, beyond rounding.

        Args:
            number: of the item.
            profile: of the user.
            now: seconds since 1970.
            context: as in `scores`.
        """
        encoder = prior = 0.0
        vector = self._history_vector(profile, now, context) if self.weights.encoder else None
        if vector is not None:
            encoder = float((product(vector, self.catalogue.codes[number : number + 1]) * self._scales[number])[0])
        if self.weights.prior and self.catalogue.prior is not None and len(profile):
            numbers, expected = self.catalogue.prior.part(profile.items, profile.times)
            prior = float(expected[numbers == number].sum())
        parts = (encoder, prior, float(self._popularity[number]))
        weights = self._weights_of_new if vector is None and not len(profile) else self.weights
        return Weights(*(weight * part + 0.0 for weight, part in zip(weights, parts, strict=True)))  # no -0

    def _history_vector(self, profile: Profile, now: float, context: Context | Features | None) -> Floats | None:
        """The vector of a history, float32 (d,); None where there is neither a history nor a context to make one of."""
        if context and not self.frontend.features and not isinstance(context, Features):
            raise DataError(
                f"{self.bundle.path}: was learned without a context, so {', '.join(sorted(context))} cannot be taken into account: leave it out"
            )
        if not len(profile) and not self.frontend.features:
            return None
        feed: Feed = self.frontend.inputs(self.catalogue.vectors(profile.items), profile.times, profile.weights, now)
        if self.frontend.features:
            values, codes = context if isinstance(context, Features) else self.frontend.context_of([context])
            feed = {**feed, "values": values, "codes": codes}
        vector: Floats = self._tower.run(feed, _EMBEDDING, self._dim)[0]
        return vector


def _takes(frontend: EventsFrontend, dim: int) -> tuple[dict[str, GraphInput], str]:
    """The inputs of the graph, and the same in words."""
    takes = {
        "vectors": GraphInput("tensor(float)", 3),
        "gaps": GraphInput("tensor(int64)", 2),
        "weights": GraphInput("tensor(float)", 2),
        "mask": GraphInput("tensor(float)", 2),
    }
    contract = f"vectors, float32 (n, L, {dim}), gaps, int64 (n, L), weights and mask, float32 (n, L)"
    if frontend.features:
        takes |= {"values": GraphInput("tensor(float)", 2), "codes": GraphInput("tensor(int64)", 2)}
        contract += f", values, float32 (n, {frontend.features}), and codes, int64 (n, {frontend.features})"
    return takes, contract
