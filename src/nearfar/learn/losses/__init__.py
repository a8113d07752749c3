"""Objectives as pure functions of tensors; they know nothing of ranks, epochs or data."""

from nearfar.learn.losses.assignment import sinkhorn, swapped_assignment
from nearfar.learn.losses.cosent import cosent
from nearfar.learn.losses.identity import arcface, cosface, proxy_anchor, proxy_nca
from nearfar.learn.losses.infonce import info_nce
from nearfar.learn.losses.margin import margin_loss
from nearfar.learn.losses.multi_similarity import multi_similarity
from nearfar.learn.losses.named import clip, moco, n_pair, nt_xent, sup_con
from nearfar.learn.losses.pairs import Match, Negatives
from nearfar.learn.losses.pairwise import contrastive, contrastive_by_label
from nearfar.learn.losses.redundancy import barlow_twins, vicreg
from nearfar.learn.losses.regression import byol, simsiam
from nearfar.learn.losses.sampled import calibrated_bce, gbce_power, sampled_softmax
from nearfar.learn.losses.sigmoid import siglip
from nearfar.learn.losses.triplet import triplet, triplet_by_label

__all__ = [
    "Match",
    "Negatives",
    "arcface",
    "barlow_twins",
    "byol",
    "calibrated_bce",
    "clip",
    "contrastive",
    "contrastive_by_label",
    "cosent",
    "cosface",
    "gbce_power",
    "info_nce",
    "margin_loss",
    "moco",
    "multi_similarity",
    "n_pair",
    "nt_xent",
    "proxy_anchor",
    "proxy_nca",
    "sampled_softmax",
    "siglip",
    "simsiam",
    "sinkhorn",
    "sup_con",
    "swapped_assignment",
    "triplet",
    "triplet_by_label",
    "vicreg",
]
