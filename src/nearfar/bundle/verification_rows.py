"""What a person wants to know of how a bundle tells identities apart, as rows."""

from __future__ import annotations

from nearfar.bundle.block import Metric
from nearfar.bundle.verification_record import VerificationRecord

_TRIALS_OF = {"validation": "people held out of training", "own": "your own people (nearfar calibrate)"}
_SEEN = "samples held out of training"


def verification_rows(record: VerificationRecord) -> list[tuple[str, str]]:
    """Return (key, value) rows in reading order."""
    unit = "" if record.cohort is None else " deviations above a cohort of strangers (AS-norm)"
    rows = [
        ("template", f"{record.components} bytes, of {record.samples} samples"),
        (
            "match from",
            "not set: nearfar calibrate sets it by your own people"
            if record.threshold is None
            else f"a score of {record.threshold:.4f}{unit}",
        ),
    ]
    if record.threshold is None:
        return [*rows, ("target FMR", share(record.fmr))]
    rows.append(("chosen for", f"FMR {share(record.fmr)} or less, with {share(record.confidence)} confidence"))
    by = _SEEN if record.seen and record.trials_of == "validation" else _TRIALS_OF[record.trials_of]
    seen = "; the encoder was trained on these identities, so the figures flatter" if record.seen else ""
    rows.append(
        (
            "chosen by",
            f"{by}: {record.identities:,} identities, {record.genuine:,} genuine and {record.impostor:,} "
            f"impostor trials{seen}",
        )
    )
    if record.realised_fmr is not None:
        rows.append(("false matches", f"{_rate(record.realised_fmr)} of those impostor trials"))
    if record.realised_fnmr is not None:
        rows.append(("false non-matches", f"{_rate(record.realised_fnmr)} of those genuine trials"))
    return rows


def share(value: float) -> str:
    """A share for people: in percent, as 0.1 % or 0.05 %; never rounded to 0."""
    return f"{100 * value:.3g} %"


def _rate(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return share(metric.value)
    return f"{share(metric.value)} [{share(metric.low)}, {share(metric.high)}]"
