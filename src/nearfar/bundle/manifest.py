"""`manifest.json`: what a bundle is, how to run it, where it comes from, and how well it works."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AwareDatetime,
    Discriminator,
    Field,
    JsonValue,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from nearfar.bundle.block import Block, FileName, Finite, Metric, Share
from nearfar.bundle.joint_record import JointRecord
from nearfar.bundle.monitor_record import DetectorRecord
from nearfar.bundle.recommender_record import RecommenderRecord
from nearfar.bundle.verification_record import VerificationRecord
from nearfar.embedder import Side
from nearfar.errors import BundleError
from nearfar.frontend.settings import (
    AudioSettings,
    EventsSettings,
    ImageSettings,
    JointSettings,
    PairSettings,
    SeriesSettings,
    TableSettings,
    TextSettings,
)

FORMAT: Final = 1
"""The manifest format that this version reads and writes."""


class Tower(Block):
    """One side of a dual encoder."""

    graph: FileName
    """The ONNX file. Inputs of a text encoder are `ids` and `mask`, int64 (n, L); of an image encoder `pixels`, float32 (n, c, h, w) in
    [0, 1]; of an audio encoder `pcm`, float32 (n, t) in [-1, 1]; of a series encoder `window` and `present`, float32 (n, T, F); of a
    table encoder `values`, float32 (n, F), and `codes`, int64 (n, F); of a recommender those of a history, left padded: `vectors`,
    float32 (n, L, d), `gaps`, int64 (n, L), `weights` and `mask`, float32 (n, L), and with a context `values` and `codes`.

    Output `embedding`, float32 (n, d), rows of unit length where `similarity` is `cosine`; where the manifest names `classes`, also
    `scores`, float32 (n, classes), one logit a class."""


class Scorer(Block):
    """What reads a query and a passage together and says how well they fit (a cross-encoder)."""

    graph: FileName
    """The ONNX file. Inputs `ids`, `mask` and, where the frontend says so, `types`, all int64 (n, L); output `score`, float32
    (n,), higher is better."""
    scale: Literal["logit", "free"] = "logit"
    """`logit`: trained with binary cross-entropy, so that the sigmoid of a score is a share from 0 to 1, which can be held
    against a threshold. `free`: scores order the passages of a query, and mean nothing else."""


class Fusion(Block):
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


class Head(Block):
    """A linear classifier over the embeddings, learned from a few labels."""

    kind: Literal["prototypes", "logistic"]
    """`prototypes`: the mean of each label's unit vectors; `logistic`: multinomial logistic regression."""
    weights: FileName
    """A .npy file, float32 (labels, dim + 1), the bias in the last column: logits are `vectors @ w[:, :-1].T + w[:, -1]`."""
    labels: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=2)
    """What the rows of the weights stand for."""
    examples: PositiveInt
    """How many labelled items it was learned from."""
    threshold: Share = 0.0
    """The head abstains where its most likely label is less likely than this."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """What the logits were divided by, so that the likelihoods are those seen on held-out folds; the weights have it in them."""
    penalty: Finite | None = None
    """Of a logistic head: the weight of half the squared norm."""
    accuracy: dict[str, Share] = Field(default_factory=dict)
    """Kind of head -> share of held-out labelled items that it got right in cross-validation."""
    target_precision: Share | None = None
    """What the threshold was chosen for."""
    unknown: Share = 0.0
    """The share of items of none of the labels that was reckoned with when it was chosen."""
    precision: Share | None = None
    """Share of the answers that are right, as estimated when the threshold was chosen."""
    coverage: Share | None = None
    """Share of held-out labelled items that are answered, likewise."""

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels must differ from each other")
        return self


class TeacherRecord(Block):
    """The bundle whose space this one has learned, so that its vectors of documents can be searched with queries of this one."""

    name: str
    digest: str
    """Of that bundle: no other gives the same vectors."""


class CompressionStep(Block):
    """One step on the way from the trained model to what ships, as it was measured on the validation part."""

    step: dict[str, JsonValue] = Field(default_factory=dict)
    """Its settings in the recipe; nothing for the trained model in float, the first row."""
    mb: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Size of the bundle after it, in 10^6 bytes; None where no bundle that works came of it."""
    milliseconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Median time of one item (a text: as a query) on one thread, all steps taken in turns."""
    figure: str = ""
    """What `quality` is: `ndcg_at_10`, `knn_accuracy` or `view_recall_at_1`."""
    quality: Metric | None = None
    """None where nothing was held out for validation."""
    change: Metric | None = None
    """Of the quality against the last step that was kept, as a share of that one's; below 0 where it got worse. The interval is
    paired: both on the same items."""
    kept: bool = True
    """Whether the bundle has it. A step that is left out is followed by one from the model before it."""
    reason: str = ""
    """Why it was left out, or why it was kept though nothing is known of its cost."""


class Agreement(Block):
    """How far the graphs that ship give the vectors of the model in float that they were made of: cosines on a sample."""

    items: PositiveInt
    mean: Finite
    least: Finite


class Provenance(Block):
    """Everything that made this model what it is."""

    recipe: dict[str, JsonValue]
    """The recipe with every default filled in."""
    recipe_sha256: str
    data_fingerprint: str
    """Digest of the training data, to tell whether two models saw the same."""
    data_counts: dict[str, int] = Field(default_factory=dict)
    pairing: tuple[JsonValue, ...] = ()
    augmentations: tuple[JsonValue, ...] = ()
    sampler: str = ""
    negatives: str = ""
    """Where negatives came from, in words; `mining` likewise."""
    mining: str = ""
    negative_policy: dict[str, JsonValue] = Field(default_factory=dict)
    """The same for machines: sources with their numbers, the rule of mining, what was ignored."""
    seed: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    """Package -> version, Python included."""
    parent: str | None = None
    """Digest of the bundle that this one was made from."""


def _kind_of_frontend(value: Any) -> Any:
    """The tag of a frontend block; one without a kind is of the first bundles, which were all of texts."""
    return value.get("kind", "text") if isinstance(value, dict) else getattr(value, "kind", None)


Frontend = Annotated[
    Annotated[TextSettings, Tag("text")]
    | Annotated[ImageSettings, Tag("image")]
    | Annotated[AudioSettings, Tag("audio")]
    | Annotated[SeriesSettings, Tag("series")]
    | Annotated[TableSettings, Tag("table")]
    | Annotated[EventsSettings, Tag("events")]
    | Annotated[JointSettings, Tag("joint")]
    | Annotated[PairSettings, Tag("text-pair")],
    Discriminator(_kind_of_frontend),
]

_KINDS = {
    "text": "text-dual-encoder",
    "image": "image-encoder",
    "audio": "audio-encoder",
    "series": "series-monitor",
    "table": "table-encoder",
    "events": "recommender",
    "joint": "joint-encoder",
    "text-pair": "text-cross-encoder",
}
"""Kind of the frontend -> kind of the bundle."""


def _creation_time() -> datetime:
    """Now, or SOURCE_DATE_EPOCH where a reproducible bundle is wanted (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC).replace(microsecond=0)


