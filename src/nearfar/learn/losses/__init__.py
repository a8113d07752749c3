"""Objectives as pure functions of tensors; they know nothing of ranks, epochs or data."""

from nearfar.learn.losses.infonce import info_nce

__all__ = ["info_nce"]
