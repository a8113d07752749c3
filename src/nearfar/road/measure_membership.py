"""What the long-term vector of a device would tell of its user's history, if an app sent it away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nearfar.progress import Stages

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle, Metric
    from nearfar.edge.recommend.catalogue import Catalogue
    from nearfar.learn.actions import TrainedActions
    from nearfar.learn.data.actions import ActionCorpus

_USERS: Final = 300
_NOISES: Final = (0.1, 0.5)
"""Deviations in each component that are shown, as shares of the length that vectors are clipped to."""


def measure_membership(trained: TrainedActions, bundle: Bundle, *, stages: Stages) -> dict[str, Metric]:
    """Guess from long-term vectors what users of the training data did: as they are, clipped, and with noise.

    Args:
        trained: the run.
        bundle: with the vectors of the items as they ship.
        stages: told what is being done.

    Returns:
        AUCs by name; see `nearfar.bundle.recommender_card.PRIVACY`. Nothing where nobody has a history.
    """
    import numpy as np

    from nearfar.edge.recommend.catalogue import Catalogue, recommender_of
    from nearfar.edge.recommend.profile import private_vectors
    from nearfar.evaluate.stress.membership import membership
    from nearfar.road.measure import in_manifest

    recipe, record = trained.recipe, recommender_of(bundle)
    catalogue = Catalogue.open(bundle)
    users, profiles = _long_term(trained.corpus, catalogue, record.half_life, recipe.seed)
    if not len(users):
        return {}
    items, owners = _histories(trained.corpus, users)
    vectors = catalogue.vectors(np.arange(len(catalogue)))
    clip = float(np.median(np.linalg.norm(profiles, axis=1)))
    tried = {"": profiles, "_clipped": private_vectors(profiles, clip=clip, seed=recipe.seed)}
    for noise in (*_NOISES, *([record.noise] if record.noise else [])):
        name = "_as_set" if noise not in _NOISES else f"_noise_{round(100 * noise)}"
        tried[name] = private_vectors(profiles, clip=clip, noise=noise, seed=recipe.seed)
    popularity = np.exp(catalogue.popularity.astype(np.float64))
    found = {}
    tick = stages("measuring: privacy", len(tried))
    for name, handed_out in tried.items():
        resamples = max(1, recipe.evaluate.bootstrap)
        told = membership(handed_out, vectors, items, owners, popularity, resamples=resamples, seed=recipe.seed)
        found[f"membership_auc{name}"] = told.auc
        found["membership_auc_popularity"] = told.by_popularity
        tick(1)
    return in_manifest({"privacy": found})["privacy"]


def _long_term(
    corpus: ActionCorpus, catalogue: Catalogue, half_life: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Some users (u,), drawn by chance, and their long-term vectors (u, d) as the device folds them."""
    import numpy as np

    from nearfar.edge.recommend.profile import Profile

    known = np.flatnonzero(np.diff(corpus.offsets) > 0)
    users = np.sort(np.random.default_rng([seed, 5]).permutation(known)[:_USERS])
    vectors = np.zeros((len(users), catalogue.dim), np.float32)
    for row, user in enumerate(users):
        profile = Profile.empty(1, catalogue.dim, half_life)
        of_user = slice(corpus.offsets[user], corpus.offsets[user + 1])
        numbers = corpus.items[of_user]
        for number, time, weight, vector in zip(
            numbers, corpus.times[of_user], corpus.weights[of_user], catalogue.vectors(numbers), strict=True
        ):
            profile = profile.after(int(number), float(time), float(weight), vector)
        vectors[row] = profile.long_term
    return users, vectors


def _histories(
    corpus: ActionCorpus, users: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """What these users did: items (e,), and by which of them (e,), from 0."""
    import numpy as np

    begin, lengths = corpus.offsets[users], np.diff(corpus.offsets)[users]
    owners = np.repeat(np.arange(len(users)), lengths)
    places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(begin, lengths)
    return corpus.items[places], owners
