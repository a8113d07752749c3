"""`manifest.json`: what a bundle is, how to run it, where it comes from, and how well it works."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from nearfar.embedder import Side
from nearfar.errors import BundleError
from nearfar.frontend.settings import ImageSettings, TextSettings

FORMAT: Final = 1
"""The manifest format that this version reads and writes."""

# One plain name in the bundle's own folder: no separator of any system, no drive, no "..", nothing hidden.
FileName = Annotated[str, Field(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,126}\z")]

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """A block of the manifest: unknown keys are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Tower(_Part):
    """One side of a dual encoder."""

    graph: FileName
    """The ONNX file. Of a text encoder, inputs `ids` and `mask`, int64 (n, L); of an image encoder, input `pixels`, float32
    (n, c, h, w) in [0, 1]. Output `embedding`, float32 (n, d), rows of unit length; where the manifest names `classes`, also
    `scores`, float32 (n, classes), one logit a class."""


class Metric(_Part):
    """One measured figure with its 95 % interval, if one was computed."""

    value: Finite
    low: Finite | None = None
    high: Finite | None = None


class Fusion(_Part):
    """The learned linear function that joins the embedding's score with the keyword score."""

    features: tuple[str, ...] = Field(min_length=1)
    weights: tuple[Finite, ...] = Field(min_length=1)
    queries: Annotated[int, Field(ge=0)] = 0
    """How many held-out queries the weights were fitted on."""

    @model_validator(mode="after")
    def _one_weight_a_feature(self) -> Self:
        if len(self.features) != len(self.weights):
            raise ValueError(
                f"{len(self.features)} features but {len(self.weights)} weights: there must be one weight a feature"
            )
        return self


class Provenance(_Part):
    """Everything that made this model what it is."""

    recipe: dict[str, JsonValue]
    """The recipe with every default filled in."""
    recipe_sha256: str
    data_fingerprint: str
    """Digest of the training data, to tell whether two models saw the same."""
    data_counts: dict[str, int] = {}
    pairing: tuple[JsonValue, ...] = ()
    augmentations: tuple[JsonValue, ...] = ()
    sampler: str = ""
    negatives: str = ""
    """Where negatives came from, in words; `mining` likewise."""
    mining: str = ""
    negative_policy: dict[str, JsonValue] = {}
    """The same for machines: sources with their numbers, the rule of mining, what was ignored."""
    seed: int = 0
    versions: dict[str, str] = {}
    """Package -> version, Python included."""
    parent: str | None = None
    """Digest of the bundle that this one was made from."""


def _kind_of_frontend(value: Any) -> Any:
    """The tag of a frontend block; one without a kind is of the first bundles, which were all of texts."""
    return value.get("kind", "text") if isinstance(value, dict) else getattr(value, "kind", None)


Frontend = Annotated[
    Annotated[TextSettings, Tag("text")] | Annotated[ImageSettings, Tag("image")], Discriminator(_kind_of_frontend)
]

_KINDS = {"text": "text-dual-encoder", "image": "image-encoder"}
"""Kind of the frontend -> kind of the bundle."""


def _creation_time() -> datetime:
    """Now, or SOURCE_DATE_EPOCH where a reproducible bundle is wanted (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC).replace(microsecond=0)


class Manifest(_Part):
    """The content of `manifest.json`."""

    format: Literal[1] = FORMAT
    created: AwareDatetime = Field(default_factory=_creation_time)
    name: str = Field(min_length=1, max_length=200)
    kind: Literal["text-dual-encoder", "image-encoder"] = "text-dual-encoder"
    towers: dict[Side, Tower]
    """`query` and `document`; both may name the same graph, and in an image encoder do."""
    dim: PositiveInt
    """Components of an embedding."""
    dims: tuple[PositiveInt, ...] = ()
    """Shorter prefixes that were trained to work on their own (Matryoshka)."""
    similarity: Literal["cosine"] = "cosine"
    frontend: Frontend
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """The label of each of the graph's `scores`, in their order; none without a classifier."""
    fusion: Fusion | None = None
    provenance: Provenance
    metrics: dict[str, dict[str, Metric]] = {}
    """What was measured -> figure -> value: `bm25`, `untrained`, `model` and `bundle` lie beside each other."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if set(self.towers) != {"query", "document"}:
            raise ValueError(f"towers must be query and document, not {', '.join(sorted(self.towers)) or 'none'}")
        if self.kind != _KINDS[self.frontend.kind]:
            raise ValueError(
                f"kind is {self.kind}, but with a frontend of kind {self.frontend.kind} it must be {_KINDS[self.frontend.kind]}"
            )
        if self.kind == "image-encoder" and len({tower.graph for tower in self.towers.values()}) > 1:
            raise ValueError("towers of an image encoder must name the same graph")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes must differ from each other")
        if any(prefix >= self.dim for prefix in self.dims):
            raise ValueError(f"dims are prefixes of an embedding: all must be below dim ({self.dim})")
        return self

    def to_bytes(self) -> bytes:
        """Return the JSON that `read_manifest` reads."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    @property
    def file_names(self) -> set[str]:
        """The files that the manifest needs beside itself."""
        return {tower.graph for tower in self.towers.values()} | set(self.frontend.files)


def read_manifest(content: bytes, where: str) -> Manifest:
    """Check the content of a `manifest.json`.

    Args:
        content: the bytes of the file.
        where: its path, for messages.

    Raises:
        BundleError: it is no JSON object, of a newer format, or of the wrong shape.
    """
    again = "export the bundle again"
    try:
        raw = from_json(content)
    except ValueError as error:
        raise BundleError(f"{where}: not JSON ({error}): {again}") from error
    number = raw.get("format") if isinstance(raw, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise BundleError(f'{where}: not the manifest of a nearfar bundle (no "format" number): {again}')
    if number > FORMAT:
        raise BundleError(f"{where}: format {number} is newer than this nearfar reads ({FORMAT}): upgrade nearfar")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{_key(problem['loc'])}: {problem['msg']}" for problem in error.errors(include_url=False)[:5]
        )
        raise BundleError(f"{where}: {problems}: {again}") from error


def _key(location: tuple[str | int, ...]) -> str:
    """The key path of a problem, without the kind that pydantic puts in where there is a choice."""
    parts = [str(part) for part in location]
    if len(parts) > 1 and parts[0] == "frontend" and parts[1] in _KINDS:
        del parts[1]
    return ".".join(parts) or "manifest"
