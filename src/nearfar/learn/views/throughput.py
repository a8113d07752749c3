"""How fast views are made."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from nearfar.learn.views.random_views import Views
from nearfar.recipe.views import Views as ViewsSettings


def views_per_second_core(
    settings: ViewsSettings, pixels: Tensor, *, size: int, seconds: float = 2.0, batch: int = 512
) -> float:
    """Views made in a second of processor time by one thread, drawing included: the best batch of so many seconds.

    Args:
        settings: the rules.
        pixels: (n, c, h, w), pictures on the CPU as they are stored; taken in batches, over and over.
        size: height and width of a view of full size, in pixels.
        seconds: processor time to measure for.
        batch: pictures at a time, at most n.

    Returns:
        Views (of all sizes) per second.
    """
    views = Views(settings, size=size, channels=pixels.shape[1])
    rng = np.random.default_rng(0)
    batch = min(batch, len(pixels))
    parts = [pixels[start : start + batch] for start in range(0, len(pixels) - batch + 1, batch)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        best, begun, turn = 0.0, time.process_time(), 0
        while turn < 3 or time.process_time() - begun < seconds:
            part = parts[turn % len(parts)]
            start = time.process_time()
            views.apply(part, views.draw(np.ones(len(part)), rng))
            best = max(best, len(part) * views.count / (time.process_time() - start))
            turn += 1
    finally:
        torch.set_num_threads(threads)
    return best
