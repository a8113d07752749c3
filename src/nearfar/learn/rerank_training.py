"""Teaching a cross-encoder which passages answer a query."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.errors import RunError
from nearfar.frontend.pairs import PairFrontend, PairRow
from nearfar.learn.cross_encoder import CrossEncoder
from nearfar.learn.judged_pairs import Training
from nearfar.progress import Stages, silent


@dataclass(frozen=True)
class Schedule:
    """How it is trained.

    Attributes:
        epochs: how often every query is seen, also a fraction.
        queries: in a batch.
        negatives: beside the one positive of each query, one of them at random and the others hard.
        learning_rate: the highest; a tenth of the steps lead up to it, the rest down to zero.
        seed: of all that is random.
    """

    epochs: float = 1.0
    queries: int = 8
    negatives: int = 3
    learning_rate: float = 5e-5
    seed: int = 0


def fit_cross_encoder(
    encoder: CrossEncoder,
    frontend: PairFrontend,
    training: Training,
    schedule: Schedule,
    *,
    stages: Stages = silent,
) -> None:
    """Train `encoder` in place with binary cross-entropy, on the GPU where there is one.

    Every query comes with one of its positives and some negatives, so that the score learns to tell them apart on a scale
    that is the same for all queries.

    Args:
        encoder: what is trained; in eval mode and on the CPU afterwards.
        frontend: makes its rows.
        training: what it learns from.
        schedule: how.
        stages: told what is being done.

    Raises:
        RunError: the loss is no longer a finite number.

    Source: Nogueira and Cho, Passage re-ranking with BERT, arXiv:1901.04085, section 2.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batches = list(_batches(training, schedule))
    optimiser = torch.optim.AdamW(_groups(encoder), lr=schedule.learning_rate)
    warmup = max(1, len(batches) // 10)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warmup, (len(batches) - step) / max(1, len(batches) - warmup))
    )
    tick, average = stages("training", len(batches)), 0.0
    with torch.random.fork_rng():
        torch.manual_seed(schedule.seed)
        encoder.to(device).train()
        for step, batch in enumerate(batches):
            loss = _loss(encoder, frontend, batch, device)
            if not torch.isfinite(loss):
                raise RunError(f"the loss of step {step + 1} is {loss.item()}: train with a lower learning rate")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimiser.step()
            rate.step()
            average = loss.item() if step == 0 else 0.95 * average + 0.05 * loss.item()
            tick(1, f"loss {average:.3f}")
    encoder.eval().cpu()


_Batch = list[tuple[str, list[str]]]
"""Queries, each with a positive and then its negatives."""


def _batches(training: Training, schedule: Schedule) -> Iterator[_Batch]:
    """Draw what each step sees; the same seed draws the same."""
    draw = random.Random(schedule.seed)
    order: list[int] = []
    wanted = max(1, round(schedule.epochs * len(training.judged)))
    while len(order) < wanted:
        order += draw.sample(range(len(training.judged)), len(training.judged))
    for start in range(0, wanted, schedule.queries):
        batch: _Batch = []
        for number in order[start : min(start + schedule.queries, wanted)]:
            judged = training.judged[number]
            hard = draw.sample(judged.negatives, min(schedule.negatives - 1, len(judged.negatives)))
            anything = _others(training.passages, {*judged.positives, *hard}, schedule.negatives - len(hard), draw)
            batch.append((judged.query, [draw.choice(judged.positives), *hard, *anything]))
        yield batch


def _others(passages: Sequence[str], taken: set[str], count: int, draw: random.Random) -> list[str]:
    """Passages at random, but for those `taken`; fewer where there are no others."""
    drawn = draw.sample(passages, min(count + len(taken), len(passages)))
    return [text for text in drawn if text not in taken][:count]


def _loss(encoder: CrossEncoder, frontend: PairFrontend, batch: _Batch, device: torch.device) -> Tensor:
    rows: list[PairRow] = []
    wanted: list[float] = []
    for query, passages in batch:
        rows += frontend.encode(query, passages)
        wanted += [1.0] + [0.0] * (len(passages) - 1)
    feed = {name: torch.from_numpy(values).to(device) for name, values in frontend.pad(rows).items()}
    return F.binary_cross_entropy_with_logits(encoder(**feed), torch.tensor(wanted, device=device))


def _groups(encoder: CrossEncoder) -> list[dict[str, object]]:
    """Weights that are kept small, and those (biases, scales) that are not."""
    named = [(name, weight) for name, weight in encoder.named_parameters() if weight.requires_grad]
    return [
        {"params": [weight for _, weight in named if weight.ndim > 1], "weight_decay": 0.01},
        {"params": [weight for _, weight in named if weight.ndim <= 1], "weight_decay": 0.0},
    ]
