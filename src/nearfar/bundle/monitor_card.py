"""What the card of a monitor says that no other bundle's does."""

from __future__ import annotations

import json
from itertools import islice

from nearfar.bundle.block import Metric
from nearfar.bundle.manifest import Manifest
from nearfar.bundle.monitor_record import DetectorRecord
from nearfar.frontend.settings import SeriesSettings

_BY = {
    "centroid": "the healthy mean",
    "mahalanobis": "the healthy mean, in units of the healthy covariance",
    "prototypes": "the nearest of some healthy prototypes, in units of the healthy covariance",
    "knn": "the nearest healthy examples, in units of the healthy covariance",
}
_TAILS = {
    "conformal": "an order statistic of the highest scores of healthy blocks",
    "gpd": "the highest scores of healthy blocks, extended by a generalised Pareto tail because there were too few for the promise",
    "fleet": "the machine's own first scores and what later healthy scores of other machines were against theirs: there was too "
    "little data for a promise a day",
    "given": "the user",
}
FIGURES = {
    "fault_auc_pr": "area under the precision-recall curve over frames with injected faults, the mean of machines and draws",
    "false_alarms_per_day": "alarms on healthy data that nothing was fitted to, with an exact interval",
}
OF_SEVERAL = (
    " `fault_auc_pr` is that of monitors that were fitted to each machine for itself, as `nearfar calibrate` does it; this bundle takes all "
    "machines of its data for one, which finds less where they differ."
)
ALL_SHOWN = 30


def what(manifest: Manifest, frontend: SeriesSettings) -> str:
    """The first paragraph, without the title."""
    record = manifest.detector
    channels = f"{len(frontend.channels)} channels ({', '.join(c.name for c in frontend.channels[:12])}{', ...' if len(frontend.channels) > 12 else ''})"
    frames = f"frames of {frontend.period:g} s"
    if record is None:
        return f"An encoder of sensor data: {frontend.window} {frames} of {channels} to {manifest.dim} dimensions, compared by distance."
    return (
        f"A monitor of a machine: it learned what is normal of {channels} and raises an alarm where the machine is not. It sees {frames} "
        f"and scores {scored(record, frontend)} by its distance from {_BY[record.by]}."
    )


def scored(record: DetectorRecord, frontend: SeriesSettings) -> str:
    """What is scored, in words."""
    if record.features == "raw":
        return f"the mean of the last {record.smooth} frames"
    return f"what its encoder makes of the last {frontend.window} frames"


def use(frontend: SeriesSettings) -> str:
    """The section on how to run it."""
    some = {channel.name: float(f"{channel.centre[0]:.4g}") for channel in frontend.channels if not channel.bands}
    sample = json.dumps(dict(islice(some.items(), 2)) or {frontend.channels[0].name: 0.0}, ensure_ascii=False)
    return f"""## Use

`BUNDLE` is this folder.

```bash
nearfar monitor BUNDLE --from live.csv --follow
nearfar replay BUNDLE yesterday.csv -o yesterday.html
nearfar calibrate BUNDLE healthy.csv -o other-machine   # the same kind of machine, another one
```

```python
from nearfar.edge import Monitor

monitor = Monitor.open("BUNDLE")
alarm = monitor.update({sample}, times=1_700_000_000.0)  # one sample of some channels
```"""


def promise(manifest: Manifest) -> list[str]:
    """The section on alarms: how the way to score was chosen, and what is promised."""
    record = manifest.detector
    if record is None:
        return []
    blocks = f" ({record.blocks:,} blocks of {record.block:g} seconds)" if promises(record) else ""
    broken = broken_promise(record)
    lines = [
        "## Alarms",
        *([f"**Not kept when it was tried: {broken}.**"] if broken else []),
        f"{promised(record)} The threshold, {record.threshold:.4g}, comes from {_TAILS[record.tail]}{blocks}. {_realised(record)} An alarm "
        f"needs {record.needed} of {record.out_of} scores above it. Where the machine, its load or its surroundings change, "
        f"{'no such promise holds' if promises(record) else 'expect more'}: the monitor says when it sees drift.",
    ]
    if record.trials:
        table = ["| scored | by | frames | AUC-PR of injected faults |", "|---|---|---|---|"]
        table += [
            f"| {trial.features} | {trial.by} | {trial.smooth if trial.features == 'raw' else ''} | {trial.auc_pr.value:.3f} "
            f"[{trial.auc_pr.low or 0:.3f}, {trial.auc_pr.high or 0:.3f}] |"
            for trial in record.trials
        ]
        lines += [
            *([record.remark] if record.remark else []),
            f"How to score was chosen{' when it was trained, or since,' if manifest.provenance.parent else ''} by faults injected into "
            f"healthy data that nothing was fitted to. The first ships{_among(record)}.",
            "\n".join(table),
        ]
    return ["\n\n".join(lines)]


def promises(record: DetectorRecord) -> bool:
    """Whether the threshold was found by the number of false alarms a day that was asked for."""
    return record.tail in ("conformal", "gpd")


