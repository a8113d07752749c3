"""`nearfar calibrate` of a bundle that tells identities apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.edge.verify.samples import SampleColumns


def calibrate_people(
    bundle: Bundle,
    data: Path,
    output: Path,
    columns: SampleColumns,
    *,
    fmr: float | None,
    confidence: float | None,
    samples: int | None,
    seed: int,
) -> None:
    """Choose the threshold by one's own people, write the new bundle, and say what it promises."""
    from nearfar.bundle.verification_rows import verification_rows
    from nearfar.cli.console import notes, out, pairs_table, progress_lines, show_skipped
    from nearfar.edge.verify.calibrate import calibrate_identity
    from nearfar.edge.verify.samples import SampleSource

    source = SampleSource(bundle.manifest.frontend, data, columns)
    with progress_lines() as stages:
        made = calibrate_identity(
            bundle,
            source.samples(),
            output,
            fmr=fmr,
            confidence=confidence,
            of=samples,
            seed=seed,
            stages=stages,
        )
    show_skipped(source.report.skipped, source.report.examples)
    show_skipped(made.refused.skipped, made.refused.examples)
    if source.trained_on:
        notes.print(
            f"note: {source.trained_on:,} samples of the split train were left out: encoders know those too well",
            soft_wrap=True,
        )
    out.print(pairs_table([("bundle", str(made.bundle.path)), *verification_rows(made.record)]))
    for warning in made.threshold.warnings:
        notes.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
