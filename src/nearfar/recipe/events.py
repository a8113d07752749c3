"""The blocks of a recipe for what people did: events of users and items. The docstrings are their documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.pairing import PairingRule
from nearfar.recipe.settings import Amount, Count, Dimension, Fraction, Settings

Share = Annotated[float, Strict(), Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Strict(), Field(ge=-1000.0, le=1000.0)]
NonNegative = Annotated[float, Strict(), Field(ge=0.0, le=1e9)]
Blocks = Annotated[int, Strict(), Field(ge=1, le=16)]


class EventColumns(Settings):
    """Which columns of an event log hold what."""

    user: str | None = "user"
    """Who acted; `null` for logs without people, where each row stands alone (only `context` tells them apart)."""
    item: str = "item"
    """What was acted on."""
    timestamp: str = "timestamp"
    """When: seconds (or milliseconds, microseconds) since 1970, or a date with time. Events of one time keep the order of the file."""
    action: str | None = None
    """What was done (`view`, `buy`, `skip`); without it every row is an action of weight 1."""
    dwell: str | None = None
    """How many seconds were spent on it."""
    rating: str | None = None
    """What the user gave it."""
    propensity: str | None = None
    """Of what was only shown: how likely it was to be shown, above 0 to 1."""
    context: tuple[str, ...] = ()
    """What was known at the moment besides (device, weekday, segment): numbers and categories, found out as in tables of rows."""


class EventWeights(Settings):
    """How much an action counts: the weight of its kind, times that of its dwell time. Above 0 it is a positive, 0 is only shown (an
    impression), below 0 is dislike.
    """

    actions: dict[str, Weight] = Field(default={})
    """Kind of action -> weight; for logs with `columns.action`. What was shown (weight 0) counts as acted on if its user acts on it within
    the hour."""
    other: Weight | None = None
    """Weight of kinds that are not named; `null` refuses them."""
    full_dwell: Amount = 60.0
    """Seconds of dwell that count whole; shorter ones count log(1 + dwell) / log(1 + full_dwell). Without a dwell time an action
    counts whole."""
    liked: float | None = None
    """Actions with a rating below it are dislike; by default ratings do not count."""


class EventFilters(Settings):
    """Which events are no evidence: rules that are applied in this order. How many events each took out is counted and shown. What was
    shown with a known `propensity` is a trial, of which only those of bots and of rare users and items are left out.
    """

    least_dwell: NonNegative = 0.0
    """Seconds; an action with a shorter dwell was an accident."""
    repeat: NonNegative = 30.0
    """Seconds within which the same kind of action of the same user on the same item again is one; it is the first that stays."""
    most_per_hour: Count | None = None
    """A user with more actions than so many in any hour is a bot, and left out whole."""
    least_of_user: Count = 3
    """Users with fewer positive actions are not learned from, nor measured; with `split.by: time`, those with fewer in the training
    part are measured all the same, as everybody is new once. Of no effect where `columns.user` is `null`."""
    least_of_item: Count = 5
    """Items with fewer (in the training part, with `split.by: time`) have no vector of their own: with content they have that of their
    content, without it they are left out. Rows with a `propensity` count as well. Both rules are repeated until nothing changes."""


class ContentColumns(Settings):
    """Which columns of a table of items hold what."""

    item: str = "item"
    """The name that the events call it by."""
    title: str | None = None
    """What people call it: shown beside recommendations, and learned from as a text."""
    texts: tuple[str, ...] = ()
    """Columns with words."""
    categories: tuple[str, ...] = ()
    """Columns with a category, or several: a list, or text cut at `separator`."""
    numbers: tuple[str, ...] = ()
    """Columns with numbers (price, year)."""
    image: str | None = None
    """Column with a picture: a path beside the table, or encoded bytes."""


class ItemContent(Settings):
    """What is known of the items: a CSV, JSONL or Parquet file, one row an item."""

    path: Path
    """The file; relative paths start at the recipe's own folder."""
    columns: ContentColumns = ContentColumns()
    separator: str = "|"
    """Between several categories in one cell."""
    cold: bool = True
    """Whether items that fewer acted on than `filters.least_of_item` are there by their content alone; `false` leaves them out."""
    image_bundle: Path | None = None
    """Bundle of an image encoder that turns `columns.image` into vectors."""
    text_bundle: Path | None = None
    """Bundle of a text encoder that reads title and texts; without it their words are learned anew."""


