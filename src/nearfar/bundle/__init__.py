"""The artefact that training hands to the device: a directory of plain files, checked before it is used."""

from nearfar.bundle.block import Metric
from nearfar.bundle.bundle import Bundle
from nearfar.bundle.card import render_card
from nearfar.bundle.describe import describe
from nearfar.bundle.manifest import FORMAT, Agreement, Fusion, Head, Manifest, Provenance, Scorer, TeacherRecord, Tower
from nearfar.bundle.writer import BundleWriter

__all__ = [
    "FORMAT",
    "Agreement",
    "Bundle",
    "BundleWriter",
    "Fusion",
    "Head",
    "Manifest",
    "Metric",
    "Provenance",
    "Scorer",
    "TeacherRecord",
    "Tower",
    "describe",
    "render_card",
]
