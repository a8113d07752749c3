"""The commands about who is who, as a user types them: calibrate, enroll, verify, identify, revoke, people, audit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_identities import write_identity_pictures
from PIL import Image
from tiny_image_bundle import write_tiny_image_bundle

pytest.importorskip("cryptography")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, and pictures of 16 people; the name would be markup for rich."""
    folder = tmp_path_factory.mktemp("mine") / "[red]people [x]"
    write_tiny_image_bundle(folder / "encoder")
    write_identity_pictures(folder / "known", 16, 8)
    Image.new("RGB", (24, 24), (120, 120, 120)).save(folder / "blank.png")
    return folder


@pytest.fixture
def vault(folder: Path, tmp_path: Path, nearfar: Command) -> Path:
    """A vault with two people; its key lies in a file, because a passphrase is slow on purpose."""
    made = folder / "vault"
    if not made.exists():
        bundle = folder / "calibrated"
        assert nearfar("calibrate", folder / "encoder", folder / "known", "-o", bundle, "--fmr", "0.01")[0] == 0
        for person in ("person-000", "person-001"):
            samples = folder / "known" / person / "day-0"
            code, out, err = nearfar(
                "enroll", made, person, samples, "--bundle", bundle, "--key", f"file:{folder / 'key'}"
            )
            assert code == 0, err
            assert f"{person}: enrolled with 4 samples" in out
    return Path(shutil.copytree(made, tmp_path / "vault"))


def picture(folder: Path, person: int, number: int = 6) -> Path:
    return folder / "known" / f"person-{person:03}" / "day-1" / f"{number}.png"


def test_calibrate_says_what_the_threshold_promises(nearfar: Command, folder: Path, tmp_path: Path):
    new = tmp_path / "new"
    code, out, err = nearfar(
        "calibrate", folder / "encoder", folder / "known", "-o", new, "--fmr", "0.01", "--samples", "4"
    )
    assert code == 0
    assert "match from" in out
    assert "FMR 1 % or less" in out
    assert "16 identities" in out
    assert "120 pairs" in err
    code, out, _ = nearfar("inspect", new)
    assert code == 0
    assert "16 bytes, of 4 samples" in out
    assert "your own people" in out


def test_calibrate_refuses_what_the_trials_cannot_show(nearfar: Command, folder: Path, tmp_path: Path):
    code, out, err = nearfar(
        "calibrate", folder / "encoder", folder / "known", "-o", tmp_path / "new", "--fmr", "0.0001"
    )
    assert (code, out) == (2, "")
    assert "29,956" in err
    assert "more people" in err
    assert not (tmp_path / "new").exists()


def test_verify_accepts_the_one_and_refuses_the_other(nearfar: Command, folder: Path, vault: Path):
    code, out, _ = nearfar("verify", vault, "person-000", picture(folder, 0))
    assert code == 0
    assert "accepted: person-000, score" in out
    code, out, _ = nearfar("verify", vault, "person-000", picture(folder, 1))
    assert (code, out.strip()) == (1, "refused: no match")
    code, out, _ = nearfar("verify", vault, "nobody", picture(folder, 0))
    assert (code, out.strip()) == (1, "refused: no match")


