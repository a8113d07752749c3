"""What a recipe would do, in a few lines for a person."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nearfar.recipe.audio import AudioSource
from nearfar.recipe.compress import Step
from nearfar.recipe.data import (
    ColumnsPairing,
    Data,
    DigitsSource,
    DocstringsSource,
    ImagesSource,
    ImageTableSource,
    Source,
    SpansPairing,
)
from nearfar.recipe.distil import Distil
from nearfar.recipe.events import ActedTogetherPairing, EventsSource, NextActionPairing
from nearfar.recipe.events_summary import (
    filters_told,
    items_told,
    pairing_told,
    ranking_told,
    split_told,
    weights_told,
)
from nearfar.recipe.identity import IdentityPairing
from nearfar.recipe.joint import AnyTower, BundleEncoder, PairsSource, PartnersPairing, TextTower
from nearfar.recipe.joint_summary import extras_told, files_told, negatives_told, partners_told
from nearfar.recipe.schema import Recipe
from nearfar.recipe.series import HealthyPairing, SeriesSource
from nearfar.recipe.settings import Settings
from nearfar.recipe.table import RowsSource
from nearfar.recipe.text import (
    HuggingFaceEncoder,
    ModelTokenizer,
    StaticEncoder,
    TeacherTokenizer,
    TextFrontendSettings,
    TrainTokenizer,
    TransformerEncoder,
)

_ITEMS = {"image": "pictures", "audio": "recordings", "series": "windows", "table": "rows", "events": "histories"}


def summarise(recipe: Recipe) -> list[tuple[str, str]]:
    """Rows (what, how) that say what a run of `recipe` would do."""
    of = {
        "text": _of_text,
        "image": _of_images,
        "audio": _of_audio,
        "series": _of_series,
        "table": _of_table,
        "events": _of_events,
        "joint": _of_joint,
    }
    middle = of[recipe.modality](recipe)
    return [
        ("recipe", recipe.name + (f": {recipe.description.strip()}" if recipe.description else "")),
        ("data", _source(recipe.data)),
        (
            "positives",
            "; ".join(_pairing(pairing, rest=_rest(recipe), item=_item(recipe)) for pairing in recipe.data.pairings),
        ),
        ("held out", _split(recipe.data)),
        *middle,
        ("training", _training(recipe)),
        ("evaluation", _evaluation(recipe)),
        ("export", _export(recipe)),
    ]


def _of_text(recipe: Recipe) -> list[tuple[str, str]]:
    return [
        ("text", _frontend(recipe)),
        ("encoder", _encoder(recipe)),
        ("method", _method(recipe)),
        ("negatives", _negatives(recipe)),
    ]


def _of_images(recipe: Recipe) -> list[tuple[str, str]]:
    _, frontend, views, encoder, method = recipe.of_images
    stored = f", prepared at {frontend.store_size}" if frontend.store_size else ""
    pixels = f"{frontend.size} x {frontend.size} pixels{stored}, {frontend.channels} channels, {frontend.fit}"
    return [
        ("pictures", pixels),
        ("views", _keys(views)),
        ("encoder", _kind(encoder)),
        ("method", _kind(method)),
    ]


def _of_audio(recipe: Recipe) -> list[tuple[str, str]]:
    _, frontend, views, encoder, method = recipe.of_audio
    trimmed = "trimmed, " if frontend.trim else ""
    length = f"{trimmed}{frontend.min_seconds:g} to {frontend.max_seconds:g} s at {frontend.rate:,} Hz"
    return [
        ("recordings", f"{length}; {frontend.bands} mel bands every {1000 * frontend.hop:g} ms"),
        ("views", _keys(views)),
        ("encoder", _kind(encoder)),
        ("method", _kind(method)),
    ]


def _of_series(recipe: Recipe) -> list[tuple[str, str]]:
    _, frontend, views, encoder, method, watch = recipe.of_series
    # A permutation of one piece, like anything by 0, changes nothing.
    changes = {key for key, value in views if value != 0 and not (key == "permutation" and value == 1)}
    period = f"{frontend.period:g} s" if frontend.period else "as far apart as the data has them"
    scorers = ", ".join(f"{scorer.by} of {scorer.features}" for scorer in watch.scorers)
    promise = f"{watch.false_alarms_per_day:g} false alarms a day"
    votes = " or ".join(dict.fromkeys("{} of {}".format(*watch.votes(scorer.features)) for scorer in watch.scorers))
    return [
        ("frames", f"{period}; windows of {frontend.window}"),
        ("views", _keys(views, only=changes) or "none"),
        ("encoder", _kind(encoder)),
        ("method", _kind(method)),
        ("alarms", f"{promise}, by {votes} scores; the best of {scorers}"),
    ]


def _of_table(recipe: Recipe) -> list[tuple[str, str]]:
    source, frontend, encoder, method = recipe.of_table
    said = [
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {what}"
        for what, names in (
            ("numbers", source.columns.numbers),
            ("categories", source.columns.categories),
            ("dates", source.columns.dates),
            ("ignored", source.columns.ignore),
        )
        if names
    ]
    columns = "; ".join([*said, "the rest is found out from the cells" if said else "found out from the cells"])
    return [
        ("columns", columns),
        ("numbers", f"{frontend.scale} scale; up to {frontend.most_categories} categories a column"),
        ("encoder", _kind(encoder)),
        ("method", _kind(method)),
    ]


def _of_events(recipe: Recipe) -> list[tuple[str, str]]:
    source, frontend, views, encoder, method, recommend = recipe.of_events
    altered = [("views", _keys(views))] if views.weight else []
    return [
        ("weights", weights_told(source)),
        ("left out", filters_told(source)),
        ("items", items_told(source)),
        ("histories", f"the latest {frontend.length} actions"),
        *altered,
        ("encoder", _kind(encoder)),
        ("method", _kind(method)),
        ("ranking", ranking_told(recommend)),
    ]


def _of_joint(recipe: Recipe) -> list[tuple[str, str]]:
    _, pairing, towers, encoder, method = recipe.of_joint
    return [
        *((f"tower {name}", _tower(tower)) for name, tower in towers.items()),
        ("space", f"{encoder.dim} dimensions" + ("; means taken away" if recipe.export.gap == "centre" else "")),
        ("method", _kind(method)),
        ("negatives", negatives_told(pairing)),
    ]


def _tower(tower: AnyTower) -> str:
    if isinstance(tower.encoder, BundleEncoder):
        return f"{tower.kind}; the encoder of {tower.encoder.path}" + _if_missing(tower.encoder.path)
    views = getattr(tower, "views", None)
    frontend = _text(tower.frontend) if isinstance(tower, TextTower) else _keys(tower.frontend)
    parts = [f"{tower.kind} ({frontend})", _kind(tower.encoder), extras_told(tower)]
    return "; ".join([*filter(None, parts), *([f"views: {_keys(views)}"] if views is not None else [])])


def _kind(block: Settings) -> str:
    kind = str(getattr(block, "kind", "")).replace("_", " ")
    keys = _keys(block)
    return f"{kind} ({keys})" if keys else kind


def _keys(block: Settings, *, only: Collection[str] | None = None) -> str:
    """The keys of a block that are set, or `only` some of these; in brackets those of the blocks in it."""
    parts = []
    for key, value in block:
        if key == "kind" or value is None or (only is not None and key not in only):
            continue
        shown = f"({_keys(value)})" if isinstance(value, Settings) else _plain(value)
        parts.append(f"{key.replace('_', ' ')} {shown}")
    return ", ".join(parts)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _source(data: Data) -> str:
    few = f"; {data.labels_per_class} labels a class" if data.labels_per_class else ""
    return _read_from(data.source) + few


def _read_from(source: Source) -> str:
    if isinstance(source, DigitsSource):
        return "the digits of scikit-learn"
    if isinstance(source, ImageTableSource):
        label = source.columns.label_name or source.columns.label
        named = f"labels in {label}" if label else "without labels"
        return f"pictures in {source.path}, {named}" + _if_missing(source.path)
    if isinstance(source, ImagesSource):
        named = "their folder is their label" if source.labels == "folder" else "without labels"
        return f"pictures in {source.path}, {named}" + _if_missing(source.path)
    if isinstance(source, AudioSource):
        label = "their folder" if source.kind == "audio" and source.labels == "folder" else ""
        label = label or (source.columns.label or "" if source.kind == "audio_table" else "")
        named = f"labels by {label}" if label else "without labels"
        return f"recordings in {source.path}, {named}" + _if_missing(source.path)
    if isinstance(source, DocstringsSource):
        of = ", ".join(str(path) for path in source.paths) or "the standard library and installed packages"
        return f"docstrings of {of}" + (f", at most {source.limit_files:,} files" if source.limit_files else "")
    if isinstance(source, SeriesSource):
        of = {"one": "of one machine", "file": "each file a machine", "folder": "each folder a machine"}[source.machine]
        whose = f"machines in {source.columns.machine}" if source.columns.machine else of
        return f"series in {source.path}, {whose}" + _if_missing(source.path)
    if isinstance(source, RowsSource):
        named = f"labels in {source.columns.label}" if source.columns.label else "without labels"
        return f"rows of {source.path}, {named}" + _if_missing(source.path)
    if isinstance(source, EventsSource):
        whose = f"users in {source.columns.user}" if source.columns.user is not None else "without users"
        return f"events in {source.path}, {whose}" + _if_missing(source.path)
    if isinstance(source, PairsSource):
        absent = [file.path for file in source.files if _if_missing(file.path)]
        return files_told(source) + "".join(f"; {path}{_if_missing(path)}" for path in absent)
    return f"{source.kind} {source.path}" + _if_missing(source.path)


def _if_missing(path: Path) -> str:
    try:
        return "" if path.exists() else " (does not exist yet)"
    except OSError:
        return " (cannot be read)"


def _rest(recipe: Recipe) -> str:
    """What a span must find: the rest of its document, or for a teacher's vectors the whole of it."""
    taught = recipe.modality == "text" and isinstance(method := recipe.of_text.method, Distil) and not method.pairs
    return "their documents" if taught else "the rest"


