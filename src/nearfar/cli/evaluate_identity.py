"""What `nearfar evaluate` does with a bundle that tells identities apart: error rates, and what attacks do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from nearfar.bundle import Bundle
    from nearfar.bundle.block import Metric
    from nearfar.edge.verify.samples import SampleColumns
    from nearfar.road.evaluate_identity import IdentityReport


def evaluate_people(
    bundle: Bundle,
    data: Path,
    columns: SampleColumns,
    *,
    samples: int | None = None,
    threshold: float | None = None,
    attacks: bool = True,
    plot: Path | None = None,
    json_output: Path | None = None,
) -> None:
    """Measure a bundle on people of one's own, print error rates and attacks, and draw or write them if asked to."""
    from nearfar.cli.console import notes, out, progress_lines, show_skipped
    from nearfar.cli.result_file import write_figures
    from nearfar.edge.verify.samples import SampleSource
    from nearfar.evaluate.verification import det_curve
    from nearfar.road.det_plot import check_plot, write_det
    from nearfar.road.evaluate_identity import evaluate_identity

    check_plot(plot)
    source = SampleSource(bundle.manifest.frontend, data, columns)
    with progress_lines() as stages:
        report = evaluate_identity(
            bundle, source.samples(), of=samples, threshold=threshold, attacks=attacks, stages=stages
        )
    for read in (source.report, report.refused):
        show_skipped(read.skipped, read.examples)
    if source.trained_on:
        notes.print(f"note: {source.trained_on:,} samples of the split train were left out", soft_wrap=True)
    out.print(_rates(report))
    out.print(f"\n{_in_words(bundle, report)}", soft_wrap=True, markup=False)
    if "attacks" in report.metrics:
        at = report.metrics["attacks"]["threshold"].value
        of = "" if report.threshold is not None else ", which lets 1 % of these strangers pass"
        out.print(f"\nattacks, at the threshold {at:.4g}{of}:", soft_wrap=True)
        out.print(attacks_table(report.metrics["attacks"]))
    if any(row.startswith("group ") for row in report.metrics):
        out.print()
        out.print(_groups(report))
    if plot is not None:
        curves = {row: det_curve(trials) for row, trials in report.trials.items()}
        write_det(curves, plot, bundle.manifest.name, threshold=report.threshold)
        out.print(f"\ndrawn: {plot}", soft_wrap=True, markup=False)
    if json_output is not None:
        write_figures(json_output, as_record(report))


def as_record(report: IdentityReport) -> dict[str, object]:
    """All figures as JSON takes them."""
    trials = report.trials["bundle"]
    return {
        "identities": report.identities,
        "samples": report.samples,
        "genuine": len(trials.genuine),
        "impostor": len(trials.impostor),
        "threshold": report.threshold,
        **{
            row: {name: metric.model_dump(mode="json") for name, metric in figures.items()}
            for row, figures in report.metrics.items()
        },
    }


def attacks_table(figures: Mapping[str, Metric]) -> Table:
    """A row for each attack, what it should be compared with in brackets."""
    table = _plain("attack", "")
    for name, cell in _attacks({name: _cell(name, metric) for name, metric in figures.items()}):
        table.add_row(name, cell)
    return table


