"""What a bundle's manifest says of the negatives that its model was trained with."""

from __future__ import annotations

from typing import Any

from nearfar.recipe.data import ColumnsPairing
from nearfar.recipe.distil import Distil
from nearfar.recipe.schema import Recipe

_OF_IMAGES = ("temperature", "queue", "dense_queue", "prototypes", "momentum", "sample")
_WITHOUT_NEGATIVES = ("byol", "simsiam", "barlow_twins", "vicreg", "classifier")


def policy_of(recipe: Recipe) -> dict[str, Any]:
    """What counted as negative, and what never did: plain values, for JSON.

    Returns:
        `sources`: for each in use its numbers; `mining`: the rule, or None; `ignored`: in words, what was left out of every
        source; `margin`, `debias` and `hardness` as in the recipe.
    """
    if recipe.modality in ("image", "audio"):
        return _policy_of_views(recipe)
    if recipe.modality == "series":
        return _policy_of_series(recipe)
    if recipe.modality == "table":
        return _policy_of_rows(recipe)
    if recipe.modality == "events":
        return _policy_of_events(recipe)
    if recipe.modality == "joint":
        return _policy_of_towers(recipe)
    negatives, method = recipe.negatives, recipe.of_text.method
    sources: dict[str, dict[str, Any]] = {"batch": {"pairs": recipe.train.batch_size}}
    if isinstance(method, Distil) and method.corpus:
        sources["corpus"] = {"embedded_by": "teacher", "documents": method.candidates}
    columns = [p.negative for p in recipe.data.pairings if isinstance(p, ColumnsPairing) and p.negative]
    if columns:
        sources["explicit"] = {"columns": columns}
    if negatives.queue is not None:
        by = "model" if negatives.queue.momentum is None else "momentum encoder"
        sources["queue"] = {"embedded_by": by, **negatives.queue.model_dump(mode="json")}
    if negatives.bank is not None:
        sources["bank"] = negatives.bank.model_dump(mode="json")
    if negatives.mined is not None:
        sources["mined"] = {"per_query": negatives.mined.per_query, "start": negatives.mined.start}
    ignored = [
        "equal texts of a positive",
        "other positives of the query",
        "positives of queries that share a text with it",
    ]
    if isinstance(method, Distil):
        if not method.pairs:
            ignored = ["other positives of the query"]
        ignored.append(f"nearly the same as its positive (cosine for the teacher from {method.same:g})")
    if negatives.margin is not None:
        ignored.append(f"more similar to the query than its positive by more than {negatives.margin:g} (cosine)")
    return {
        "sources": sources,
        "mining": _mining(recipe),
        "ignored": ignored,
        "margin": negatives.margin,
        "debias": negatives.debias,
        "hardness": negatives.hardness,
    }


def _policy_of_views(recipe: Recipe) -> dict[str, Any]:
    """What a method for pictures and recordings compares with is its own; its keys say how much of it."""
    item = "picture" if recipe.modality == "image" else "recording"
    method = recipe.method.model_dump(mode="json")
    own = {key: value for key, value in method.items() if key in _OF_IMAGES and value is not None}
    without = method["kind"] in _WITHOUT_NEGATIVES
    ignored = "samples of its identity" if recipe.identity is not None else f"the {item} itself"
    return {
        "sources": {} if without else {method["kind"]: {f"{item}s": recipe.train.batch_size, **own}},
        "mining": None,
        "ignored": [] if without else [ignored],
        "margin": None,
        "debias": 0.0,
        "hardness": 0.0,
    }


def _policy_of_series(recipe: Recipe) -> dict[str, Any]:
    """Only faults that were made are negative."""
    method = recipe.of_series.method
    of = {"machine": "its machine", "batch": "all machines of the batch"}[method.negatives]
    faults = {"kinds": ", ".join(method.faults.kinds), "strength": list(method.faults.strength)}
    return {
        "sources": {"synthetic_faults": {"per_window": method.per_window, "of": of, **faults}},
        "mining": None,
        "ignored": ["other healthy windows"],
        "margin": None,
        "debias": 0.0,
        "hardness": 0.0,
    }