def _item(recipe: Recipe) -> str:
    return {"table": "row", "audio": "recording"}.get(recipe.modality, "picture")


def _pairing(pairing: object, *, rest: str, item: str) -> str:
    if isinstance(pairing, ColumnsPairing):
        negative = f", negatives in {pairing.negative}" if pairing.negative else ""
        return f"columns {pairing.query} and {pairing.positive}{negative}"
    if isinstance(pairing, SpansPairing):
        return f"spans of {pairing.min_tokens} to {pairing.max_tokens} tokens and {rest}"
    if isinstance(pairing, HealthyPairing):
        return f"two healthy windows of a machine, {100 * pairing.near:g}% of them within {pairing.reach:g} windows"
    if isinstance(pairing, IdentityPairing):
        spread = ", from different sessions" if pairing.session == "other" else ""
        turned = f"; {pairing.turned} turned copies of each are identities too" if pairing.turned > 1 else ""
        return f"{pairing.samples} samples of an identity{spread}{turned}"
    if isinstance(pairing, NextActionPairing | ActedTogetherPairing):
        return pairing_told(pairing)
    if isinstance(pairing, PartnersPairing):
        return partners_told(pairing)
    kind = str(getattr(pairing, "kind", "")).replace("_", " ")
    return f"two views of a {item}" if kind == "views" else kind