class EventsSource(Settings):
    """Logs of what users did with items: a CSV, JSONL or Parquet file, or all such files of a folder."""

    kind: Literal["events"]
    path: Path
    """The file or folder; relative paths start at the recipe's own folder."""
    columns: EventColumns = EventColumns()
    weights: EventWeights = EventWeights()
    filters: EventFilters = EventFilters()
    items: ItemContent | None = None
    """What is known of the items; needed for items that nobody has acted on yet."""
    timezone: str = "UTC"
    """Of times that name none."""

    @model_validator(mode="after")
    def _kinds_have_weights(self) -> Self:
        if self.weights.actions and self.columns.action is None:
            raise ValueError("weights.actions names kinds of actions: say in columns.action which column holds them")
        if self.columns.action is not None and not self.weights.actions and self.weights.other is None:
            raise ValueError(
                f"columns.action is {self.columns.action!r}, but no kind has a weight: name them, as in "
                "weights.actions: {view: 1.0, buy: 3.0, shown: 0.0}"
            )
        if self.weights.liked is not None and self.columns.rating is None:
            raise ValueError("weights.liked needs ratings: say in columns.rating which column holds them")
        return self


class NextActionPairing(PairingRule):
    """What a user did up to a moment belongs to what they did next."""

    kind: Literal["next_action"]
    window: Annotated[int, Strict(), Field(ge=1, le=100)] = 1
    """Actions ahead that are positives."""
    decay: Annotated[float, Strict(), Field(gt=0.0, le=1.0)] = 0.6
    """Weight of each further one, as a share of that before."""


class ActedTogetherPairing(PairingRule):
    """Two items that one user acted on soon after each other belong together, the more the longer both were dwelt on."""

    kind: Literal["acted_together"]
    window: Annotated[int, Strict(), Field(ge=1, le=100)] = 5
    """Actions between them, at most."""
    seconds: Amount | None = None
    """Time between them, at most."""
    weight: Annotated[float, Strict(), Field(gt=0.0, le=100.0)] = 0.1
    """Of this loss beside that of the next action."""


EventsPairing = NextActionPairing | ActedTogetherPairing


class EventsFrontendSettings(Settings):
    """How a history becomes what the encoder takes: the same in training and on the device."""

    kind: Literal["events"]
    length: Annotated[int, Strict(), Field(ge=1, le=1000)] = 50
    """Latest actions that are looked at."""


class EventsViews(Settings):
    """Two altered copies of a history that find each other among those of other users (CL4SRec, arXiv:2010.14395)."""

    kind: Literal["events"] = "events"
    weight: NonNegative = 0.0
    """Of this loss beside that of the next action; 0 leaves it out. The paper has 0.1."""
    temperature: Annotated[float, Strict(), Field(gt=0.0, le=10.0)] = 0.2
    """Divides the cosines."""
    crop: Share = 0.6
    """A copy may be so much of the history in a row (eta); 0 leaves a kind of copy out."""
    mask: Share = 0.3
    """Or have this share of its actions hidden (gamma)."""
    reorder: Share = 0.6
    """Or have this share in a row in another order (beta)."""
    substitute: Share = 0.2
    """Or have this share replaced by items that are often acted on together with them (CoSeRec, arXiv:2108.06479)."""