def _policy_of_rows(recipe: Recipe) -> dict[str, Any]:
    """All other rows of the batch are negative."""
    return {
        "sources": {"batch": {"rows": recipe.train.batch_size, "temperature": recipe.of_table.method.temperature}},
        "mining": None,
        "ignored": ["the row itself"],
        "margin": None,
        "debias": 0.0,
        "hardness": 0.0,
    }


def _policy_of_events(recipe: Recipe) -> dict[str, Any]:
    """Other items are negative: all of them, or those drawn; and what was shown without being acted on."""
    method = recipe.of_events.method
    drawn = {"negatives": method.negatives, "popular": method.popular}
    numbers: dict[str, dict[str, Any]] = {
        "auto": {"up_to": 50_000, "above_that": f"{method.negatives} drawn"},
        "softmax": {},
        "sampled_softmax": drawn,
        "in_batch": {"histories": recipe.train.batch_size},
        "gbce": {**drawn, "calibration": method.calibration},
        "bce": {"negatives": 1},
    }
    sources = {"items": {"loss": method.loss, **numbers[method.loss]}}
    if method.impressions:
        sources["impressions"] = {"weight": method.impressions, "propensity_floor": method.propensity_floor}
    return {
        "sources": sources,
        "mining": None,
        "ignored": ["items that come next in the history", "items that were acted on before"],
        "margin": None,
        "debias": 0.0,
        "hardness": 0.0,
    }


def _policy_of_towers(recipe: Recipe) -> dict[str, Any]:
    """The other pairs of a kind are negative, but for those that are of the same thing."""
    _, pairing, _, _, method = recipe.of_joint
    ignored = ["equal items", "items of the same row", "items of one label"]
    if pairing.similar is not None:
        ignored.append(f"items whose texts are nearly the same (cosine of letter trigrams from {pairing.similar:g})")
    batch = {"pairs": recipe.train.batch_size, "temperature": method.temperature.initial}
    hard = method.hard
    mining = None
    if hard is not None:
        left_out = [f"the nearest {hard.skip} that are no partners"] if hard.skip else []
        mining = {
            "by": "model",
            **hard.model_dump(mode="json"),
            "from": "training items",
            "left_out": ["partners", *left_out],
        }
    return {
        "sources": {"batch": batch},
        "mining": mining,
        "ignored": ignored,
        "margin": None,
        "debias": 0.0,
        "hardness": 0.0,
    }


def _mining(recipe: Recipe) -> dict[str, Any] | None:
    mined = recipe.negatives.mined
    if mined is None:
        return None
    left_out = ["positives of the query", "positives of queries that share a text with it"]
    if mined.skip:
        left_out.append(f"the nearest {mined.skip} of the rest")
    if mined.margin is not None:
        left_out.append(f"nearer than the positive by more than {mined.margin:g} (cosine)")
    rule = mined.model_dump(mode="json", exclude={"per_query", "start"})
    return {**rule, "from": "training documents", "left_out": left_out}


def in_words(policy: dict[str, Any]) -> tuple[str, str]:
    """A policy as two lines for people: the sources with what was ignored, and how negatives were mined.

    Args:
        policy: what `policy_of` returns.
    """
    sources = "; ".join(_with_numbers(name, numbers) for name, numbers in policy["sources"].items())
    rules = [_with_numbers(name, {}) + f" {policy[name]:g}" for name in ("debias", "hardness") if policy[name]]
    left = ["never counted: " + ", ".join(policy["ignored"])] if policy["ignored"] else []
    negatives = "; ".join([sources or "none", *rules, *left])
    if policy["mining"] is None:
        return negatives, "none"
    rule = {name: value for name, value in policy["mining"].items() if name not in ("by", "from", "left_out", "margin")}
    left_out = ", ".join(policy["mining"]["left_out"])
    return negatives, f"{_with_numbers('by ' + policy['mining']['by'], rule)}; left out: {left_out}"


def _with_numbers(name: str, numbers: dict[str, Any]) -> str:
    given = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in numbers.items() if value is not None)
    return f"{name} ({given})" if given else name
