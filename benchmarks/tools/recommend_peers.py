"""The peers of benchmarks/recommend.py, and the settings that each may choose among on validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from nearfar.evaluate.counting import ItemKnn, Popularity, Transitions
from nearfar.evaluate.ranking import Ranker
from nearfar.evaluate.transitions import count_transitions
from tools.recommend_learned import Sequences

Settings = Mapping[str, float]
Measured = Callable[[Ranker], float]
"""NDCG at 10 on validation."""

QUICK_EPOCHS = 1


@dataclass(frozen=True)
class Peer:
    """A system that nearfar is set beside.

    Attributes:
        make: what learns, from actions and settings; it may look at validation to know when to stop.
        choices: the settings to choose among, as one value or several of each.
        validation_too: whether it learns from the validation actions as well before it is measured on test, as those do whose
            published figures are made so. It is then never told to stop early by them.
    """

    make: Callable[[Sequences, Settings, Measured], Ranker]
    choices: Mapping[str, Sequence[float]]
    validation_too: bool = False

    def grid(self, *, quick: bool = False) -> list[Settings]:
        """All settings, in the order of the choices; to be quick the first alone, and few epochs."""
        found = [dict(zip(self.choices, values, strict=True)) for values in product(*self.choices.values())]
        if not quick:
            return list(found)
        few = {"epochs": QUICK_EPOCHS} if "epochs" in self.choices else {}
        return [{**found[0], **few}]


def peers() -> dict[str, Peer]:
    """Name -> peer."""
    return {
        "popularity": Peer(_popularity, {}),
        "item_knn": Peer(_item_knn, {"decay": (1.0,), "last": (10_000,)}, validation_too=True),
        "item_knn_recency": Peer(_item_knn, {"decay": (0.3, 0.5, 0.7, 0.8, 0.9), "last": (50,)}, validation_too=True),
        "markov_last": Peer(_transitions, {"skip": (1,), "decay": (1.0,), "last": (1,), "smoothing": (5.0,)}),
        "markov_decayed": Peer(
            _transitions, {"skip": (1,), "decay": (0.4, 0.6, 0.8), "last": (5, 10), "smoothing": (5.0,)}
        ),
        "skip_5": Peer(_transitions, {"skip": (5,), "decay": (0.6,), "last": (5,), "smoothing": (5.0,)}),
        "skip_chosen": Peer(
            _transitions,
            {
                "skip": (5, 10, 20),
                "decay": (0.6, 0.7, 0.8, 0.9),
                "last": (20,),
                "smoothing": (1.0, 5.0, 20.0, 80.0),
            },
        ),
        "als": Peer(
            _als,
            {"factors": (32, 64, 128), "regularisation": (0.01, 1.0, 10.0), "alpha": (1.0, 5.0)},
            validation_too=True,
        ),
        "bpr": Peer(
            _bpr,
            {"factors": (32, 64, 128), "regularisation": (0.01, 0.05), "rate": (0.01, 0.05), "epochs": (100,)},
            validation_too=True,
        ),
        "sasrec_bce": Peer(_sasrec, {"dropout": (0.5, 0.2), "length": (100,), "epochs": (400,)}),
    }


def _popularity(_learned: Sequences, _settings: Settings, _measured: Measured) -> Ranker:
    return Popularity()


def _item_knn(learned: Sequences, settings: Settings, _measured: Measured) -> Ranker:
    return ItemKnn(learned.items, learned.owners, learned.count, decay=settings["decay"], last=int(settings["last"]))


def _transitions(learned: Sequences, settings: Settings, _measured: Measured) -> Ranker:
    """The further an action is ahead in counting, or back in asking, the less it weighs, by the same share."""
    counts = count_transitions(
        learned.items, learned.owners, learned.count, skip=int(settings["skip"]), decay=settings["decay"]
    )
    return Transitions(counts, decay=settings["decay"], last=int(settings["last"]), smoothing=settings["smoothing"])


def _als(learned: Sequences, settings: Settings, _measured: Measured) -> Ranker:
    from tools.recommend_factors import Als

    return Als(
        learned,
        factors=int(settings["factors"]),
        regularisation=settings["regularisation"],
        alpha=settings["alpha"],
    )


def _bpr(learned: Sequences, settings: Settings, _measured: Measured) -> Ranker:
    from tools.recommend_factors import Bpr

    return Bpr(
        learned,
        factors=int(settings["factors"]),
        regularisation=settings["regularisation"],
        rate=settings["rate"],
        epochs=int(settings["epochs"]),
    )


def _sasrec(learned: Sequences, settings: Settings, measured: Measured) -> Ranker:
    from tools.recommend_sasrec import train_sasrec

    return train_sasrec(
        learned,
        measured,
        dropout=settings["dropout"],
        length=int(settings["length"]),
        epochs=int(settings["epochs"]),
    )
