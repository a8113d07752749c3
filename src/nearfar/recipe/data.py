"""The data block of a recipe: where the data lies, what is positive, what is held out. The docstrings are its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.audio import AudioSource
from nearfar.recipe.events import EventsPairing, EventsSource, NextActionPairing
from nearfar.recipe.identity import IdentityPairing
from nearfar.recipe.joint import PairsSource, PartnersPairing
from nearfar.recipe.pairing import PairingRule
from nearfar.recipe.series import HealthyPairing, SeriesSource
from nearfar.recipe.settings import Amount, Count, Fraction, Settings
from nearfar.recipe.table import RowsSource


class FolderSource(Settings):
    """A folder of text files, read recursively in name order; each heading starts a section, each section is a document."""

    kind: Literal["folder"]
    path: Path
    """The folder; relative paths start at the recipe's own folder."""
    suffixes: tuple[str, ...] = (".md", ".txt", ".rst", ".html", ".htm")
    """Which files to read."""
    max_file_mb: Amount = 20.0
    """Larger files are skipped and reported."""


class Columns(Settings):
    """Which columns of a table hold a document."""

    text: str = "text"
    """Column with what is embedded and searched."""
    title: str | None = None
    """Column with a short name."""
    id: str | None = None
    """Column with a unique name; by default the line or row number."""
    group: str | None = None
    """Column that says what belongs together, for a split by group."""
    location: str | None = None
    """Column that says where a person finds the document; by default file and line of the row."""


class TableSource(Settings):
    """A JSONL (also .gz), CSV or Parquet file with named columns."""

    kind: Literal["jsonl", "csv", "parquet"]
    path: Path
    """The file; relative paths start at the recipe's own folder."""
    columns: Columns = Columns()
    """Where the documents are, for pairings that work on documents."""


class DocstringsSource(Settings):
    """The docstrings of Python code, read with `ast` and never imported."""

    kind: Literal["docstrings"]
    paths: tuple[Path, ...] = ()
    """Folders to read; none means the standard library and the installed packages of the running Python."""
    limit_files: Count | None = None
    """Read only so many files, spread evenly over all packages (for a quick try)."""


class ImagesSource(Settings):
    """A folder of pictures, read recursively in name order. Folders `train`, `validation` (or `val`) and `test` at its top are taken
    as the split.
    """

    kind: Literal["images"]
    path: Path
    """The folder; relative paths start at the recipe's own folder."""
    labels: Literal["none", "folder"] = "none"
    """Whether the first folder level says what a picture shows. Labels are measured with; most methods do not learn from them."""
    suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".npy")
    """Which files to read."""


class ImageColumns(Settings):
    """Which columns of a Parquet table hold the pictures."""

    image: str = "image"
    """Column with encoded pictures (the bytes of a JPEG, PNG, ...), or a struct that has them as `bytes`."""
    label: str | None = None
    """Column that says what a picture shows, as text or a whole number."""
    label_name: str | None = None
    """Column with the name of what the number in `label` stands for."""
    split: str | None = None
    """Column that says `train`, `validation` or `test`; by default a folder's files of these names do."""
    id: str | None = None
    """Column with a unique name; by default file and row number."""
    group: str | None = None
    """Column that says what belongs together (one patient, one film), for a split by group."""
    session: str | None = None
    """Column that says which pictures of an identity were taken in one go; for the pairing `identity`. Of a folder, the folders
    below that of the label do."""
    attribute: str | None = None
    """Column with an attribute (sex, age group, camera) whose groups error rates are told apart for; nothing is learned from it."""


class ImageTableSource(Settings):
    """Pictures inside a Parquet file, or in all Parquet files of a folder."""

    kind: Literal["image_table"]
    path: Path
    """The file or folder; relative paths start at the recipe's own folder."""
    columns: ImageColumns = ImageColumns()
    """Where the pictures are."""


class DigitsSource(Settings):
    """The 1,797 handwritten digits (8 x 8, with labels) that come with scikit-learn: something to try things on."""

    kind: Literal["digits"]


ImageSource = ImagesSource | ImageTableSource | DigitsSource
TextSource = FolderSource | TableSource | DocstringsSource

Source = Annotated[
    TextSource | ImageSource | SeriesSource | RowsSource | AudioSource | EventsSource | PairsSource,
    Field(discriminator="kind"),
]


class ColumnsPairing(PairingRule):
    """Labelled pairs from named columns of a table."""

    kind: Literal["columns"]
    query: str = "query"
    """Column with the anchor text."""
    positive: str = "positive"
    """Column with one positive text, or a list of them."""
    negative: str | None = None
    """Column with an explicit negative text, or a list of them."""


