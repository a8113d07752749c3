"""The held-out actions of a corpus as a task of ranking."""

from __future__ import annotations

import numpy as np

from nearfar.evaluate.ranking import RankingTask
from nearfar.learn.data.actions import ActionCorpus
from nearfar.learn.data.split import TRAIN


def ranking_task(corpus: ActionCorpus, side: int) -> RankingTask:
    """The actions of one side, each to be found by all that its user did before it.

    Actions before which their user had done nothing are no cases. Actions on what is no item of the corpus are cases that nothing can
    find.

    Args:
        corpus: the actions.
        side: VALIDATION or TEST.
    """
    places = np.flatnonzero(corpus.side == side)
    users = np.searchsorted(corpus.offsets, places, side="right") - 1
    missed = corpus.misses.side == side
    owners = np.concatenate([users, corpus.misses.users[missed]])
    ends = np.concatenate([places, corpus.misses.ends[missed]])
    now = np.concatenate([corpus.times[places], corpus.misses.times[missed]])
    targets = np.concatenate([corpus.items[places], np.full(int(missed.sum()), -1, np.int64)])
    begins = corpus.offsets[owners]
    order = np.lexsort((now, ends, owners))
    order = order[(ends > begins)[order]]
    trained = corpus.items[corpus.side == TRAIN]
    # Of a miss the context is not known, and would change nothing.
    values, codes = (
        np.concatenate([part[places], np.zeros((int(missed.sum()), part.shape[1]), part.dtype)])
        for part in (corpus.values, corpus.codes)
    )
    known = values.shape[1] > 0
    return RankingTask(
        count=len(corpus.names),
        items=corpus.items,
        times=corpus.times,
        weights=corpus.weights,
        begin=begins[order],
        end=ends[order],
        targets=targets[order],
        now=now[order],
        users=owners[order],
        popularity=np.bincount(trained, minlength=len(corpus.names)).astype(np.float64),
        values=values[order] if known else None,
        codes=codes[order] if known else None,
    )