def _attacks(of: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and cells of the attacks that were made, of figures as text."""
    if "unlinkability" in of:
        chance = f"by chance {of['unlinkability_null']}, 19 of 20 times below {of['unlinkability_null_95']}"
        yield (
            "templates linked, D_sys",
            f"{of['unlinkability']} ({chance}; one key for all {of['unlinkability_one_key']})",
        )
        yield "key stolen, EER", f"{of['stolen_key_eer']} (with keys of their own only {of['own_key_eer']})"
        yield "template and key stolen", f"{of['inversion_rematch']} of inverted templates match plain embeddings"
        yield (
            "the same after renewal",
            (
                f"{of['inversion_after_renewal']} match if fed in behind the sensor, {of['stolen_template_after_renewal']} as they are"
            ),
        )
    for name, what in (("pgd_success", "changed to pass"), ("pgd_evasion", "changed to be refused")):
        if name in of:
            others = f"by chance {of[name + '_noise']}, float model {of[name + '_model']}"
            yield f"samples {what}", f"{of[name]} (changes of {of['pgd_eps']}; {others})"
    for name, what in _NOISES.items():
        if name in of:
            yield f"noise {what}, FNMR", of[name]
    if "attribute_accuracy" in of:
        yield "attribute read", f"{of['attribute_accuracy']} (always saying the same {of['attribute_base']})"
    for name, what in (("fmr", "FMR"), ("fnmr", "FNMR")):
        if f"{name}_group_max_ratio" in of:
            yield f"worst group, {what}", f"{of[f'{name}_group_max_ratio']} times the mean of groups"


_NOISES = {
    "fnmr_snr_20": "20 dB below",
    "fnmr_snr_10": "10 dB below",
    "fnmr_snr_0": "as loud",
    "fnmr_noise_05": "of 0.05",
    "fnmr_noise_10": "of 0.1",
    "fnmr_noise_20": "of 0.2",
}


def _rates(report: IdentityReport) -> Table:
    """A row for each error rate, the bundle beside what it should be better than."""
    from nearfar.bundle.verification_card import FIGURES
    from nearfar.cli.console import row_name

    rows = {row: report.metrics[row] for row in ("bundle", "pixels", "spectrum") if row in report.metrics}
    table = _plain("", *[row_name(row) for row in rows])
    for name in FIGURES:
        if any(name in figures for figures in rows.values()):
            table.add_row(_SHORT[name], *[_rate(figures.get(name)) for figures in rows.values()])
    return table


_SHORT = {
    "eer": "EER",
    "fmr100": "FNMR at FMR 1 %",
    "fmr1000": "FNMR at FMR 0.1 %",
    "fmr10000": "FNMR at FMR 0.01 %",
    "fmr": "FMR at the threshold",
    "fnmr": "FNMR at the threshold",
    "eer_same_session": "EER within a session",
    "eer_other_session": "EER across sessions",
    "one_shot_20": "20-way one-shot right",
    "one_shot_5": "5-way one-shot right",
}


def _groups(report: IdentityReport) -> Table:
    table = _plain("group", "identities", "FMR", "FNMR")
    for row, figures in report.metrics.items():
        if row.startswith("group "):
            count = f"{figures['identities'].value:.0f}"
            table.add_row(row.removeprefix("group "), count, _rate(figures["fmr"]), _rate(figures["fnmr"]))
    return table


def _in_words(bundle: Bundle, report: IdentityReport) -> str:
    """How much the figures are worth."""
    trials, record = report.trials["bundle"], bundle.manifest.verification
    lines = [
        f"{report.identities:,} identities, each enrolled three times by {report.samples} samples: {len(trials.genuine):,} genuine and "
        f"{len(trials.impostor):,} impostor trials; intervals are over identities drawn anew"
    ]
    if report.identities < 20:
        lines.append("of so few identities intervals are too narrow: take them for the least that is uncertain")
    if not report.sessions:
        lines.append(
            "nothing says which samples were taken in one go: if all of an identity were, the figures are better than life will be"
        )
    if report.threshold is None:
        lines.append("the bundle has no threshold: nearfar calibrate sets one by people of your own")
    if record is not None and record.seen:
        lines.append("the encoder was trained on the identities of its own data: figures of these flatter")
    return "\n".join(lines)


def _cell(name: str, metric: Metric) -> str:
    """An attack's figure: D_sys, ratios and sizes as they are, all others are shares."""
    plain = name.startswith(("unlinkability", "threshold", "pgd_eps")) or name.endswith("_ratio")
    return f"{metric.value:.3g}" if plain else _rate(metric)


def _rate(metric: Metric | None) -> str:
    if metric is None:
        return ""
    if metric.low is None or metric.high is None:
        return f"{100 * metric.value:.3g} %"
    return f"{100 * metric.value:.3g} % [{100 * metric.low:.3g}, {100 * metric.high:.3g}]"


def _plain(*names: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, justify="left" if name in ("", "attack", "group") else "right")
    return table
