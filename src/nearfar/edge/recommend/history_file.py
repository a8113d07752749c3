"""The SQLite file of a history: what it holds, and what it says when it cannot be used."""

from __future__ import annotations

from typing import Final

from nearfar.edge.sealed.layout import META, Layout

HISTORY_FILE: Final = "history.sqlite"

HISTORY: Final = Layout(
    noun="history",
    file=HISTORY_FILE,
    format=1,
    tables={
        "meta": META,
        "events": "CREATE TABLE events (number INTEGER PRIMARY KEY, tag BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL)",
        "sqlite_autoindex_events_1": None,
    },
    page_size=4096,
    left="nothing was recorded or answered",
    noted="what the user does is kept in it",
    mend="put the whole directory back from a backup that you trust, or remove it and begin anew",
)
