"""`nearfar enroll`, `verify`, `identify`, `revoke`, `people`, `audit`: who is it, against a vault of sealed templates."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nearfar.cli.options import AsJson

if TYPE_CHECKING:
    from nearfar.edge.verify import Verifier
    from nearfar.edge.verify.audit import AuditEntry
    from nearfar.edge.verify.decision import Reason

Vault = Annotated[Path, typer.Argument(metavar="VAULT", help="A directory of sealed templates.")]
Identity = Annotated[str, typer.Argument(metavar="ID", help="The name of an identity.")]
Sample = Annotated[Path, typer.Argument(metavar="SAMPLE", help="A recording or a picture.")]
Witness = Annotated[
    Path | None,
    typer.Option(
        "--witness",
        help="A file on another medium that tells an old copy of the vault from the present one (docs/verification.md).",
    ),
]
Place = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="Where the key of the vault must be: keystore:NAME, credential:NAME, passphrase or file:PATH. Without it the vault says where, "
        "and so does one that somebody else has put in its place.",
    ),
]

_REFUSED = 1
_TIME = "%Y-%m-%d %H:%M:%S"


def enroll(
    vault: Vault,
    identity: Identity,
    samples: Annotated[
        list[Path],
        typer.Argument(
            metavar="SAMPLE...", help="Recordings or pictures of the one, 3 or more, better 5; or a folder of them."
        ),
    ],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="The first time: the encoder, which is copied into the vault.")
    ] = None,
    key: Annotated[
        str,
        typer.Option(
            "--key",
            help="The first time: what unlocks the vault: passphrase, keystore:NAME, credential:NAME or file:PATH.",
        ),
    ] = "passphrase",
    renew: Annotated[
        bool, typer.Option("--renew", help="Replace the template of this identity; the old one becomes useless.")
    ] = False,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Enrol also who matches somebody else who is enrolled.")
    ] = False,
    witness: Witness = None,
) -> None:
    """Make a sealed template of somebody's samples; the samples are not kept.

    The first time it makes the vault: give the encoder (--bundle), whose threshold `nearfar calibrate` has set.
    """
    from nearfar.bundle import Bundle
    from nearfar.cli.console import notes
    from nearfar.cli.vault import open_or_make, sample_files

    # Before a vault and its key are made: a slip of the pen should leave nothing behind.
    named = None if bundle is None else sample_files(samples, Bundle.open(bundle))
    with open_or_make(vault, bundle, key, witness) as verifier:
        files = named or sample_files(samples, verifier.bundle)
        made = verifier.enroll(identity, files, renew=renew, allow_duplicate=allow_duplicate)
    for reason in made.refused:
        notes.print(f"left out {reason}", style="yellow", markup=False, soft_wrap=True)
    version = f", version {made.version}" if made.version > 1 else ""
    typer.echo(
        f"{made.identity}: enrolled with {made.samples} samples{version}; the least alike scores {made.agreement:.2f} with the others"
    )


def verify(
    vault: Vault,
    identity: Identity,
    sample: Sample,
    key: Place = None,
    witness: Witness = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether a sample is of somebody: exit code 0 where it is, 1 where not, 2 where something went wrong.

    After 5 failures in a row each further one is followed by a longer wait; after 50 the identity is locked until
    `nearfar people VAULT --unlock ID`.
    """
    with _opened(vault, witness, key) as verifier:
        decision = verifier.verify(identity, _file(sample))
    if as_json:
        typer.echo(json.dumps({"identity": identity, **asdict(decision)}, ensure_ascii=False, indent=1))
    elif decision.accepted:
        typer.echo(f"accepted: {identity}{_score(decision.score)}")
    else:
        typer.echo(f"refused: {_why(decision.reason, decision.detail, decision.wait_seconds)}")
    if not decision.accepted:
        raise typer.Exit(_REFUSED)


def identify(vault: Vault, sample: Sample, key: Place = None, witness: Witness = None, as_json: AsJson = False) -> None:
    """Tell who of all that are enrolled a sample is of: exit code 0 where somebody matches, 1 where nobody does.

    The more are enrolled, the more often a stranger matches one of them: of 100 about a hundred times as often as with `nearfar verify`.
    """
    with _opened(vault, witness, key) as verifier:
        found = verifier.identify(_file(sample))
    if as_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False, indent=1))
    elif found.identity is not None:
        typer.echo(f"{found.identity}{_score(found.score)}")
    else:
        typer.echo(f"nobody: {_why(found.reason, found.detail, found.wait_seconds)}")
    if found.identity is None:
        raise typer.Exit(_REFUSED)


def revoke(vault: Vault, identity: Identity, witness: Witness = None) -> None:
    """Remove somebody's template; who is enrolled again gets another one, of no use together with the old."""
    with _opened(vault, witness) as verifier:
        verifier.revoke(identity)
    typer.echo(f"{identity}: revoked; copies of the vault made before still hold the template, sealed")


