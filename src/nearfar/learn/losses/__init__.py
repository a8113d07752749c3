"""Objectives as pure functions of tensors; they know nothing of ranks, epochs or data."""

from nearfar.learn.losses.infonce import info_nce
from nearfar.learn.losses.named import clip, moco, n_pair, nt_xent, sup_con
from nearfar.learn.losses.pairs import Match, Negatives
from nearfar.learn.losses.sigmoid import siglip

__all__ = ["Match", "Negatives", "clip", "info_nce", "moco", "n_pair", "nt_xent", "siglip", "sup_con"]
