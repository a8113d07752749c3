"""What a recipe for several modalities would do, in a few lines for a person."""

from __future__ import annotations

from nearfar.recipe.joint import AnyTower, BundleEncoder, PairFile, PairsSource, PartnersPairing


def files_told(source: PairsSource) -> str:
    """The tables, and what stands in their columns."""
    return "; ".join(_file(file) for file in source.files)


def partners_told(pairing: PartnersPairing) -> str:
    """What belongs together."""
    which = f"pairs with {pairing.anchor}" if pairing.anchor is not None else "every two sides of a row"
    captions = f"; two captions of a row (weight {pairing.captions:g})" if pairing.captions else ""
    return which + captions


def negatives_told(pairing: PartnersPairing) -> str:
    """What is negative, and what never is."""
    alike = f", texts with a cosine of trigrams from {pairing.similar:g}" if pairing.similar is not None else ""
    return f"the other pairs of the batch; not those of equal items or one label{alike}"


def extras_told(tower: AnyTower) -> str:
    """How a tower starts, learns, and goes into the space."""
    parts = []
    if tower.start is not None:
        parts.append(f"starting from {tower.start}")
    if tower.frozen or isinstance(tower.encoder, BundleEncoder):
        parts.append("frozen")
    if tower.rate != 1.0:
        parts.append(f"at {tower.rate:g} of the learning rate")
    if tower.projection != "auto":
        parts.append(f"projection {tower.projection}")
    dropped = getattr(tower, "word_dropout", 0.0)
    if dropped:
        parts.append(f"{100 * dropped:g}% of the words left out")
    return ", ".join(parts)


def _file(file: PairFile) -> str:
    sides = ", ".join(f"{tower} in {' + '.join(columns)}" for tower, columns in file.columns.items())
    named = ((file.label, "labels"), (file.split, "split"), (file.group, "groups"))
    others = "".join(f", {what} in {column}" for column, what in named if column is not None)
    weight = f", weight {file.weight:g}" if file.weight != 1.0 else ""
    return f"{file.path}: {sides}{others}{weight}"
