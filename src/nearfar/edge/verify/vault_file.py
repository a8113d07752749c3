"""The SQLite file of a vault: what it holds, and what it says when it cannot be used."""

from __future__ import annotations

from pathlib import Path

from nearfar.edge.sealed.layout import META, Layout
from nearfar.errors import StoreError

VAULT_FILE = "vault.sqlite"

VAULT = Layout(
    noun="vault",
    file=VAULT_FILE,
    format=1,
    tables={
        "meta": META,
        "templates": (
            "CREATE TABLE templates (tag BLOB PRIMARY KEY, version INTEGER NOT NULL, details BLOB NOT NULL, template BLOB NOT NULL) "
            "WITHOUT ROWID"
        ),
        "audit": "CREATE TABLE audit (number INTEGER PRIMARY KEY, digest BLOB NOT NULL, sealed BLOB NOT NULL)",
    },
    page_size=1024,
    left="nothing is answered",
    noted="each attempt must be noted in it",
    mend="put the whole directory back from a backup that you trust, or make a new vault and enrol again",
)


def damaged(directory: Path, what: str) -> StoreError:
    """The error for a vault that is not as it was written."""
    return VAULT.damaged(directory, what)
