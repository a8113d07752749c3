"""Classification over identities, each one vector: additive margins (ArcFace, CosFace) and proxies (NCA, Anchor)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses.distances import cosines


def arcface(
    embeddings: Tensor, labels: Tensor, prototypes: Tensor, *, margin: float = 0.5, scale: Tensor | float = 64.0
) -> Tensor:
    """Mean cross-entropy over scaled cosines, with the angle to the own prototype widened by a margin.

    Args:
        embeddings: (n, d), any length; compared by cosine.
        labels: (n,) integers, 0 to c - 1.
        prototypes: (c, d), one for each identity, any length; they get a gradient.
        margin: added to the angle, in radians, 0 to pi. Where the sum would pass pi, its cosine would rise again; there the
            cosine itself is lowered by margin * sin(margin) instead, which keeps a slope in the right direction.
        scale: multiplies the cosines; a float or a scalar tensor (then it gets a gradient).

    Returns:
        Scalar loss, at least float32 whatever the vectors are. Its gradient is finite also where an embedding lies on its
        prototype or opposite: the sine has no slope there, so its part is left out.

    Raises:
        ValueError: shapes do not fit, there is no embedding, or a label has no prototype.

    Source:
        Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition (arXiv:1801.07698), eq. 3; beyond
        pi - margin as in the authors' code (github.com/deepinsight/insightface).
    """
    _require_known("prototypes", embeddings, labels, prototypes)
    similar = cosines(embeddings, prototypes)
    own = _own(similar, labels)
    squared_sine = 1 - own.square()
    sine = torch.where(squared_sine > 0, squared_sine, 1).sqrt() * (squared_sine > 0)
    widened = own * math.cos(margin) - sine * math.sin(margin)
    lowered = own - margin * math.sin(margin)
    harder = torch.where(own > -math.cos(margin), widened, lowered)
    return F.cross_entropy(scale * _with_own(similar, labels, harder), labels.long())


def cosface(
    embeddings: Tensor, labels: Tensor, prototypes: Tensor, *, margin: float = 0.35, scale: Tensor | float = 64.0
) -> Tensor:
    """Mean cross-entropy over scaled cosines, with the cosine to the own prototype lowered by a margin.

    Args:
        embeddings: (n, d), any length; compared by cosine.
        labels: (n,) integers, 0 to c - 1.
        prototypes: (c, d), one for each identity, any length; they get a gradient.
        margin: subtracted from the cosine; 0 is plain softmax over cosines (NormFace).
        scale: multiplies the cosines; a float or a scalar tensor (then it gets a gradient).

    Returns:
        Scalar loss, at least float32 whatever the vectors are.

    Raises:
        ValueError: shapes do not fit, there is no embedding, or a label has no prototype.

    Source:
        Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition (arXiv:1801.09414), eq. 4.
    """
    _require_known("prototypes", embeddings, labels, prototypes)
    similar = cosines(embeddings, prototypes)
    return F.cross_entropy(
        scale * _with_own(similar, labels, _own(similar, labels) - margin),
        labels.long(),
    )


def proxy_nca(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    temperature: Tensor | float = 1 / 9,
    own_in_denominator: bool = True,
) -> Tensor:
    """Mean over items of -log of exp(-|x - own proxy|^2 / temperature) over the sum of such terms over the proxies.

    The default is ProxyNCA++. The first Proxy-NCA is `temperature` 1 without the own proxy in the denominator.

    Args:
        embeddings: (n, d), any length; compared by squared euclidean distance on the unit sphere.
        labels: (n,) integers, 0 to c - 1.
        proxies: (c, d), one for each identity, any length; they get a gradient.
        temperature: divides the squared distances; a float or a scalar tensor (then it gets a gradient).
        own_in_denominator: sum over all proxies, which makes it a probability and the loss at least 0; otherwise over all
            but the own, and the loss has no lower bound but that of the distances.

    Returns:
        Scalar loss, at least float32 whatever the vectors are.

    Raises:
        ValueError: shapes do not fit, there is no embedding, a label has no proxy, or there is one proxy only and it is to
            be left out.

    Source:
        Teh et al., ProxyNCA++ (arXiv:2004.01113), section 3; Movshovitz-Attias et al., No Fuss Distance Metric Learning
        using Proxies (arXiv:1703.07464), section 3.
    """
    _require_known("proxies", embeddings, labels, proxies)
    if len(proxies) < 2 and not own_in_denominator:
        raise ValueError("one proxy only, and it is left out of the denominator: nothing remains to compare with")
    # On the unit sphere |x - p|^2 = 2 - 2 cos; the 2 is the same above and below the line.
    logits = 2 * cosines(embeddings, proxies) / temperature
    below = logits if own_in_denominator else _with_own(logits, labels, torch.full_like(logits[:, 0], -torch.inf))
    return (below.logsumexp(dim=1) - _own(logits, labels)).mean()


def proxy_anchor(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    margin: float = 0.1,
    scale: Tensor | float = 32.0,
) -> Tensor:
    """Soft maxima, for each proxy as anchor, of how far its own items fall short and other items come too near.

    log(1 + sum over own items of exp(-scale (cos - margin))), mean over the proxies that have an item in the batch, plus
    log(1 + sum over other items of exp(scale (cos + margin))), mean over all proxies.

    Args:
        embeddings: (n, d), any length; compared by cosine.
        labels: (n,) integers, 0 to c - 1.
        proxies: (c, d), one for each identity, any length; they get a gradient.
        margin: the cosine that own items should exceed, and other items stay as far below 0 (the paper's delta).
        scale: sharpness of the soft maxima (the paper's alpha); a float or a scalar tensor (then it gets a gradient).

    Returns:
        Scalar loss, at least float32 whatever the vectors are.

    Raises:
        ValueError: shapes do not fit, there is no embedding, or a label has no proxy.

    Source:
        Kim et al., Proxy Anchor Loss for Deep Metric Learning (arXiv:2003.13911), eq. 4.
    """
    _require_known("proxies", embeddings, labels, proxies)
    similar = cosines(embeddings, proxies)
    own = labels.unsqueeze(1) == torch.arange(len(proxies), device=labels.device)
    pulled = _log_one_plus_sum_exp(-scale * (similar - margin), own)
    pushed = _log_one_plus_sum_exp(scale * (similar + margin), ~own)
    # A proxy without an item is pulled by log(1 + 0) = 0: the sum over all is that over those present.
    return pulled.sum() / own.any(dim=0).sum() + pushed.mean()


def _require_known(name: str, embeddings: Tensor, labels: Tensor, classes: Tensor) -> None:
    if (
        embeddings.ndim != 2
        or classes.ndim != 2
        or embeddings.shape[1] != classes.shape[1]
        or labels.shape != embeddings.shape[:1]
    ):
        raise ValueError(
            f"embeddings must be (n, d), labels (n,) and {name} (c, d): "
            f"got {tuple(embeddings.shape)}, {tuple(labels.shape)} and {tuple(classes.shape)}"
        )
    if not len(labels):
        raise ValueError(f"no embeddings to classify: got {tuple(embeddings.shape)}")
    if labels.dtype.is_floating_point or labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels must be integers, 0 to {len(classes) - 1} for {len(classes)} {name}")


def _own(of_classes: Tensor, labels: Tensor) -> Tensor:
    """(n,), of each row of (n, c) the entry of its label."""
    return of_classes.gather(1, labels.long().unsqueeze(1)).squeeze(1)


def _with_own(of_classes: Tensor, labels: Tensor, own: Tensor) -> Tensor:
    """(n, c), the entry of each row's label replaced."""
    return of_classes.scatter(1, labels.long().unsqueeze(1), own.unsqueeze(1))


def _log_one_plus_sum_exp(exponents: Tensor, counted: Tensor) -> Tensor:
    """Of each column, over what counts; 0 where nothing does."""
    log_sum = exponents.masked_fill(~counted, -torch.inf).logsumexp(dim=0)
    return torch.logaddexp(log_sum, torch.zeros_like(log_sum))