def promised(record: DetectorRecord) -> str:
    """What is promised, as a sentence."""
    asked = f"{record.false_alarms_per_day:g} false alarm{'' if record.false_alarms_per_day == 1 else 's'} a day"
    if promises(record):
        return f"At most {asked} on average is promised."
    return f"No number of false alarms a day is promised; {asked} was asked for."


def broken_promise(record: DetectorRecord) -> str | None:
    """What to say where later healthy data surely raised more alarms than were asked for, by the exact interval; None where not."""
    found = record.realised_per_day
    if found is None or (found.low or 0) <= record.false_alarms_per_day:
        return None
    asked = "promised" if promises(record) else "asked for"
    return (
        f"{asked} at most {record.false_alarms_per_day:g} false alarm{'' if record.false_alarms_per_day == 1 else 's'} a day, but there "
        f"were {_interval(found)} a day on later healthy data: record more healthy days, with all that the machine does, or allow more"
    )


def channels(frontend: SeriesSettings) -> str:
    """The section with what is normal of each channel."""
    rows = ["## Channels", "", "| channel | unit | healthy range | samples a second |", "|---|---|---|---|"]
    for channel in frontend.channels[:ALL_SHOWN]:
        between = (
            ""
            if channel.lowest is None or channel.highest is None
            else f"{channel.lowest:.6g} to {channel.highest:.6g}"
        )
        rate = "" if channel.rate is None else f"{channel.rate:g}, as a spectrum of {len(channel.bands)} bands"
        rows.append(f"| {channel.name} | {channel.unit} | {between} | {rate} |")
    if len(frontend.channels) > ALL_SHOWN:
        rows.append(f"| and {len(frontend.channels) - ALL_SHOWN} more | | | |")
    return "\n".join(rows)


def channel_rows(frontend: SeriesSettings) -> list[tuple[str, str]]:
    """Frames and channels, for `nearfar inspect`."""
    rows = [("frames", f"one every {frontend.period:g} s, {frontend.window} a window")]
    for channel in frontend.channels:
        unit = f" {channel.unit}" if channel.unit else ""
        known = channel.lowest is not None and channel.highest is not None
        healthy = (
            f"healthy from {channel.lowest:.6g} to {channel.highest:.6g}{unit}"
            if known
            else f"in{unit}"
            if unit
            else ""
        )
        fast = f"{channel.rate:g} samples a second in {len(channel.bands)} bands" if channel.rate else ""
        rows.append((f"channel {channel.name}", ", ".join(part for part in (healthy, fast) if part) or "one"))
    return rows


def detector_rows(record: DetectorRecord, frontend: SeriesSettings) -> list[tuple[str, str]]:
    """When it alarms, for `nearfar inspect`."""
    blocks = f", {record.blocks:,} blocks of {record.block:g} s" if promises(record) else ""
    rows = [
        ("scores", f"{scored(record, frontend)}: {record.by}"),
        (
            "alarms above",
            f"{record.threshold:.4g} ({record.tail}{blocks}), {record.needed} of {record.out_of} scores",
        ),
        ("promised", promised(record)),
    ]
    if record.realised_per_day is not None:
        rows.append(("realised", _realised(record)))
    if broken := broken_promise(record):
        rows.append(("not kept", broken))
    return rows


LIMITS = """## Limits and intended use

- Meant for the machine whose healthy data it saw. For another one of its kind, fit it with `nearfar calibrate`; for another kind, train.
- What is called normal is what that data held: an operating point that it did not hold raises an alarm, a fault that it held does not.
- A score is a distance, no probability; a p-value speaks of blocks of healthy data like that at calibration.
- It finds that something has changed and in which channels, not what is broken. Do not let it alone switch off what people depend on."""


def _among(record: DetectorRecord) -> str:
    """What the encoder, or plain means, had to be better than."""
    kinds = {trial.features for trial in record.trials}
    if kinds == {"raw"}:
        return "; no encoder was among the candidates"
    if kinds == {"embedding"}:
        return "; plain means, without an encoder, were not among the candidates"
    return "; the encoder only where it surely beats plain means"


def why_none(record: DetectorRecord) -> str:
    """Why there is no encoder, to be put after the word none."""
    if any(trial.features == "embedding" for trial in record.trials):
        return ": plain means were as good"
    return f". {record.remark}" if record.remark else ""


def _rate(number: float) -> str:
    return f"{number:.3g}" if number < 1000 else f"{number:,.0f}"


def _realised(record: DetectorRecord) -> str:
    found = record.realised_per_day
    if found is None:
        return "No healthy data was left to count them on."
    return f"On healthy data that came after all this was fitted there were {_interval(found)} a day."


def _interval(found: Metric) -> str:
    low, high = (0.0 if end is None else end for end in (found.low, found.high))
    return f"{_rate(found.value)} [{_rate(low)}, {_rate(high)}]"
