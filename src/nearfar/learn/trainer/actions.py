"""What happens around a step over histories: what is drawn for it, its figures, and the ranking of held-out actions on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.evaluate.ranking import RankingTask, measure_ranking, some_cases
from nearfar.frontend.events import EventsFrontend
from nearfar.learn.data.history_batch import Histories, HistoryBatch
from nearfar.learn.losses import Negatives
from nearfar.learn.methods.next_action import Embedded, NextAction
from nearfar.learn.trainer.health import HealthWatch

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_ITEMS_AT_A_TIME = 8192
_CASES_AT_A_TIME = 512


class HistorySteps:
    """Draws what a step needs, and watches over its health.

    Args:
        method: what is trained.
        total_steps: of the whole run.

    Attributes:
        sources: nothing; negatives are drawn anew at each step.
    """

    def __init__(self, method: NextAction, *, total_steps: int) -> None:
        self.sources: nn.Module = nn.Module()
        self._method, self._step = method, 0
        self._health = HealthWatch("next_action", total_steps)

    @property
    def note(self) -> str:
        """Spread and effective rank of the vectors of users, as of the last ledger."""
        return self._health.note

    def before(self, batch: HistoryBatch, step: int) -> HistoryBatch:
        """What is drawn by the number of the step."""
        self._step = step
        self._method.follow(step)
        return batch

    def given(self, embedded: Any, step: int) -> tuple[Any, Sequence[Any]]:
        """Nothing besides the batch."""
        return embedded, ()

    def for_loss(self, embedded: Any, sources: Sequence[Any]) -> tuple[Negatives, ...]:
        """Nothing."""
        return ()

    def remember(self, batch: HistoryBatch, embedded: Any, step: int) -> None:
        """Nothing."""

    @torch.no_grad()
    def ledger(self, embedded: Embedded, sources: Sequence[Any]) -> dict[str, float]:
        """Health of the vectors of users after the last place and of those of their targets; warns once of a collapse.

        Besides: how many negatives a place has, what part of the batch each further loss has, and the learned share of popularity.
        """
        n, places, _ = embedded.users.shape
        last = embedded.targets.view(n, places, -1)[:, -1, 0]
        there = last >= 0
        users, items = embedded.users[there, -1], self._method.item_vectors(last[there])
        figures = self._health.look(users, items, self._step)
        figures["negatives/count"] = float(self._method.negatives_of(embedded))
        figures["popularity"] = float(self._method.popularity)
        if len(embedded.shown):
            figures["impressions/acted"] = float(embedded.acted.mean())
        return figures


class OnlineRanking:
    """Finds held-out actions among all items while training.

    Args:
        task: the held-out cases.
        frontend: histories to what the encoder takes.
        most: cases, drawn once.
        seed: of the draw.
    """

    def __init__(self, task: RankingTask, frontend: EventsFrontend, *, most: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        self._task = some_cases(task, np.sort(rng.permutation(len(task.targets))[:most]))
        self._frontend = frontend

    def measure(self, method: NextAction) -> dict[str, float]:
        """`ndcg_at_10` and `recall_at_10`, means over users of those of their cases, by the encoder and the popularity that it learned."""
        scores = measure_ranking(self._task, ActionRanker(method, self._frontend), 10)
        return {"ndcg_at_10": float(scores.ndcg.mean()), "recall_at_10": float(scores.recall.mean())}


class ActionRanker:
    """A method in torch as a `Ranker`: what the bundle is compared with.

    Its vectors of items are those of the moment it is made.

    Args:
        method: vectors of users and items.
        frontend: histories to what the encoder takes.
    """

    def __init__(self, method: NextAction, frontend: EventsFrontend) -> None:
        self._method, self._frontend = method, frontend
        self.table = item_table(method)
        self._popular = (method.popularity * method.log_popularity).detach().float().cpu().numpy()

    def scores(self, task: RankingTask, cases: Ints) -> Floats:
        """Scores (c, items) of all items for some cases."""
        scored = self.vectors(task, cases) @ self.table.T
        scored += self._popular
        return scored

    @torch.no_grad()
    def vectors(self, task: RankingTask, cases: Ints) -> Floats:
        """Vectors (c, d) of users in these cases."""
        method = self._method
        device = method.popularity.device
        training = method.training
        method.eval()
        parts = [np.zeros((0, method.items.dim), np.float32)]
        try:
            for first in range(0, len(cases), _CASES_AT_A_TIME):
                some = cases[first : first + _CASES_AT_A_TIME]
                histories = _histories(task, some, self._frontend)
                moment = _moment(task, some)
                embedded = method.user_vectors(
                    Histories(*(part.to(device) for part in histories)), *(part.to(device) for part in moment)
                )
                parts.append(embedded.float().cpu().numpy())
        finally:
            method.train(training)
        return np.concatenate(parts)


@torch.no_grad()
def item_table(method: NextAction) -> Floats:
    """Vectors (items, d) of all items, of cold ones by their content; the method is in eval mode only meanwhile."""
    training = method.training
    method.eval()
    try:
        numbers = torch.arange(method.items.items, device=method.popularity.device)
        parts = [method.item_vectors(some).float().cpu().numpy() for some in torch.split(numbers, _ITEMS_AT_A_TIME)]
    finally:
        method.train(training)
    table: Floats = np.concatenate(parts)
    return table


def _histories(task: RankingTask, cases: Ints, frontend: EventsFrontend) -> Histories:
    """Of cases, by the frontend of the device: numbers stand where it has vectors."""
    numbers = np.arange(task.count, dtype=np.float32)[:, None]  # exact below 2^24 items
    begin, end = task.begin[cases], task.end[cases]
    made = frontend.batch(numbers, task.items, task.times, task.weights, begin, end, task.now[cases])
    items = np.where(made["mask"] > 0, made["vectors"][:, :, 0], -1).astype(np.int64)
    return Histories(*(torch.from_numpy(part) for part in (items, made["gaps"], made["weights"], made["mask"])))


def _moment(task: RankingTask, cases: Ints) -> tuple[Tensor, Tensor]:
    """Contexts (c, F) of cases, F of 0 where there are none."""
    if task.values is None or task.codes is None:
        return torch.zeros(len(cases), 0), torch.zeros(len(cases), 0, dtype=torch.int64)
    return torch.from_numpy(task.values[cases]), torch.from_numpy(task.codes[cases])
