"""Objectives by the names of their papers; each is a call of `info_nce`."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.learn.losses.infonce import info_nce
from nearfar.learn.losses.pairs import Match, Negatives


def nt_xent(first: Tensor, second: Tensor, *, temperature: Tensor | float) -> Tensor:
    """SimCLR: each view looks for the other view of its item among all other views of the batch (arXiv:2002.05709, eq. 1).

    Args:
        first: (n, d), one view of each item.
        second: (n, d), the other view, in the same order.
        temperature: a float or a scalar tensor.
    """
    views = torch.cat([first, second])
    places = torch.arange(len(views), device=views.device)
    return info_nce(views, views, places.roll(len(first)), itself=places, temperature=temperature)


def moco(queries: Tensor, keys: Tensor, queue: Tensor, *, temperature: Tensor | float) -> Tensor:
    """MoCo: each query looks for its own key among the queue; other keys of the batch do not count (arXiv:1911.05722, eq. 1).

    Args:
        queries: (n, d).
        keys: (n, d), by the momentum encoder; gets no gradient.
        queue: (k, d), keys of earlier batches.
        temperature: a float or a scalar tensor.
    """
    places = torch.arange(len(queries), device=queries.device)
    batch = Match(torch.zeros_like(places), torch.zeros_like(places))
    return info_nce(
        queries, keys.detach(), places, temperature=temperature, ignored=(batch,), negatives=(Negatives(queue),)
    )


def clip(images: Tensor, texts: Tensor, *, temperature: Tensor | float) -> Tensor:
    """CLIP: each of n images looks for its text, and each text for its image (arXiv:2103.00020, fig. 3).

    Args:
        images: (n, d).
        texts: (n, d), in the same order.
        temperature: a float or a scalar tensor.
    """
    return info_nce(
        images, texts, torch.arange(len(images), device=images.device), temperature=temperature, symmetric=True
    )


def sup_con(embeddings: Tensor, labels: Tensor, *, temperature: Tensor | float) -> Tensor:
    """Supervised contrastive: every other item of the same label is positive (arXiv:2004.11362, eq. 2).

    Args:
        embeddings: (n, d); several views of an item are several rows of the same label.
        labels: (n,) int64; a negative label has no positives, but is a negative of the others.
        temperature: a float or a scalar tensor. The paper scales the loss by it besides; this does not.

    Raises:
        ValueError: no item shares its label with another.
    """
    places = torch.arange(len(embeddings), device=embeddings.device)
    return info_nce(embeddings, embeddings, Match(labels, labels), itself=places, temperature=temperature)


def n_pair(anchors: Tensor, positives: Tensor) -> Tensor:
    """N-pair: each anchor looks for its positive among those of all anchors, by inner product (Sohn, NIPS 2016, eq. 7).

    Args:
        anchors: (n, d), one of each class. The paper adds a penalty on the squared lengths, which is the caller's to add.
        positives: (n, d), another of each class, in the same order.
    """
    places = torch.arange(len(anchors), device=anchors.device)
    return info_nce(anchors, positives, places, temperature=1.0, similarity="dot")