def _split(data: Data) -> str:
    if isinstance(data.source, EventsSource):
        return f"{split_told(data.split)}; bad rows: {data.bad_rows}"
    how = "in time" if isinstance(data.source, SeriesSource) else f"by {data.split.by}"
    if isinstance(data.source, PairsSource) and all(file.split is not None for file in data.source.files):
        how = "where the tables do not say which"
    return f"{100 * data.split.validation:g}% to validate, {100 * data.split.test:g}% to test, {how}; bad rows: {data.bad_rows}"


def _frontend(recipe: Recipe) -> str:
    return _text(recipe.of_text.frontend)


def _text(frontend: TextFrontendSettings) -> str:
    tokenizer = frontend.tokenizer
    if isinstance(tokenizer, TrainTokenizer):
        how = f"{tokenizer.model} vocabulary of {tokenizer.vocab_size:,}, learned from the data"
    elif isinstance(tokenizer, ModelTokenizer | TeacherTokenizer):
        whose = "the encoder's own" if isinstance(tokenizer, ModelTokenizer) else "the teacher's"
        how = f"{whose} tokenizer" + (", with the pieces that the data uses" if tokenizer.pieces == "corpus" else "")
    else:
        how = f"tokenizer {tokenizer.path}{_if_missing(tokenizer.path)}"
    return f"{how}; up to {frontend.max_query_tokens} tokens a query, {frontend.max_document_tokens} a document"


