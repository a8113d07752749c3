"""The loop: Lightning runs it; batches, randomness and checkpoints are ours so that a resumed run is bit-identical."""

from nearfar.learn.trainer.fit import FitResult, fit

__all__ = ["FitResult", "fit"]