class _SequenceEncoder(Settings):
    """What encoders of histories have in common."""

    dim: Dimension = 64
    """Components of the vectors of items and of users."""
    dropout: Annotated[float, Strict(), Field(ge=0.0, lt=1.0)] = 0.3
    """In training only."""
    content_only: Share = 0.1
    """Share of the items that a step knows by their content alone, so that it serves items that nobody has acted on yet; of no effect
    without content."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class SequenceTransformer(_SequenceEncoder):
    """Attention of each action to those before it (SASRec, arXiv:1808.09781)."""

    kind: Literal["sequence_transformer"]
    layers: Blocks = 1
    """Blocks of attention; two cost twice the time and found no more on MovieLens."""
    heads: Annotated[int, Strict(), Field(ge=1, le=32)] = 2
    """Of each block."""

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({self.heads})")
        return self


class SequenceGru(_SequenceEncoder):
    """A gated recurrent network over the actions (GRU4Rec, arXiv:1511.06939)."""

    kind: Literal["sequence_gru"]
    layers: Blocks = 1
    """Recurrent layers."""


class DecayedAverage(_SequenceEncoder):
    """The mean of the vectors of past items, each older one counting less; what more has to be held against."""

    kind: Literal["decayed_average"]
    half_life: Amount = 5.0
    """Actions after which one counts half."""


SequenceEncoderSettings = SequenceTransformer | SequenceGru | DecayedAverage


class NextAction(Settings):
    """The vector of a history finds the vector of what came next among those of other items."""

    kind: Literal["next_action"]
    loss: Literal["auto", "softmax", "sampled_softmax", "in_batch", "gbce", "bce"] = "auto"
    """`softmax`: cross-entropy over all items. `sampled_softmax`: over `negatives` drawn ones, corrected for how they were drawn (log-Q);
    `in_batch`: over the other targets of the batch, likewise. `gbce`: binary cross-entropy made calibrated for `negatives` (gSASRec,
    arXiv:2308.07192). `bce`: with one negative, as in SASRec. `auto`: `softmax` up to 50,000 items, above that `sampled_softmax`."""
    negatives: Count = 1024
    """Items that are drawn at each step."""
    popular: Share = 0.5
    """How far the draw follows how often items were acted on: 0 evenly, 1 in proportion."""
    calibration: Share = 0.75
    """Of `gbce`, t: 0 leaves scores as confident as few negatives make them, 1 calibrates them for all items."""
    temperature: Annotated[float, Strict(), Field(gt=0.0, le=10.0)] = 1.0
    """Divides the scores."""
    cosine: bool = False
    """Compare directions instead of dot products; `temperature` is then about 0.05."""
    impressions: NonNegative = 1.0
    """Weight of what was shown, clicked or not, beside the loss of the next action: each is a binary choice, weighted by one over its
    propensity. Of no effect for logs without weights of 0."""
    propensity_floor: Annotated[float, Strict(), Field(gt=0.0, le=1.0)] = 0.01
    """Smaller propensities count as this one."""


Reach = Literal["near", "far"]


class CountedPrior(NamedTuple):
    """How a prior counts and is read: the numbers of a reach, and in their place what a recipe gives.

    Attributes:
        reach: whose numbers they are; the others are as in `Prior`.
    """

    reach: Reach
    skip: int
    decay: float
    back: float
    smoothing: float
    damping: float
    recency: float


_REACHES: Final = {
    "far": CountedPrior("far", skip=15, decay=0.8, back=0.3, smoothing=100.0, damping=0.2, recency=0.8),
    "near": CountedPrior("near", skip=5, decay=0.6, back=0.0, smoothing=5.0, damping=0.2, recency=0.4),
}


class Prior(Settings):
    """What comes after what, by counting: strong where data is little, and small enough to ship."""

    reach: Literal["auto", "near", "far"] = "auto"
    """Where the numbers come from that are not named below. `near`: what is done next hangs on the last action or two, as in shops. `far`: on
    all of a sitting, as where people go through a collection. `auto` takes the one that is better on validation data."""
    skip: Annotated[int, Strict(), Field(ge=1, le=50)] | None = None
    """Actions ahead that are counted; `near` 5, `far` 15."""
    decay: Annotated[float, Strict(), Field(gt=0.0, le=1.0)] | None = None
    """Weight of each further one, as a share of that before; `near` 0.6, `far` 0.8."""
    back: Share | None = None
    """Weight of the way back: what came before an item is expected after it as well; `near` 0, `far` 0.3."""
    smoothing: NonNegative | None = None
    """Is added to what an item was followed by in all, so that rare ones say less; `near` 5, `far` 100."""
    damping: Share | None = None
    """Power of how often an item came after others that it is divided by, so that popular ones are not expected everywhere; 0.2
    by default."""
    recency: Annotated[float, Strict(), Field(gt=0.0, le=1.0)] | None = None
    """Weight of each older action of the history, as a share of the one after it; `near` 0.4, `far` 0.8."""
    mb: NonNegative = 1.0
    """Largest size in 10^6 bytes; the strongest entries stay. 0 leaves the prior out."""

    @property
    def counted(self) -> tuple[CountedPrior, ...]:
        """What validation chooses from; only one where the recipe leaves nothing open."""
        given = {name: value for name in CountedPrior._fields[1:] if (value := getattr(self, name)) is not None}
        known = _REACHES.values() if self.reach == "auto" else (_REACHES[self.reach],)
        different = {each[1:]: each for each in reversed([reach._replace(**given) for reach in known])}
        return tuple(reversed(different.values()))


class Recommend(Settings):
    """How the device ranks."""

    prior: Prior = Prior()
    blend: Literal["auto", "encoder", "prior"] = "auto"
    """`auto` chooses the share of the prior beside the encoder on validation data; `encoder` leaves it out, `prior` leaves all else out. The
    encoder comes with the share of popularity that it was trained with."""
    half_life: Amount = 50.0
    """Actions after which one counts half in the long-term vector."""
    signed_by: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Public key (Ed25519, hex) whose signed catalogue updates devices take; `nearfar catalogue key` makes one. Without it they take
    none."""
    facts: tuple[str, ...] = ()
    """Columns of the table of items that go along, for filters on the device (`--where`); title and categories do anyway."""
    titles: bool = True
    """Whether titles go along."""
    noise: Fraction = 0.0
    """Standard deviation of Gaussian noise in each component of the long-term vector, as a share of its length, that an app means to add
    before it sends one (`private_vectors`): the card says how much it hides. Nothing is ranked by it; 0 for none."""

    @model_validator(mode="after")
    def _something_ranks(self) -> Self:
        if self.blend == "prior" and not self.prior.mb:
            raise ValueError("blend is prior, but prior.mb is 0, which leaves it out: nothing would be left to rank by")
        return self
