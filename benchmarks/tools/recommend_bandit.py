"""The part of benchmarks/recommend.py on Open Bandit: what a ranker would have earned on a log that showed items at random."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.scorer import Scorer
from nearfar.evaluate.off_policy import OffPolicyValue, off_policy_value, share_of_shown
from nearfar.progress import Stages
from tools.identity_trainings import trained
from tools.recommend_ranking import keep_value
from tools.text_state import State

CAMPAIGNS = ("men", "women")
FEATURES = tuple(f"user_feature_{number}" for number in range(4))
CONTEXT = ("position", *FEATURES, "liked")
MIDDLE = datetime(2019, 11, 28, tzinfo=UTC).isoformat(" ")
"""The log that is learned from ends here (it is one week), and that which is estimated on begins."""

RECIPE = f"""\
name: bandit
data:
  source:
    kind: events
    path: bandit.parquet
    columns: {{user: null, item: item, timestamp: timestamp, action: action, propensity: propensity, context: [{", ".join(CONTEXT)}]}}
    weights: {{actions: {{click: 1.0, shown: 0.0}}}}
    filters: {{least_of_item: 1, repeat: 0.0}}
  split: {{by: time, validation: 0.2, test: 0.1}}
frontend: {{kind: events, length: 1}}
encoder: {{kind: decayed_average, dim: 16}}
method: {{kind: next_action, loss: softmax}}
train: {{max_steps: 300}}
"""


def measure_bandit(
    data: Path, work: Path, state: State, stages: Stages, changes: Sequence[str], *, quick: bool
) -> None:
    """Learn from what one policy showed and what was clicked of it; estimate on what another showed at random.

    Args:
        data: folder with `open_bandit`.
        work: for logs and runs.
        state: where figures are kept.
        stages: told what is being done.
        changes: of the recipe.
        quick: few steps.
    """
    work.mkdir(parents=True, exist_ok=True)
    recipe = work / "bandit.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    clicks: list[npt.NDArray[np.float64]] = []
    propensities: list[npt.NDArray[np.float64]] = []
    shares: dict[str, list[npt.NDArray[np.float64]]] = {}
    for campaign in CAMPAIGNS:
        rows = flat(pq.read_table(data / "open_bandit" / f"{campaign}_impressions.parquet").to_pylist())
        log = work / f"{campaign}.parquet"
        learned = [row for row in rows if row["policy"] == "bts" and row["timestamp"] < MIDDLE]
        pq.write_table(pa.Table.from_pylist(learned), log)
        _, bundle = trained(str(recipe.resolve()), log, work / campaign, stages, changes=changes, quick=quick)
        asked = [row for row in rows if row["policy"] == "random" and row["timestamp"] >= MIDDLE]
        stages(f"{campaign}: scoring {len(asked):,} impressions")
        catalogue = Catalogue.open(bundle)
        shown = catalogue.numbers_of(row["item"] for row in asked)
        clicks.append(np.array([row["action"] == "click" for row in asked], dtype=np.float64))
        propensities.append(np.array([row["propensity"] for row in asked], dtype=np.float64))
        for name, scores in _scores(Scorer(bundle, catalogue), asked, learned).items():
            shares.setdefault(f"{name}_first", []).append(share_of_shown(scores, shown))
            shares.setdefault(f"{name}_drawn", []).append(share_of_shown(scores, shown, temperature=1.0))
    rewards, chances = np.concatenate(clicks), np.concatenate(propensities)
    for name, of in shares.items():
        _keep(state, name, off_policy_value(rewards, chances, np.concatenate(of)))
    keep_value(state, "bandit", "bandit_clicks", float(rewards.sum()))
    keep_value(state, "bandit", "bandit_impressions", float(len(rewards)))


def flat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Impressions as rows of a log: lists become columns.

    `liked` is the item that the user had clicked most before, by the set's own count (`affinity`).
    """
    found = []
    for row in rows:
        affinity = row["affinity"]
        liked = f"item {int(np.argmax(affinity))}" if any(affinity) else "none"
        features = dict(zip(FEATURES, (text[:8] for text in row["user_features"]), strict=True))
        found.append(
            {
                "policy": row["policy"],
                "item": str(row["item_id"]),
                "timestamp": row["timestamp"],
                "action": "click" if row["click"] else "shown",
                "propensity": row["propensity"],
                "position": str(row["position"]),
                "liked": liked,
                **features,
            }
        )
    return found


def _scores(
    scorer: Scorer, asked: Sequence[dict[str, Any]], learned: Sequence[dict[str, Any]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Scores (rows, items) of the ranker, and the log of clicks by item, one added, which needs no context."""
    nobody = scorer.new_profile()
    ranker = np.stack(
        [scorer.scores(nobody, _seconds(row["timestamp"]), {key: row[key] for key in CONTEXT}) for row in asked]
    )
    clicked = np.ones(ranker.shape[1])
    for row in learned:
        number = scorer.catalogue.number_of(row["item"])
        if row["action"] == "click" and number is not None:
            clicked[number] += 1.0
    return {"ranker": ranker, "clicked_most": np.tile(np.log(clicked), (len(asked), 1)).astype(np.float32)}


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _keep(state: State, name: str, value: OffPolicyValue) -> None:
    for kind, of in (("ips", value.ips), ("snips", value.snips)):
        keep_value(state, "bandit", f"{kind}_click_rate_{name}", of)
    keep_value(state, "bandit", "click_rate_random", value.logged)
    keep_value(state, "bandit", f"bandit_effective_rows_{name}", value.effective)
