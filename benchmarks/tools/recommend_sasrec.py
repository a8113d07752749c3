"""A peer of benchmarks/recommend.py: SASRec as its paper has it, binary cross-entropy with one negative.

Source: Kang and McAuley, Self-Attentive Sequential Recommendation, 2018 (arXiv:1808.09781): learned places, blocks that normalise
the query alone, ReLU, one head, Adam with beta2 0.98, rate 0.001, batches of 128, item vectors that input and output share. Two
things are kinder to it than the paper: every user's whole history is trained on, in windows, not the last one alone; and the best
epoch on validation is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.evaluate.ranking import Ints, Ranker, RankingTask
from tools.recommend_learned import Floats, Sequences, latest

BATCH, RATE, DIM, BLOCKS = 128, 1e-3, 64, 2
EVERY, PATIENCE = 4, 6
"""Epochs between two looks at validation, and looks without gain before the end."""


class _Block(nn.Module):
    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.LayerNorm(dim, eps=1e-8)
        self.attention = nn.MultiheadAttention(dim, 1, dropout=dropout, batch_first=True)
        self.between = nn.LayerNorm(dim, eps=1e-8)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, hidden: Tensor) -> Tensor:
        query: Tensor = self.before(values)
        values = query + self.attention(query, values, values, attn_mask=hidden, need_weights=False)[0]
        values = self.between(values)
        changed = self.dropout(self.outer(self.dropout(functional.relu(self.inner(values)))))
        joined: Tensor = values + changed
        return joined


class _Network(nn.Module):
    def __init__(self, count: int, length: int, dropout: float) -> None:
        super().__init__()
        self.items = nn.Embedding(count + 1, DIM, padding_idx=0)
        self.places = nn.Embedding(length, DIM)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(DIM, dropout) for _ in range(BLOCKS))
        self.last = nn.LayerNorm(DIM, eps=1e-8)
        for table in (self.items, self.places):
            nn.init.xavier_normal_(table.weight)
        with torch.no_grad():
            self.items.weight[0] = 0.0

    def forward(self, history: Tensor) -> Tensor:
        """Vectors (n, L, d) of what comes after each place of histories (n, L), which are 0 before the first."""
        known = (history > 0).unsqueeze(-1)
        places = torch.arange(history.shape[1], device=history.device)
        values = self.dropout(self.items(history) * DIM**0.5 + self.places(places)) * known
        later = torch.ones(len(places), len(places), dtype=torch.bool).triu(1)
        itself = torch.eye(len(places), dtype=torch.bool)
        hidden = later | (~known.transpose(1, 2) & ~itself)
        for block in self.blocks:
            values = block(values, hidden) * known
        normed: Tensor = self.last(values)
        return normed


class Sasrec:
    """SASRec after training.

    Args:
        network: trained.
        length: actions that it looks at.
    """

    def __init__(self, network: nn.Module, length: int) -> None:
        self._network, self._length = network, length

    def scores(self, task: RankingTask, cases: Ints) -> Floats:
        """Scores (len(cases), task.count)."""
        self._network.eval()
        history = torch.from_numpy(latest(task, cases, self._length) + 1)
        with torch.no_grad():
            vectors = self._network(history)[:, -1]
            table: Tensor = self._network.items.weight[1:]  # type: ignore[union-attr, index]
            scores: Floats = (vectors @ table.T).numpy()
        return scores


def train_sasrec(
    learned: Sequences,
    measured: Callable[[Ranker], float],
    *,
    length: int = 100,
    dropout: float = 0.5,
    seed: int = 0,
    epochs: int = 400,
) -> Sasrec:
    """Train until validation gains no more.

    Args:
        learned: the actions.
        measured: the figure on validation, larger is better.
        length: actions that are looked at.
        dropout: in training.
        seed: of everything drawn.
        epochs: at most.

    Returns:
        The network of the best epoch.
    """
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    windows, owners = _windows(learned, length)
    acted = learned.matrix().toarray().astype(bool)
    network = _Network(learned.count, length, dropout)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.9, 0.98))
    best, state, since = -1.0, copy.deepcopy(network.state_dict()), 0
    for epoch in range(epochs):
        network.train()
        order = generator.permutation(len(windows))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            wrong = _negatives(acted, owners[rows], length, generator)
            loss = _loss(network, torch.from_numpy(windows[rows]), torch.from_numpy(wrong))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if (epoch + 1) % EVERY and epoch + 1 < epochs:
            continue
        figure = measured(Sasrec(network, length))
        since += 1
        if figure > best:
            best, state, since = figure, copy.deepcopy(network.state_dict()), 0
        if since >= PATIENCE:
            break
    network.load_state_dict(state)
    return Sasrec(network, length)


def _loss(network: nn.Module, window: Tensor, wrong: Tensor) -> Tensor:
    """Mean of -log sigma(right) - log(1 - sigma(wrong)) over the places that have a next action."""
    history, right = window[:, :-1] + 1, window[:, 1:]
    counted = right >= 0
    vectors = network(history)[counted]
    table: nn.Embedding = network.items  # type: ignore[assignment]
    above = (vectors * table(right[counted] + 1)).sum(-1)
    below = (vectors * table(wrong[counted] + 1)).sum(-1)
    return -(functional.logsigmoid(above) + functional.logsigmoid(-below)).mean()


def _windows(learned: Sequences, length: int) -> tuple[Ints, Ints]:
    """Histories in pieces of `length` + 1 from their end, each beginning where the one before it ends, -1 before the first; and whose."""
    windows, owners = [], []
    for user in range(len(learned.offsets) - 1):
        begin, end = learned.offsets[user], learned.offsets[user + 1]
        while end - begin > 1:
            piece = learned.items[max(begin, end - length - 1) : end]
            window = np.full(length + 1, -1, dtype=np.int64)
            window[-len(piece) :] = piece
            windows.append(window)
            owners.append(user)
            end -= length
    return np.array(windows), np.array(owners)


def _negatives(acted: np.ndarray, owners: Ints, length: int, generator: np.random.Generator) -> Ints:
    """Items (n, length) that the owners of the windows never acted on, drawn evenly."""
    drawn = generator.integers(acted.shape[1], size=(len(owners), length))
    while (taken := acted[owners[:, None], drawn]).any():
        drawn[taken] = generator.integers(acted.shape[1], size=int(taken.sum()))
    return drawn