class LeadBodyPairing(PairingRule):
    """The first paragraph of a document belongs to the rest of it."""

    kind: Literal["lead_body"]
    min_words: Count = 3
    """Shorter first paragraphs and shorter rests make no pair."""


class TitleBodyPairing(PairingRule):
    """The title of a file belongs to every section of it (a file without headings is one section)."""

    kind: Literal["title_body"]


class HeadingSectionPairing(PairingRule):
    """A heading belongs to the text under it; for sources without headings, a document's title to its text."""

    kind: Literal["heading_section"]


class SpansPairing(PairingRule):
    """A random span of a document belongs to the rest of that document; drawn anew at every step, so no labels are needed."""

    kind: Literal["spans"]
    min_tokens: Count = 4
    """Shortest span."""
    max_tokens: Count = 24
    """Longest span."""
    keep: Annotated[float, Strict(), Field(ge=0.0, le=1.0)] = 0.0
    """How often the span also stays in the document, so that exact words are worth matching."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) must not be larger than max_tokens ({self.max_tokens})")
        return self


class ViewsPairing(PairingRule):
    """Two views of one picture, recording, or row of a table belong together; how they are drawn is said in `views`, or for rows in
    `method`. What else is positive (pictures of one label for `sup_con`, nearest neighbours for `nnclr`) the method says.
    """

    kind: Literal["views"]


TextPairing = ColumnsPairing | LeadBodyPairing | TitleBodyPairing | HeadingSectionPairing | SpansPairing

Pairing = Annotated[
    TextPairing | ViewsPairing | IdentityPairing | HealthyPairing | EventsPairing | PartnersPairing,
    Field(discriminator="kind"),
]

_OF_ITEMS = (
    # What a source yields, its classes, and the rules that such items are paired by.
    ("text", TextSource, TextPairing, ""),
    ("pictures", ImageSource, ViewsPairing | IdentityPairing, "; the pairing of pictures is 'views' or 'identity'"),
    ("recordings", AudioSource, ViewsPairing | IdentityPairing, "; the pairing of recordings is 'views' or 'identity'"),
    ("series", SeriesSource, HealthyPairing, "; the pairing of series is 'healthy'"),
    ("rows", RowsSource, ViewsPairing, "; the pairing of rows is 'views'"),
    ("events", EventsSource, EventsPairing, "; the pairings of events are 'next_action' and 'acted_together'"),
    ("partners of several modalities", PairsSource, PartnersPairing, "; the pairing of tables of pairs is 'partners'"),
)

_USUAL_RULES = {"series": "healthy", "rows": "views", "events": "next_action", "pairs": "partners"}
"""Kind of a source whose items have one rule, or one that is always wanted, which need not be written -> that rule."""


class Split(Settings):
    """Which pairs are held out. Pairs that share a text, or were cut from one document, stay on the same side.

    Series are split in time: the first part of each machine's trains, then comes what validates, then what tests, with a window
    between.
    """

    by: Literal["random", "group", "identity", "last_actions", "time"] = "random"
    """`group` keeps whole groups (package, folder, file) together and drops near-duplicates of training texts from the held-out part.
    `identity` keeps all samples of an identity together; with the pairing `identity` it is the default, and an identity on two
    sides is refused, wherever the split comes from. Of events, `last_actions` (their default, where there are users) holds out the last
    action of each user for the test and the one before it for validation; `time` trains on what came before one moment, and measures
    every later action by all that its user did before it."""
    identities: Literal["unseen", "seen"] = "unseen"
    """`seen` lets the pairing `identity` hold out samples of identities that it trains on: for a device that will only ever know
    these. Figures are then of people that the encoder was trained on, and the card says so."""
    validation: Fraction = 0.05
    """Share of the pairs or pictures to stop and to choose by."""
    test: Fraction = 0.1
    """Share of the pairs or pictures for the figures that are reported. Pictures that come with a split keep it; what it lacks,
    validation or test, is drawn from its training pictures."""

    @model_validator(mode="after")
    def _leaves_training_data(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1: nothing would be left to train on")
        return self


class Data(Settings):
    """The user's data: where it is, what is positive, what is held out."""

    source: Source
    """Where the data lies."""
    pairings: tuple[Pairing, ...] = Field(min_length=1)
    """One or more rules; their pairs are mixed. Of series it may be left out, and is then `healthy`; of rows, and is then `views`."""
    split: Split = Split()
    labels_per_class: Count | None = None
    """Pictures: learn from the labels of so many training pictures a class, drawn at random; `null` from all. Only methods that
    learn from labels care."""
    bad_rows: Literal["refuse", "skip"] = "skip"
    """Whether a row or file that cannot be read stops the run; skipped ones are counted and shown either way."""

    @model_validator(mode="before")
    @classmethod
    def _some_have_one_rule(cls, values: object) -> object:
        source = values.get("source") if isinstance(values, Mapping) else None
        rule = _USUAL_RULES.get(str(source.get("kind"))) if isinstance(source, Mapping) else None
        if isinstance(values, Mapping) and rule is not None:
            return {"pairings": [{"kind": rule}], **values}
        return values

    @model_validator(mode="before")
    @classmethod
    def _events_are_split_by_their_order(cls, values: object) -> object:
        source = values.get("source") if isinstance(values, Mapping) else None
        split = values.get("split", {}) if isinstance(values, Mapping) else None
        of_events = isinstance(source, Mapping) and source.get("kind") == "events"
        if isinstance(values, Mapping) and of_events and isinstance(split, Mapping):
            columns = source.get("columns") if isinstance(source, Mapping) else None
            alone = isinstance(columns, Mapping) and "user" in columns and columns["user"] is None
            return {**values, "split": {"by": "time" if alone else "last_actions", **split}}
        return values

    @model_validator(mode="before")
    @classmethod
    def _identities_are_held_out_whole(cls, values: object) -> object:
        if not isinstance(values, Mapping) or not has_identities(values.get("pairings")):
            return values
        split = values.get("split", {})
        if not isinstance(split, Mapping) or split.get("identities") == "seen":
            return values
        return {**values, "split": {"by": "identity", **split}}

    @model_validator(mode="after")
    def _identities_fit(self) -> Self:
        learned = any(isinstance(pairing, IdentityPairing) for pairing in self.pairings)
        if learned and len(self.pairings) > 1:
            raise ValueError("the pairing 'identity' stands alone: leave the other rules out")
        if not learned and self.split.identities == "seen":
            raise ValueError("split.identities is for the pairing 'identity': leave it out")
        if not learned and self.split.by == "identity":
            raise ValueError("split.by identity is for the pairing 'identity': set it to random or group")
        if learned and self.split.by == "random" and self.split.identities == "unseen":
            raise ValueError(
                "split.by is random, so held-out samples would be of identities that were trained on: set it to identity, or set "
                "split.identities to seen if the device will only ever know these"
            )
        return self

    @model_validator(mode="after")
    def _events_fit(self) -> Self:
        ordered = self.split.by in ("last_actions", "time")
        if isinstance(self.source, EventsSource) != ordered:
            raise ValueError(
                f"split.by is {self.split.by}: of events it is last_actions or time, of other items random, group or identity"
            )
        if isinstance(self.source, EventsSource) and self.source.columns.user is None and self.split.by != "time":
            raise ValueError(
                "split.by is last_actions, but source.columns.user is null, so nobody has a last action: set it to time"
            )
        learned = [pairing for pairing in self.pairings if isinstance(pairing, NextActionPairing)]
        if isinstance(self.source, EventsSource) and len(learned) != 1:
            raise ValueError("pairings of events hold the rule 'next_action' once, which is what is ranked by")
        return self

    @model_validator(mode="after")
    def _something_is_measured(self) -> Self:
        if not any(pairing.measure for pairing in self.pairings):
            raise ValueError("no rule in pairings is measured: set measure to true for the one that the model is for")
        return self

    @model_validator(mode="after")
    def _pairings_fit_the_source(self) -> Self:
        rules, hint = next((rules, hint) for _, sources, rules, hint in _OF_ITEMS if isinstance(self.source, sources))
        for pairing in self.pairings:
            fits = isinstance(pairing, rules)
            if not fits:
                items = next(items for items, _, others, _ in _OF_ITEMS if isinstance(pairing, others))
                raise ValueError(
                    f"pairing '{pairing.kind}' is for {items}, but the source is '{self.source.kind}'{hint}"
                )
        if not isinstance(self.source, TableSource) and any(p.kind == "columns" for p in self.pairings):
            raise ValueError(
                f"pairing 'columns' needs a source with columns (jsonl, csv, parquet), not '{self.source.kind}'; "
                "use lead_body, title_body, heading_section or spans"
            )
        return self


def has_identities(pairings: object) -> bool:
    """Whether one of some rules, not yet checked, is that of identities."""
    rules = pairings if isinstance(pairings, (list, tuple)) else ()
    return any(isinstance(rule, Mapping) and rule.get("kind") == "identity" for rule in rules)
