"""What a person reads about the threshold of a bundle."""

from __future__ import annotations

import pytest

from nearfar.bundle.verification_record import VerificationRecord
from nearfar.bundle.verification_rows import verification_rows


@pytest.mark.parametrize(
    ("seen", "trials_of", "said"),
    [
        (False, "validation", "people held out of training: "),
        (True, "validation", "samples held out of training: "),
        (True, "own", "your own people (nearfar calibrate): "),
    ],
)
def test_people_who_were_trained_on_are_not_called_held_out(seen: bool, trials_of: str, said: str) -> None:
    record = VerificationRecord.model_validate(
        {
            "components": 16,
            "samples": 5,
            "threshold": 0.5,
            "fmr": 0.01,
            "confidence": 0.95,
            "trials_of": trials_of,
            "seen": seen,
            "identities": 6,
            "genuine": 227,
            "impostor": 1285,
        }
    )
    chosen = dict(verification_rows(record))["chosen by"]
    assert chosen.startswith(said + "6 identities")
    assert ("figures flatter" in chosen) == seen