def people(
    vault: Vault,
    unlock: Annotated[
        str | None, typer.Option("--unlock", metavar="ID", help="Forget the failures of this identity.")
    ] = None,
    unlock_identify: Annotated[
        bool, typer.Option("--unlock-identify", help="Forget the failures of `nearfar identify`.")
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", help="Take over the threshold of this bundle, which has the same encoder as the vault."
        ),
    ] = None,
    witness: Witness = None,
    as_json: AsJson = False,
) -> None:
    """Show who is enrolled, since when, and who is locked; or unlock somebody, or take over a newly calibrated bundle."""
    from nearfar.cli.collection_tables import add_row, plain_table
    from nearfar.cli.console import out

    with _opened(vault, witness) as verifier:
        if unlock is not None or unlock_identify:
            verifier.unlock(unlock)
            typer.echo(f"{unlock or 'identify'}: unlocked")
            return
        if bundle is not None:
            before = verifier.threshold
            verifier.adopt(bundle)
            typer.echo(
                f"{vault}: a score of {verifier.threshold:.3f} is a match from now on, before it was {before:.3f}"
            )
            return
        enrolled = verifier.identities()
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in enrolled], ensure_ascii=False, indent=1))
        return
    if not enrolled:
        typer.echo(f"{vault}: nobody is enrolled")
        return
    table = plain_table("identity", "enrolled", "samples", "version", "failures", "locked")
    for one in enrolled:
        locked = (
            "" if one.locked is None else "until unlocked" if one.locked == "disabled" else _seconds(one.wait_seconds)
        )
        add_row(
            table,
            one.identity,
            datetime.fromtimestamp(one.enrolled).strftime(_TIME),
            str(one.samples),
            str(one.version),
            str(one.failures),
            locked,
        )
    out.print(table)


def audit(
    vault: Annotated[
        Path,
        typer.Argument(metavar="VAULT|FILE", help="A vault; or a file that --export wrote, whose chain is checked."),
    ],
    export: Annotated[
        Path | None, typer.Option("--export", help="Write all entries there, as JSON lines in a chain of digests.")
    ] = None,
    link: Annotated[
        str | None, typer.Option("--link", help="With a file: the link that it must end with, as the vault told it.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Show so many of the last entries.")] = 20,
    witness: Witness = None,
    as_json: AsJson = False,
) -> None:
    """Show what was tried and done in a vault, export it, or check an export. No scores and no samples are in it."""
    from nearfar.edge.verify.audit import verify_export
    from nearfar.errors import DataError

    if vault.is_file():
        checked = verify_export(vault, link=link)
        held = " and ends with the link given" if link else f"; the last link is {checked.link}"
        typer.echo(f"{vault}: entries {checked.first:,} to {checked.last:,} are whole and in order{held}")
        return
    if link is not None:
        raise DataError(f"--link: is for a file that was exported, and {vault} is none: nearfar audit FILE --link LINK")
    with _opened(vault, witness) as verifier:
        if export is not None:
            written = verifier.export_audit(export)
            typer.echo(
                f"{export}: entries {written.first:,} to {written.last:,}; keep the last link elsewhere to hold the file to: {written.link}"
            )
            return
        entries = verifier.audit()
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries[-last:]], ensure_ascii=False, indent=1))
        return
    _show(entries, last)


def _show(entries: list[AuditEntry], last: int) -> None:
    from nearfar.cli.collection_tables import add_row, plain_table
    from nearfar.cli.console import out

    table = plain_table("no", "time", "what", "of", "result", "left out")
    for entry in entries[-last:]:
        # A tag is of somebody who is not, or no longer, enrolled: the vault has no name for it.
        who = entry.identity or (f"not enrolled {entry.tag[:6]}" if entry.tag else "")
        time = datetime.fromtimestamp(entry.time).strftime(_TIME)
        add_row(table, str(entry.number), time, entry.kind, who, entry.result, str(entry.left_out or ""))
    out.print(table)


def _opened(vault: Path, witness: Path | None, key: str | None = None) -> Verifier:
    from nearfar.edge.verify import Verifier

    return Verifier.open(vault, key=key, witness=witness)


def _file(sample: Path) -> Path:
    """A sample that is there, so that a slip of the pen is no attempt.

    Raises:
        DataError: there is no such file.
    """
    from nearfar.errors import DataError

    if not sample.is_file():
        raise DataError(f"{sample}: there is no such file: give one recording or picture")
    return sample


def _score(score: float | None) -> str:
    return "" if score is None else f", score {score:.3f}"


def _why(reason: Reason, detail: str, wait: float) -> str:
    if reason == "wait":
        return f"{detail} ({_seconds(wait)})"
    return detail or reason


def _seconds(wait: float) -> str:
    return f"{wait:.0f} s" if wait < 120 else f"{wait / 60:.0f} min"
