"""The losses over pairs as their papers write them: loops over pairs, in forty digits, nothing shared with the source."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from itertools import product
from statistics import mean

from torch import Tensor

from nearfar.learn.losses import Match, Negatives

DIGITS = 40
Pairs = set[tuple[int, int]]
Table = dict[tuple[int, int], Decimal]


def likeness(left: Tensor, right: Tensor, similarity: str = "cosine") -> Table:
    """Cosine or inner product of every pair."""
    rows, columns = ([[Decimal(x) for x in row] for row in side.tolist()] for side in (left, right))
    table = {}
    for (i, a), (j, b) in product(enumerate(rows), enumerate(columns)):
        table[i, j] = sum((x * y for x, y in zip(a, b, strict=True)), Decimal(0))
        if similarity == "cosine":
            table[i, j] /= (sum(x * x for x in a) * sum(y * y for y in b)).sqrt()
    return table


def matched(match: Match) -> Pairs:
    """The pairs with an equal key that is not negative."""
    keys = match.anchors.tolist()
    rows = [set(row) if isinstance(row, list) else {row} for row in keys]
    columns = list(enumerate(match.candidates.tolist()))
    return {(i, j) for i, row in enumerate(rows) for j, key in columns if key >= 0 and key in row}


def listed(places: Tensor) -> Pairs:
    """The pairs of an anchor and each of its places, (n,) or (n, p); -1 is none."""
    return {(i, j) for i, row in enumerate(places.reshape(len(places), -1).tolist()) for j in row if j >= 0}


def loss_of_one(
    positives: list[Decimal],
    negatives: list[Decimal],
    temperature: Decimal,
    several: str,
    debias: float,
    hardness: float,
) -> Decimal:
    """Of one anchor, from its similarities to its positives and its negatives."""
    attracted = [(s / temperature).exp() for s in positives]
    repelled = Decimal(0)
    if negatives:
        repelling = [(s / temperature).exp() for s in negatives]
        importance = [(Decimal(hardness) * s / temperature).exp() for s in negatives]
        repelled = sum(i * r for i, r in zip(importance, repelling, strict=True)) / mean(importance)
        if debias:
            false = Decimal(debias)
            corrected = (repelled / len(negatives) - false * mean(attracted)) / (1 - false)
            repelled = len(negatives) * max(corrected, (-1 / temperature).exp())
    if several == "any":
        return -(sum(attracted) / (sum(attracted) + repelled)).ln()
    rivals = sum(attracted) if several == "mean" else Decimal(0)
    return mean(-(own / ((rivals or own) + repelled)).ln() for own in attracted)


def info_nce_by_formula(
    anchors: Tensor,
    candidates: Tensor,
    positive: Tensor | Match,
    *,
    temperature: float,
    itself: Tensor | None = None,
    ignored: Sequence[Match] = (),
    negatives: Sequence[Negatives] = (),
    margin: float | None = None,
    several: str = "mean",
    weights: Tensor | None = None,
    debias: float = 0.0,
    hardness: float = 0.0,
    symmetric: bool = False,
    similarity: str = "cosine",
) -> float | None:
    """What `info_nce` has to be; None where no anchor has a positive."""
    with localcontext() as context:
        context.prec = DIGITS
        close = likeness(anchors, candidates, similarity)
        own = set() if itself is None else listed(itself)
        positives = matched(positive) - own if isinstance(positive, Match) else listed(positive)
        if not positives:
            return None
        of_anchor = {i: sorted(j for k, j in positives if k == i) for i, _ in positives}
        of_candidate = {j: sorted(i for i, k in positives if k == j) for _, j in positives}

        highest_of_anchor, highest_of_candidate = {}, {}
        if margin is not None:
            for i, partners in of_anchor.items():
                highest_of_anchor[i] = mean(close[i, j] for j in partners) + Decimal(margin)
            for j, partners in of_candidate.items() if symmetric else ():
                highest_of_candidate[j] = mean(close[i, j] for i in partners) + Decimal(margin)
        out = positives | own
        for match in ignored:
            out |= matched(match)
        for (i, j), value in close.items():
            if value > highest_of_anchor.get(i, value) or value > highest_of_candidate.get(j, value):
                out.add((i, j))
        further = []
        for more in negatives:
            out_of_these = set().union(*(matched(match) for match in more.ignored))
            further += [
                (i, value)
                for (i, k), value in likeness(anchors, more.vectors, similarity).items()
                if (i, k) not in out_of_these and value <= highest_of_anchor.get(i, value)
            ]

        def loss(attracting: list[Decimal], repelling: list[Decimal]) -> Decimal:
            return loss_of_one(attracting, repelling, Decimal(temperature), several, debias, hardness)

        weight = [Decimal(w) for w in ([1.0] * len(anchors) if weights is None else weights.tolist())]
        terms = []
        for i, partners in of_anchor.items():
            repelling = [value for pair, value in close.items() if pair[0] == i and pair not in out]
            repelling += [value for k, value in further if k == i]
            terms.append((weight[i], loss([close[i, j] for j in partners], repelling)))
        directions = [weighted_mean(terms)]
        if symmetric:
            terms = []
            for j, partners in of_candidate.items():
                repelling = [value for pair, value in close.items() if pair[1] == j and pair not in out]
                attracting = [close[i, j] for i in partners]
                terms.append((mean(weight[i] for i in partners), loss(attracting, repelling)))
            directions.append(weighted_mean(terms))
        return float(mean(directions))


def weighted_mean(terms: list[tuple[Decimal, Decimal]]) -> Decimal:
    return sum(weight * value for weight, value in terms) / sum(weight for weight, _ in terms)


def siglip_by_formula(
    anchors: Tensor,
    candidates: Tensor,
    positive: Tensor,
    *,
    temperature: float,
    bias: float,
    ignored: Sequence[Match] = (),
) -> float:
    """Algorithm 1 of arXiv:2303.15343: the sum over all pairs of -log sigmoid(z * logit), divided by n."""
    with localcontext() as context:
        context.prec = DIGITS
        positives = listed(positive)
        out = set().union(*(matched(match) for match in ignored)) - positives
        total = Decimal(0)
        for pair, cosine in likeness(anchors, candidates).items():
            if pair not in out:
                logit = cosine / Decimal(temperature) + Decimal(bias)
                total += (1 + (-logit if pair in positives else logit).exp()).ln()
        return float(total / len(anchors))
