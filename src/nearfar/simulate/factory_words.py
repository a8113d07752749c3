"""What people write into the log of a made factory, in English and in German."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from nearfar.simulate.part_photo import Condition, Part

_PARTS: Final[Mapping[Part, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "gear": (("gear", "gear wheel", "toothed wheel", "cog"), ("Zahnrad", "Getrieberad")),
    "bearing": (("bearing", "ball bearing", "roller bearing"), ("Lager", "Kugellager")),
    "impeller": (("impeller", "pump wheel", "vane wheel"), ("Laufrad", "Pumpenrad")),
    "coupling": (("coupling", "shaft coupling", "flange coupling"), ("Kupplung", "Wellenkupplung")),
}

_FOUND: Final[Mapping[Condition, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "sound": (
        ("no findings", "in good order", "runs smoothly, nothing to do", "checked, as new"),
        ("ohne Befund", "in Ordnung", "läuft ruhig, nichts zu tun"),
    ),
    "broken tooth": (
        ("teeth broken off", "a tooth is missing", "chipped teeth, replace it", "two teeth sheared"),
        ("Zähne ausgebrochen", "ein Zahn fehlt", "Zahnbruch, austauschen"),
    ),
    "pitted outer ring": (
        ("pits on the outer ring", "outer race damaged", "spalling outside, order a spare"),
        ("Grübchen am Außenring", "Außenring beschädigt", "Schaden außen, Ersatz bestellen"),
    ),
    "pitted inner ring": (
        ("pits on the inner ring", "inner race damaged", "spalling at the bore side"),
        ("Grübchen am Innenring", "Innenring beschädigt", "Schaden innen an der Bohrung"),
    ),
    "lost vane": (
        ("a vane has come off", "one blade is gone, shakes badly", "vane lost, out of balance"),
        ("eine Schaufel fehlt", "Schaufel abgerissen, Unwucht", "Schaufelbruch"),
    ),
    "offset halves": (
        ("halves out of line", "misaligned, realign the shafts", "offset between the two sides"),
        ("Hälften versetzt", "Fluchtungsfehler, neu ausrichten", "Versatz der Wellen"),
    ),
}

_COLOURS_DE: Final = {
    "red": "rot",
    "green": "grün",
    "blue": "blau",
    "yellow": "gelb",
    "grey": "grau",
    "white": "weiß",
}


def log_of(machine: str, part: Part, condition: Condition, colour: str, rng: np.random.Generator) -> tuple[str, str]:
    """An entry of the log, in English and in German; `rng` chooses the words."""

    def one(words: tuple[str, ...]) -> str:
        return words[int(rng.integers(len(words)))]

    parts, found = _PARTS[part], _FOUND[condition]
    english = (
        f"{machine}: {one(parts[0])}, {colour} paint, {one(found[0])}",
        f"{one(found[0])} on the {colour} {one(parts[0])} of {machine}",
        f"Inspected the {one(parts[0])} ({colour}): {one(found[0])}. {machine}",
    )
    german = (
        f"{machine}: {one(parts[1])}, {_COLOURS_DE[colour]} lackiert, {one(found[1])}",
        f"{one(parts[1])} ({_COLOURS_DE[colour]}) an {machine}: {one(found[1])}",
    )
    return one(english), one(german)