def _encoder(recipe: Recipe) -> str:
    encoder = recipe.of_text.encoder
    if isinstance(encoder, HuggingFaceEncoder):
        projection = f", projected to {encoder.projection} dimensions" if encoder.projection else ""
        layers = f", {encoder.layers} of its layers" if encoder.layers else ""
        return f"{encoder.model} ({encoder.pooling} pooling{projection}{layers})"
    shape = f", {encoder.layers} layers, {encoder.heads} heads" if isinstance(encoder, TransformerEncoder) else ""
    taught = isinstance(encoder, StaticEncoder) and encoder.start == "teacher"
    return f"{encoder.kind}, {encoder.output_dim} dimensions{shape}{', starting from the teacher' if taught else ''}"


def _method(recipe: Recipe) -> str:
    method = recipe.of_text.method
    temperature = f"temperature {method.temperature.initial:g}{', learned' if method.temperature.learned else ''}"
    prefixes = f"; prefixes {', '.join(map(str, method.matryoshka))} work on their own" if method.matryoshka else ""
    if isinstance(method, Distil):
        terms = " + ".join(f"{weight:g} {name}" for name, weight in method.weights.items())
        assert recipe.teacher is not None
        return f"distil from {recipe.teacher.model}: {terms}, {temperature}{prefixes}"
    return f"{method.kind.replace('_', ' ')}, {method.towers} towers, {temperature}{prefixes}"


def _negatives(recipe: Recipe) -> str:
    negatives, method = recipe.negatives, recipe.of_text.method
    if isinstance(method, Distil) and not method.pairs:
        others = f"all documents, at most {method.candidates:,} a step" if method.corpus else "the others of the batch"
        return f"{others}; not what is nearly the same (cosine from {method.same:g} for the teacher)"
    queue, bank, mined = negatives.queue, negatives.bank, negatives.mined
    given = any(isinstance(pairing, ColumnsPairing) and pairing.negative for pairing in recipe.data.pairings)
    parts = ["the other pairs of the batch" + (", and those given" if given else "")]
    if queue is not None:
        by = "the model" if queue.momentum is None else f"a momentum encoder ({queue.momentum:g})"
        parts.append(f"a queue of {queue.size:,} documents by {by}, from {100 * queue.start:g}% of the steps")
    if bank is not None:
        taken = "all of" if bank.sample is None else f"{bank.sample:,} of"
        parts.append(f"{taken} a bank (momentum {bank.momentum:g}), from {100 * bank.start:g}%")
    if mined is not None:
        again = f", again every {mined.every:,} steps" if mined.every else ""
        parts.append(
            f"{mined.per_query} a query mined by {mined.by} from its {mined.depth:,} nearest{again}, from {100 * mined.start:g}%"
        )
    if negatives.margin is not None:
        parts.append(f"not what is nearer than the positive by more than {negatives.margin:g}")
    parts += [f"{name} {value:g}" for name in ("debias", "hardness") if (value := getattr(negatives, name))]
    return "; ".join(parts)


def _training(recipe: Recipe) -> str:
    train, items = recipe.train, _ITEMS.get(recipe.modality, "pairs")
    steps = f" or {train.max_steps:,} steps" if train.max_steps else ""
    parts = [
        f"{train.epochs:g} epochs{steps}",
        f"{train.batch_size:,} {items} a step" + (f", {train.chunk:,} at a time" if train.chunk else ""),
        f"learning rate {train.learning_rate:g} ({train.optimiser}, {train.decay})",
        f"{train.accelerator} ({train.precision})" + (f", {train.devices} devices" if train.devices > 1 else ""),
        f"seed {recipe.seed}",
    ]
    stop = train.early_stop
    ends = f"; stops after {stop.patience} validations without a better {stop.metric}" if stop else ""
    return ", ".join(parts) + ends


def _evaluation(recipe: Recipe) -> str:
    beside = f"beside {' and '.join(recipe.evaluate.baselines)}" if recipe.evaluate.baselines else "without a baseline"
    return f"{beside}; intervals from {recipe.evaluate.bootstrap:,} resamples"


def _step(step: Step) -> str:
    value = next((v for name in ("format", "dim", "rank", "keep") if (v := getattr(step, name, None)) is not None), "")
    return f"{step.kind} {value}".strip()


def _export(recipe: Recipe) -> str:
    if recipe.compress is not None:
        steps = ", then ".join(_step(step) for step in recipe.compress.steps) or "nothing"
        return f"{steps}; what costs more than {100 * recipe.compress.limit:g}% is left out"
    numbers = "int8 weights" if recipe.export.quantise == "int8" else "float32 weights"
    return numbers + (f", first {recipe.export.dim} dimensions" if recipe.export.dim else "")
