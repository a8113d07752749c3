"""The blocks of a recipe that learns who is who. The docstrings are their documentation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from nearfar.recipe.pairing import PairingRule
from nearfar.recipe.settings import Settings

Chance = Annotated[float, Strict(), Field(gt=0.0, lt=0.5)]


class IdentityPairing(PairingRule):
    """Samples of the same identity (a person, a voice, a character) belong together. A batch holds some samples of each of some
    identities; held out are whole identities.
    """

    kind: Literal["identity"]
    samples: Annotated[int, Strict(), Field(ge=2, le=64)] = 4
    """Of each identity in a batch; there are `train.batch_size` divided by this many identities."""
    session: Literal["any", "other"] = "any"
    """`other` draws the samples of an identity from different sessions where it has several, so that room and microphone of one
    session are not what is learned."""
    turned: Literal[1, 2, 4, 8] = 1
    """Pictures: so many turned and mirrored copies of each identity are identities too (2: mirrored; 4: quarter turns; 8: both). For
    glyphs and marks, of which there are never enough; not for faces."""


class ArcFace(Settings):
    """Samples are told apart by a direction for each identity, with an angle as margin (ArcFace, arXiv:1801.07698).

    A direction is learned from the samples of its identity, so each must come up some tens of times: leave `turned` of the pairing at 1,
    or take sup_con or triplet where steps are few.
    """

    least_views: ClassVar[int] = 1
    takes_crops: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    kind: Literal["arc_face"]
    margin: Annotated[float, Strict(), Field(ge=0.0, le=1.0)] = 0.2
    """In radians; the paper has 0.5 for faces in the millions."""
    scale: Annotated[float, Strict(), Field(gt=0.0, le=128.0)] = 16.0
    """Multiplies the cosines; the paper has 64, for longer training."""


class TripletIdentity(Settings):
    """A sample must be nearer to those of its identity than to those of others, by a margin (FaceNet, arXiv:1503.03832)."""

    least_views: ClassVar[int] = 1
    takes_crops: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    kind: Literal["triplet"]
    margin: Annotated[float, Strict(), Field(ge=0.0, le=2.0)] | None = 0.2
    """By how much, as a distance of unit vectors; `null` takes a soft margin (arXiv:1703.07737), which is never quite reached."""
    mine: Literal["semi_hard", "hard", "all"] = "semi_hard"
    """Which of a batch are learned from. `semi_hard`: each two samples of an identity, with the nearest other that is further away
    than they are. `all`: every one that is not as it should be yet. `hard`: the furthest own and the nearest other of each sample; from
    scratch this pulls everything to one place, so keep it for an encoder that has learned already."""


IdentityMethodSettings = ArcFace | TripletIdentity


class Verification(Settings):
    """How samples are held against templates: what the threshold is chosen for, and what is measured."""

    fmr: Chance = 0.001
    """Target false match rate: of attempts by other people, at most this share may pass. The threshold is chosen by trials of
    validation identities so that the upper Clopper-Pearson bound keeps it; where there are too few trials, none is set."""
    confidence: Annotated[float, Strict(), Field(ge=0.5, le=0.999)] = 0.95
    """Of that bound, one-sided."""
    samples: Annotated[int, Strict(), Field(ge=1, le=100)] = 5
    """Samples that a template is made of where figures are measured."""
    components: Annotated[int, Strict(), Field(ge=16, le=4096)] = 128
    """Components of a sealed template, a byte each; at most those of an embedding."""
    cohort: Annotated[int, Strict(), Field(ge=0, le=1000)] = 0
    """Mean embeddings of so many training identities ship in the bundle, to normalise scores by (AS-norm); they are embeddings of
    real people, so none do unless you ask."""
    attacks: bool = True
    """Measure attacks, noise and groups beside the error rates."""
