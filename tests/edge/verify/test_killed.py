"""A process that is killed at each of its writes, whole or half done, and what the vault says afterwards."""

import pytest
from tests.edge.killed_at_writes import killed_at_writes

STORY = "tests.edge.verify.killed_vault"
BEFORE = {"ann": [1, 1]}
LOG = [["create", "done"], ["enroll", "done"], ["verify", "no match"]]
AFTER = {
    "enroll": ({"ann": [1, 1], "bob": [1, 0]}, ["enroll", "done"]),
    "renew": ({"ann": [2, 0]}, ["renew", "done"]),
    "fail": ({"ann": [1, 2]}, ["verify", "no match"]),
    "match": ({"ann": [1, 0]}, ["verify", "match"]),
    "revoke": ({}, ["revoke", "done"]),
    "adopt": (BEFORE, ["adopt", "done"]),
}


CASES = [
    ("enroll", False, "01"),
    ("fail", False, "01"),
    ("match", False, "0"),
    ("renew", False, "0"),
    ("revoke", False, "0"),
    ("adopt", False, "0"),
    ("enroll", True, "0"),
    ("fail", True, "0"),
]
QUICK = {("enroll", False): ("0", 3), ("fail", True): ("0", 3), ("adopt", False): ("0", 9)}
"""Evenly spread writes of some; the others, and every write, where more time is taken."""


@pytest.mark.parametrize(
    ("what", "witness", "half", "every"),
    [
        *((*case, *spread) for case, spread in QUICK.items()),
        *(pytest.param(*case, 1, marks=pytest.mark.recipe) for case in CASES),
    ],
)
def test_what_was_done_is_wholly_there_or_not_at_all(killing, work, what, witness, half, every):
    """And wholly where it was acknowledged; the vault then works on, and everybody in it is recognised."""
    people_after, entry = AFTER[what]
    seen = set()
    outcomes = killed_at_writes(killing, STORY, work, what, half, every, *(["witness"] if witness else []))
    assert sum(outcome.killed for outcome in outcomes) >= max(3, 8 // every), "too few writes were met"
    for torn, calls, killed, said, (people, entries, matches) in outcomes:
        done = entries == [*LOG, entry]
        assert done or entries == LOG, (torn, calls, entries)
        assert people == (people_after if done else BEFORE), (torn, calls)
        assert done or said is None, (torn, calls, "was acknowledged and is lost")
        assert killed or said == "done"
        assert all(matches.values()), (torn, calls, matches)
        seen.add((killed, done))
    assert {(True, False), (False, True)} <= seen
    assert (True, True) in seen or every > 1


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.recipe)])
def test_a_vault_is_made_wholly_or_can_be_made_again(killing, work, every):
    outcomes = killed_at_writes(killing, STORY, work, "create", "0", every)
    assert sum(outcome.killed for outcome in outcomes) >= max(3, 8 // every), "too few writes were met"
    for half, calls, _, _, (people, entries, _) in outcomes:
        assert (people, entries) == ({}, LOG[:1]), (half, calls)