class Manifest(Block):
    """The content of `manifest.json`."""

    format: Literal[1] = FORMAT
    created: AwareDatetime = Field(default_factory=_creation_time)
    name: str = Field(min_length=1, max_length=200)
    kind: Literal[
        "text-dual-encoder",
        "image-encoder",
        "audio-encoder",
        "series-monitor",
        "table-encoder",
        "recommender",
        "joint-encoder",
        "text-cross-encoder",
    ] = "text-dual-encoder"
    towers: dict[str, Tower] = Field(default_factory=dict)
    """`query` and `document`; both may name the same graph, and in an image encoder do. Of a joint encoder those of its frontend, by name.
    A cross-encoder has none."""
    scorer: Scorer | None = None
    """Of a cross-encoder."""
    dim: Annotated[int, Field(ge=0)] = 0
    """Components of an embedding; 0 where nothing is embedded."""
    dims: tuple[PositiveInt, ...] = ()
    """Shorter prefixes that were trained to work on their own (Matryoshka)."""
    similarity: Literal["cosine", "euclidean", "dot"] = "cosine"
    """`cosine`: rows are of unit length. `euclidean`: they are not, and their distances count. `dot`: likewise, and their dot products
    with the vectors of items count."""
    teacher: TeacherRecord | None = None
    """Of an asymmetric encoder: what may embed the documents of an index in its place, before the index goes to a device."""
    frontend: Frontend
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """The label of each of the graph's `scores`, in their order; none without a classifier."""
    fusion: Fusion | None = None
    head: Head | None = None
    """A classifier beside the graph; where there is one it is what classifies, also where the graph has `classes`."""
    detector: DetectorRecord | None = None
    """Of a monitor; one whose detector scores raw features has no towers."""
    verification: VerificationRecord | None = None
    """Of an encoder that tells identities apart."""
    recommender: RecommenderRecord | None = None
    """Of a recommender, which embeds histories of users and has the vectors of the items beside the graph."""
    joint: JointRecord | None = None
    """Of an encoder of several modalities in one space."""
    compression: tuple[CompressionStep, ...] = ()
    """The steps that made it small, in their order; none where the recipe has none."""
    agreement: Agreement | None = None
    """Of the graphs, through the runtime of the device, with the model after the last step that changed its structure."""
    provenance: Provenance
    metrics: dict[str, dict[str, Metric]] = Field(default_factory=dict)
    """What was measured -> figure -> value: `bm25`, `untrained`, `model` and `bundle` lie beside each other."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind != _KINDS[self.frontend.kind]:
            raise ValueError(
                f"kind is {self.kind}, but with a frontend of kind {self.frontend.kind} it must be {_KINDS[self.frontend.kind]}"
            )
        if self.kind == "text-cross-encoder":
            return self._scores_pairs()
        if self.scorer is not None:
            raise ValueError(f"scorer is of a text-cross-encoder, but kind is {self.kind}")
        if self.kind == "series-monitor" and self.detector is not None and self.detector.features == "raw":
            return self
        if self.dim < 1:
            raise ValueError("dim must be the number of components of an embedding, 1 or more")
        sides = list(self.frontend.towers) if isinstance(self.frontend, JointSettings) else get_args(Side)
        if set(self.towers) != set(sides):
            raise ValueError(f"towers must be {' and '.join(sides)}, not {', '.join(sorted(self.towers)) or 'none'}")
        if (self.joint is not None) != (self.kind == "joint-encoder"):
            raise ValueError("the block joint is of kind joint-encoder, which cannot do without it")
        if self.joint is not None and (unknown := sorted(self.joint.towers - self.towers.keys())):
            raise ValueError(f"the block joint names {', '.join(unknown)}, which is no tower")
        if self.joint is not None and self.similarity != "cosine":
            raise ValueError(f"similarity of kind joint-encoder is cosine, not {self.similarity}")
        if (
            self.kind in ("image-encoder", "audio-encoder", "series-monitor", "table-encoder", "recommender")
            and len({tower.graph for tower in self.towers.values()}) > 1
        ):
            raise ValueError(f"towers of kind {self.kind} must name the same graph")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes must differ from each other")
        if any(prefix >= self.dim for prefix in self.dims):
            raise ValueError(f"dims are prefixes of an embedding: all must be below dim ({self.dim})")
        if (self.recommender is not None) != (self.kind == "recommender"):
            raise ValueError("the block recommender is of kind recommender, which cannot do without it")
        if (self.similarity == "dot") != (self.kind == "recommender"):
            raise ValueError(
                f"similarity dot is of kind recommender, and of no other: kind is {self.kind}, similarity {self.similarity}"
            )
        if self.verification is not None:
            if self.kind not in ("image-encoder", "audio-encoder"):
                raise ValueError(f"verification is of encoders of pictures and of sound, but kind is {self.kind}")
            if self.verification.components > self.dim:
                raise ValueError(f"verification.components must be at most dim ({self.dim})")
        return self

    def _scores_pairs(self) -> Self:
        """A cross-encoder has a scorer and nothing of what embeds."""
        if self.scorer is None:
            raise ValueError("scorer is missing, which a text-cross-encoder must name")
        of_encoders = ("towers", "dim", "dims", "teacher", "classes", "fusion", "head", "detector", "compression")
        if any(getattr(self, name) for name in of_encoders):
            raise ValueError(f"{', '.join(of_encoders)} are of encoders; a text-cross-encoder has none")
        return self

    def to_bytes(self) -> bytes:
        """Return the JSON that `read_manifest` reads."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    @property
    def file_names(self) -> set[str]:
        """The files that the manifest needs beside itself."""
        graphs = {tower.graph for tower in self.towers.values()} | ({self.scorer.graph} if self.scorer else set())
        beside = {part.weights for part in (self.head, self.detector) if part is not None}
        if self.verification is not None and self.verification.cohort is not None:
            beside.add(self.verification.cohort)
        if self.recommender is not None:
            record = self.recommender
            files = (record.names, record.vectors, record.scales, record.popularity, record.prior, record.facts)
            beside |= {name for name in files if name is not None}
        return graphs | set(self.frontend.files) | beside


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
