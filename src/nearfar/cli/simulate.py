"""`nearfar simulate`: made sensor data whose faults are known, made voices, a made shop and a made factory, to try things with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nearfar.progress import Tick
    from nearfar.sources.recording import Recording

app = typer.Typer(
    help="Make sensor data with known faults, recordings of voices, the log of a shop, or the inspections of a factory, to try things with.",
    no_args_is_help=True,
)

Folder = Annotated[
    Path, typer.Option("--output", "-o", help="The folder; what is written goes to `healthy` and `faulty` in it.")
]
Faults = Annotated[
    int, typer.Option("--faults", min=0, max=100, help="How many faults there are, one after the other.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of all that is drawn; the same gives the same data.")]

_RESONANCE = 0.3  # of the housing, as a share of the rate: below half of it, where samples can show it
_BLOCK = 21_600


@app.command()
def machine(
    output: Folder,
    minutes: Annotated[float, typer.Option("--minutes", min=0.5, help="Length of each of the two parts.")] = 10.0,
    rate: Annotated[float, typer.Option("--rate", min=500, help="Samples of vibration a second.")] = 4000.0,
    faults: Faults = 3,
    seed: Seed = 0,
) -> None:
    """A rotating machine: fast vibration beside speed, current, temperature, pressure and flow once a second."""
    import numpy as np

    from nearfar.simulate import MachineFault, RotatingMachine, simulate_machine
    from nearfar.simulate.machine import BEARING_PARTS, FaultCause

    block = 10
    seconds = block * max(1, round(minutes * 60 / block))
    rng = np.random.default_rng([seed, 1])
    causes: tuple[FaultCause, ...] = ("imbalance", "misalignment", *BEARING_PARTS)
    planned = [
        MachineFault(causes[number % len(causes)], start, end, round(float(rng.uniform(0.4, 1.0)), 2))
        for number, (start, end) in enumerate(_times(faults, seconds))
    ]
    made = RotatingMachine(rate=rate, resonance=min(3400.0, _RESONANCE * rate), dwell=min(600.0, seconds / 10))
    recordings = simulate_machine(made, 2 * seconds, seed=seed, faults=planned, block=block)
    told = [(fault.start, fault.end, f"{fault.cause}, severity {fault.severity:g}") for fault in planned]
    _write(output, recordings, seconds, told)


@app.command()
def plant(
    output: Folder,
    days: Annotated[float, typer.Option("--days", min=0.01, help="Length of each of the two parts.")] = 2.0,
    drift: Annotated[
        float, typer.Option("--drift", help="How far healthy channels move a day, in their spreads.")
    ] = 0.0,
    faults: Faults = 5,
    seed: Seed = 0,
) -> None:
    """A plant with eight channels, a sample a second."""
    import numpy as np

    from nearfar.simulate import Plant, Upset, simulate_plant
    from nearfar.simulate.plant import CHANNELS

    pieces = -(-round(days * 86_400) // _BLOCK)
    block = round(days * 86_400 / pieces)
    rng = np.random.default_rng([seed, 1])
    planned = []
    for start, end in _times(faults, pieces * block):
        some = rng.choice(len(CHANNELS), rng.integers(1, 4), replace=False)
        strength, growth = round(float(rng.uniform(2, 5)), 1), round(float(rng.uniform(0, 120)))
        planned.append(Upset(start, end, tuple(sorted(some.tolist())), strength, growth))
    recordings = simulate_plant(Plant(drift=drift), 2 * pieces * block, seed=seed, upsets=planned, block=block)
    told = [
        (
            one.start,
            one.end,
            f"{', '.join(CHANNELS[channel].name for channel in one.channels)} by {one.strength:g} spreads",
        )
        for one in planned
    ]
    _write(output, recordings, pieces * block, told)


@app.command()
def voices(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder; in it, one for each person and session.")],
    identities: Annotated[int, typer.Option("--identities", min=1, max=10_000, help="How many people.")] = 120,
    clips: Annotated[int, typer.Option("--clips", min=1, max=10_000, help="Recordings of each.")] = 12,
    sessions: Annotated[
        int,
        typer.Option("--sessions", min=1, max=100, help="Of each person, every one with its own room and microphone."),
    ] = 2,
    rate: Annotated[int, typer.Option("--rate", min=8000, max=96_000, help="Samples a second.")] = 16_000,
    seed: Seed = 0,
) -> None:
    """People who say made words, as WAV files: <person>/<session>/<word>-<number>.wav."""
    from nearfar.cli.console import out, progress_lines
    from nearfar.simulate import simulate_voices, write_wav

    made = simulate_voices(identities, clips, seed=seed, rate=rate, sessions=sessions)
    with progress_lines() as stages:
        files = write_wav(made, output, rate, stages("voices"))
    size = sum(path.stat().st_size for path in files)
    out.print(
        f"{output}  {len(files):,} recordings of {identities:,} people, {size / (2 * rate):,.0f} s, {size / 1e6:,.2f} MB",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def shop(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder; in it `events.csv` and `items.csv`.")],
    users: Annotated[int, typer.Option("--users", min=1, max=1_000_000, help="How many people.")] = 600,
    items: Annotated[int, typer.Option("--items", min=20, max=5000, help="How many items.")] = 400,
    seed: Seed = 0,
) -> None:
    """People who look at items and buy them, over three months: a log of events, and a table of the items."""
    import numpy as np

    from nearfar.cli.console import out, progress_lines
    from nearfar.simulate import ShopItems, simulate_shop, write_shop

    sold = ShopItems.draw(items, np.random.default_rng([seed, 0]))
    with progress_lines() as stages:
        paths = write_shop(sold, simulate_shop(sold, users, seed=seed), output, stages("events"))
    for path in paths:
        out.print(f"{path}  {path.stat().st_size / 1e6:,.2f} MB", markup=False, soft_wrap=True)


@app.command()
def factory(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder; in it `inspections.csv`, photos and vibration.")
    ],
    records: Annotated[int, typer.Option("--records", min=1, max=100_000, help="How many inspections.")] = 480,
    missing: Annotated[
        float,
        typer.Option("--missing", min=0.0, max=0.9, help="Share of photos, windows and entries that are not there."),
    ] = 0.05,
    seed: Seed = 0,
) -> None:
    """Inspections of machines: a photo of a part, a window of vibration, readings, and an entry of the log in two languages."""
    from nearfar.cli.console import out, progress_lines
    from nearfar.simulate import simulate_factory, write_factory

    with progress_lines() as stages:
        table = write_factory(simulate_factory(records, seed=seed, missing=missing), output, stages("inspections"))
    out.print(f"{table}  {records:,} inspections", markup=False, soft_wrap=True)


def _times(faults: int, seconds: int) -> list[tuple[float, float]]:
    """When faults begin and end: apart from each other, in the second half of twice so many seconds."""
    room = seconds / max(faults, 1)
    return [
        (seconds + round(room * (number + 0.4)), seconds + round(room * (number + 0.7))) for number in range(faults)
    ]


def _write(
    output: Path, recordings: Iterator[Recording], healthy: int, faults: Sequence[tuple[float, float, str]]
) -> None:
    """Write the first so many seconds to one folder and the rest to another, and say what is in them."""
    from nearfar.cli.console import out, pairs_table, progress_lines
    from nearfar.connect.records import iso_time
    from nearfar.simulate import write_csv
    from nearfar.simulate.rotating_machine import EPOCH

    with progress_lines() as stages:
        tick = stages("healthy")
        later: list[Recording] = []

        def early(recording: Recording) -> bool:
            tick(1)
            if recording.times[0] < EPOCH + healthy:
                return True
            later.append(recording)  # the first of the rest, which takewhile takes too
            return False

        first = write_csv(takewhile(early, recordings), output / "healthy")
        tick = stages("faulty")
        second = write_csv((_seen(recording, tick) for recording in chain(later, recordings)), output / "faulty")
    for path in (*first, *second):
        out.print(f"{path}  {path.stat().st_size / 1e6:,.2f} MB", markup=False, soft_wrap=True)
    if faults:
        out.print(f"\nfaults in {output / 'faulty'}, in the column label:", markup=False, soft_wrap=True)
        out.print(
            pairs_table(
                [
                    (str(iso_time(EPOCH + start))[:19].replace("T", " "), f"{end - start:,.0f} s  {what}")
                    for start, end, what in faults
                ]
            )
        )


def _seen(recording: Recording, tick: Tick) -> Recording:
    tick(1)
    return recording
