"""Options that a command has for one kind of bundle only: given for another kind they are refused, not passed over."""

from __future__ import annotations

from collections.abc import Collection

import typer


def refuse_options(context: typer.Context, of: str, fitting: Collection[str]) -> None:
    """See that every option that was typed has a meaning for the bundle.

    Args:
        context: of the command.
        of: what the bundle is, as "a monitor".
        fitting: parameters of the command that have a meaning for it.

    Raises:
        DataError: one has not; all such are named.
    """
    from nearfar.errors import DataError

    wrong: list[str] = []
    for parameter in context.command.params:
        name = parameter.name
        source = context.get_parameter_source(name) if name is not None else None
        if name not in fitting and source is not None and source.name == "COMMANDLINE":
            wrong.append(parameter.opts[0])
    if wrong:
        raise DataError(
            f"{', '.join(wrong)}: not of use with {of}, which this bundle is; leave it out "
            f"(`{context.command_path} --help` says what each option is for)"
        )