def test_json_of_a_refusal_has_no_score(nearfar: Command, folder: Path, vault: Path):
    code, out, _ = nearfar("verify", vault, "person-000", picture(folder, 1), "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["accepted"], found["reason"], found["score"]) == (False, "no match", None)
    code, out, _ = nearfar("identify", vault, picture(folder, 1), "--json")
    assert code == 0
    assert json.loads(out)["identity"] == "person-001"


def test_a_bad_picture_is_refused_with_the_mend_and_counts_no_failure(nearfar: Command, folder: Path, vault: Path):
    for _ in range(7):
        code, out, _ = nearfar("verify", vault, "person-000", folder / "blank.png")
        assert code == 1
        assert "blank" in out
        assert "camera" in out
    assert nearfar("verify", vault, "person-000", picture(folder, 0))[0] == 0


def test_a_slip_of_the_pen_is_an_error_and_no_attempt(nearfar: Command, folder: Path, vault: Path):
    code, _, err = nearfar("verify", vault, "person-000", folder / "nothing.png")
    assert code == 2
    assert "no such file" in err
    code, _, err = nearfar("verify", folder, "person-000", picture(folder, 0))
    assert code == 2
    assert "no vault" in err
    code, out, _ = nearfar("people", vault, "--json")
    assert [one["failures"] for one in json.loads(out)] == [0, 0]


def test_failures_lock_and_the_holder_of_the_key_unlocks(nearfar: Command, folder: Path, vault: Path):
    for _ in range(5):
        assert nearfar("verify", vault, "person-000", picture(folder, 1))[0] == 1
    code, out, _ = nearfar("verify", vault, "person-000", picture(folder, 0))
    assert code == 1
    assert "too many failures" in out
    code, out, _ = nearfar("people", vault)
    assert code == 0
    assert "person-000" in out
    assert nearfar("people", vault, "--unlock", "person-000")[0] == 0
    assert nearfar("verify", vault, "person-000", picture(folder, 0))[0] == 0


def test_identify_finds_who_it_is_or_nobody(nearfar: Command, folder: Path, vault: Path):
    code, out, _ = nearfar("identify", vault, picture(folder, 1))
    assert code == 0
    assert out.startswith("person-001, score")
    code, out, _ = nearfar("identify", vault, picture(folder, 9))
    assert (code, out.strip()) == (1, "nobody: no match")


def test_revoked_is_gone_and_renewed_counts_up(nearfar: Command, folder: Path, vault: Path):
    code, _, err = nearfar("enroll", vault, "person-000", folder / "known" / "person-000")
    assert code == 2
    assert "enrolled already" in err
    code, out, _ = nearfar("enroll", vault, "person-000", folder / "known" / "person-000", "--renew")
    assert code == 0
    assert "version 2" in out
    assert nearfar("revoke", vault, "person-000")[0] == 0
    assert nearfar("verify", vault, "person-000", picture(folder, 0))[0] == 1
    code, _, err = nearfar("revoke", vault, "person-000")
    assert code == 2
    assert "nobody of that name" in err
    code, out, _ = nearfar("people", vault)
    assert "person-000" not in out
    assert "person-001" in out


def test_too_few_good_samples_are_refused_each_with_its_reason(nearfar: Command, folder: Path, vault: Path):
    code, _, err = nearfar("enroll", vault, "carl", folder / "blank.png", picture(folder, 5), picture(folder, 5, 7))
    assert code == 2
    assert "blank" in err
    assert "3" in err


def test_the_same_person_under_another_name_is_told(nearfar: Command, folder: Path, vault: Path):
    code, _, err = nearfar("enroll", vault, "other", folder / "known" / "person-001" / "day-0")
    assert code == 2
    assert "person-001" in err
    assert nearfar("enroll", vault, "other", folder / "known" / "person-001" / "day-0", "--allow-duplicate")[0] == 0


def test_the_audit_log_is_shown_exported_and_checked(nearfar: Command, folder: Path, vault: Path, tmp_path: Path):
    nearfar("verify", vault, "person-000", picture(folder, 1))
    code, out, _ = nearfar("audit", vault)
    assert code == 0
    assert "enroll" in out
    assert "no match" in out
    code, out, _ = nearfar("audit", vault, "--export", tmp_path / "log.jsonl")
    link = out.split()[-1]
    code, out, _ = nearfar("audit", tmp_path / "log.jsonl", "--link", link)
    assert code == 0
    assert "whole and in order" in out
    content = (tmp_path / "log.jsonl").read_text("utf-8")
    assert "person-000" not in content
    (tmp_path / "log.jsonl").write_text(content.replace("no match", "match", 1), "utf-8")
    code, _, err = nearfar("audit", tmp_path / "log.jsonl")
    assert code == 2
    assert "changed" in err


def test_the_first_time_needs_a_bundle_with_a_threshold(nearfar: Command, folder: Path, vault: Path, tmp_path: Path):
    samples = folder / "known" / "person-000"
    code, _, err = nearfar("enroll", tmp_path / "new", "anna", samples)
    assert code == 2
    assert "--bundle" in err
    code, _, err = nearfar("enroll", tmp_path / "new", "anna", samples, "--bundle", folder / "encoder")
    assert code == 2
    assert "nearfar calibrate" in err
    assert not (tmp_path / "new").exists()
    code, _, err = nearfar("enroll", vault, "anna", samples, "--bundle", folder / "encoder")
    assert code == 2
    assert "another bundle" in err


def test_a_newly_calibrated_bundle_is_taken_over(nearfar: Command, folder: Path, vault: Path, tmp_path: Path):
    strict = tmp_path / "strict"
    assert nearfar("calibrate", folder / "calibrated", folder / "known", "-o", strict, "--fmr", "0.05")[0] == 0
    code, said, _ = nearfar("people", vault, "--bundle", strict)
    assert code == 0
    assert "is a match from now on" in said
    code, said, _ = nearfar("audit", vault)
    assert "adopt" in said
    write_tiny_image_bundle(tmp_path / "other", dim=24)
    code, _, err = nearfar("people", vault, "--bundle", tmp_path / "other")
    assert code == 2
    assert "another encoder" in err


def test_the_key_must_be_where_its_owner_says(nearfar: Command, folder: Path, vault: Path, tmp_path: Path):
    sample = next((folder / "known" / "person-000").rglob("*.png"))
    for command in (("verify", vault, "person-000", sample), ("identify", vault, sample)):
        assert nearfar(*command, "--key", f"file:{folder / 'key'}")[0] in (0, 1)
        code, _, err = nearfar(*command, "--key", f"file:{tmp_path / 'other'}")
        assert code == 2
        assert "not your vault" in err


def test_a_passphrase_opens_a_vault_and_a_wrong_one_does_not(
    nearfar: Command, folder: Path, vault: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NEARFAR_PASSPHRASE", "correct horse battery")
    assert nearfar("key", "move", vault, "passphrase")[0] == 0
    code, out, _ = nearfar("key", "status", vault)
    assert code == 0
    assert "passphrase" in out
    assert nearfar("verify", vault, "person-000", picture(folder, 0))[0] == 0
    monkeypatch.setenv("NEARFAR_PASSPHRASE", "another horse battery")
    code, _, err = nearfar("verify", vault, "person-000", picture(folder, 0))
    assert code == 2
    assert "wrong" in err
    monkeypatch.delenv("NEARFAR_PASSPHRASE")
    code, _, err = nearfar("verify", vault, "person-000", picture(folder, 0))
    assert code == 2
    assert "NEARFAR_PASSPHRASE" in err


def test_a_witness_tells_an_old_copy(nearfar: Command, folder: Path, vault: Path, tmp_path: Path):
    witness = ("--witness", tmp_path / "elsewhere")
    assert nearfar("people", vault, *witness)[0] == 0
    shutil.copytree(vault, tmp_path / "old")
    assert nearfar("revoke", vault, "person-000", *witness)[0] == 0
    code, _, err = nearfar("verify", tmp_path / "old", "person-000", picture(folder, 0), *witness)
    assert code == 2
    assert "old" in err


def test_options_of_monitors_are_refused_for_people(nearfar: Command, folder: Path, tmp_path: Path):
    new = tmp_path / "new"
    code, out, err = nearfar(
        "calibrate", folder / "encoder", folder / "known", "-o", new, "--false-alarms", "1", "--machine", "a"
    )
    assert (code, out) == (2, "")
    assert "--false-alarms, --machine" in err
    assert "encoder of identities" in err
    assert not new.exists()
    code, _, err = nearfar("evaluate", folder / "encoder", folder / "known", "--no-attacks", "--query", "query")
    assert code == 2
    assert "--query" in err


def test_a_wrong_path_makes_no_vault(nearfar: Command, folder: Path, vault: Path, tmp_path: Path):
    key, new = tmp_path / "key", tmp_path / "new"
    code, _, err = nearfar(
        "enroll", new, "anna", folder / "absent.png", "--bundle", folder / "calibrated", "--key", f"file:{key}"
    )
    assert code == 2
    assert "absent.png" in err
    assert not new.exists()
    assert not key.exists()


def test_a_link_is_for_an_export(nearfar: Command, tmp_path: Path):
    code, _, err = nearfar("audit", tmp_path, "--link", "abc")
    assert code == 2
    assert "--link: is for a file" in err
