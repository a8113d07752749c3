"""Where negatives come from besides the batch: a queue, a memory bank, mining; and a ledger of what each gives."""

from nearfar.learn.negatives.bank import MemoryBank
from nearfar.learn.negatives.ledger import Group, Ledger, SourceShare, ledger
from nearfar.learn.negatives.mined import MinedNegatives
from nearfar.learn.negatives.mining import Known, Mined, MiningCounts, mine, mine_by_bm25
from nearfar.learn.negatives.momentum import MomentumEncoder, momentum_at
from nearfar.learn.negatives.queue import Queue, Remembered
from nearfar.learn.negatives.sources import (
    NegativeSources,
    Source,
    first_step,
    positives_within,
    relatives_within,
)

__all__ = [
    "Group",
    "Known",
    "Ledger",
    "MemoryBank",
    "Mined",
    "MinedNegatives",
    "MiningCounts",
    "MomentumEncoder",
    "NegativeSources",
    "Queue",
    "Remembered",
    "Source",
    "SourceShare",
    "first_step",
    "ledger",
    "mine",
    "mine_by_bm25",
    "momentum_at",
    "positives_within",
    "relatives_within",
]
