"""What goes wrong on purpose: attacks on templates, noise, and who is treated worse. Numbers in, numbers out."""

from nearfar.evaluate.stress.attributes import AttributeLeak, attribute_leak
from nearfar.evaluate.stress.groups import GroupRates, group_rates, max_ratio
from nearfar.evaluate.stress.inversion import Inversion, invert, measure_inversion
from nearfar.evaluate.stress.membership import Membership, membership
from nearfar.evaluate.stress.noise import NoiseRate, fnmr_by_noise
from nearfar.evaluate.stress.stolen_key import KeyedTrials, keyed_trials
from nearfar.evaluate.stress.unlinkability import Unlinkability, d_sys, unlinkability

__all__ = [
    "AttributeLeak",
    "GroupRates",
    "Inversion",
    "KeyedTrials",
    "Membership",
    "NoiseRate",
    "Unlinkability",
    "attribute_leak",
    "d_sys",
    "fnmr_by_noise",
    "group_rates",
    "invert",
    "keyed_trials",
    "max_ratio",
    "measure_inversion",
    "membership",
    "unlinkability",
]
