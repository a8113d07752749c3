"""What is done to a vault in processes that are killed, beside a witness or without; see `tests.edge.killed_at_writes`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.edge.killed_at_writes import Story, play
from tests.edge.people_bundle import people_bundle, picture, pictures

from nearfar.edge.verify import Verifier

WORK, WITNESS = Path(sys.argv[1]), sys.argv[5:] == ["witness"]
KEY = f"file:{WORK / 'key'}"

DOING = {
    "enroll": lambda verifier: verifier.enroll("bob", pictures(2, 3)),
    "renew": lambda verifier: verifier.enroll("ann", pictures(3, 3), renew=True),
    "fail": lambda verifier: verifier.verify("ann", picture(9, 1)),
    "match": lambda verifier: verifier.verify("ann", picture(1, 60)),
    "revoke": lambda verifier: verifier.revoke("ann"),
    "adopt": lambda verifier: verifier.adopt(WORK / "b2"),
}


def witness(folder: Path) -> dict[str, Any]:
    return {"witness": folder / "mark.json"} if WITNESS else {}


def make(folder: Path) -> None:
    with Verifier.create(folder / "v", people_bundle(WORK / "b"), key=KEY, **witness(folder)) as verifier:
        verifier.enroll("ann", pictures(1, 3))
        verifier.verify("ann", picture(9, 0))
    people_bundle(WORK / "b2", threshold=0.61)


def look(folder: Path) -> list[object]:
    """Who is there, what was noted, and who is recognised; somebody else can be enrolled after that."""
    with Verifier.open(folder / "v", **witness(folder)) as verifier:
        people = {one.identity: [one.version, one.failures] for one in verifier.identities()}
        entries = [[entry.kind, entry.result] for entry in verifier.audit()]
        renewed = "ann" in people and people["ann"][0] == 2
        looks = {"ann": 3 if renewed else 1, "bob": 2}
        matches = {name: verifier.verify(name, picture(looks[name], 70)).accepted for name in people}
        verifier.enroll("later", pictures(30, 3))
        return [people, entries, matches]


play(
    Story(
        make,
        create=lambda folder: Verifier.create(folder / "v", WORK / "b", key=KEY, **witness(folder)),
        open=lambda folder: Verifier.open(folder / "v", **witness(folder)),
        doing=DOING,
        look=look,
    )
)
