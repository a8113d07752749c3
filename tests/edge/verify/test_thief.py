"""What somebody can do who may write the medium of a vault, and has no key."""

import shutil
import sqlite3

import pytest
from people_bundle import people_bundle, picture, pictures

from nearfar.edge.keys import move_key
from nearfar.edge.verify import Verifier
from nearfar.errors import KeyUnavailableError, NearfarError, StoreError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return people_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "v", f"file:{tmp_path / 'key'}"


def copied(path, copy):
    """The files of an open vault, with what has not been moved out of its log."""
    copy.mkdir()
    for file in path.glob("vault.sqlite*"):
        shutil.copy(file, copy)
    return copy


def put_back(path, copy, pattern="vault.sqlite*"):
    for file in path.glob(pattern):
        file.unlink()
    for file in copy.glob(pattern):
        shutil.copy(file, path)


def failures(path):
    """Failures of ann, as the vault tells them; None where it is refused."""
    try:
        with Verifier.open(path) as verifier:
            (ann,) = [one for one in verifier.identities() if one.identity == "ann"]
            return ann.failures
    except StoreError:
        return None


def test_a_log_of_changes_that_is_cut_off_or_of_another_time(bundle, place, tmp_path):
    """Each is refused, or the vault is exactly as it was at one time (which only a witness tells): never a mixture."""
    path, key = place
    Verifier.create(path, bundle, key=key).close()
    with Verifier.open(path) as verifier:
        verifier.enroll("ann", pictures(1, 3))
        verifier.verify("ann", picture(9, 0))
        early = copied(path, tmp_path / "early")
        verifier.verify("ann", picture(9, 1))
        verifier.enroll("ann", pictures(3, 3), renew=True)  # moves the log into the file
        for moment in range(3):
            verifier.verify("ann", picture(9, moment))
        late = copied(path, tmp_path / "late")
    assert (early / "vault.sqlite-wal").stat().st_size > 0 < (late / "vault.sqlite-wal").stat().st_size

    (path / "vault.sqlite-wal").unlink(missing_ok=True)
    put_back(path, late)
    assert failures(path) == 3
    put_back(path, late)
    shutil.copy(early / "vault.sqlite-wal", path / "vault.sqlite-wal")  # an old log beside a new file
    (path / "vault.sqlite-shm").unlink(missing_ok=True)
    assert failures(path) in (None, 1)  # of then
    put_back(path, early)
    shutil.copy(late / "vault.sqlite-wal", path / "vault.sqlite-wal")  # and a new one beside an old file
    (path / "vault.sqlite-shm").unlink(missing_ok=True)
    assert failures(path) is None

    whole = (late / "vault.sqlite-wal").read_bytes()
    seen = set()
    for length in range(0, len(whole), 512):
        put_back(path, late)
        (path / "vault.sqlite-shm").unlink(missing_ok=True)
        (path / "vault.sqlite-wal").write_bytes(whole[:length])
        seen.add(failures(path))
    assert seen == {0, 1, 2}  # the changes before the cut, each as a whole


def test_a_log_that_is_cut_off_is_found_with_a_witness(bundle, place, tmp_path):
    path, key = place
    witness = tmp_path / "elsewhere.json"
    with Verifier.create(path, bundle, key=key, witness=witness) as verifier:
        verifier.enroll("ann", pictures(1, 3))
        verifier.verify("ann", picture(9, 0))
        copy = copied(path, tmp_path / "copy")
    put_back(path, copy)
    (path / "vault.sqlite-shm").unlink(missing_ok=True)
    wal = path / "vault.sqlite-wal"
    wal.write_bytes(wal.read_bytes()[:-512])
    with pytest.raises(StoreError, match="is an old copy"):
        Verifier.open(path, witness=witness)


def test_a_vault_of_the_thief_in_the_place_of_the_right_one(bundle, place, tmp_path):
    """The record of the key says where it is; the caller says where it must be."""
    path, key = place
    Verifier.create(path, bundle, key=key, witness=tmp_path / "w").close()
    forged = tmp_path / "forged"
    with Verifier.create(forged, bundle, key=f"file:{tmp_path / 'thiefs-key'}") as verifier:
        verifier.enroll("ann", pictures(7, 3))  # the thief's own face
    shutil.rmtree(path)
    shutil.copytree(forged, path)
    with Verifier.open(path) as verifier:
        assert verifier.verify("ann", picture(7, 50)).accepted  # nothing in the vault can tell
    with pytest.raises(KeyUnavailableError, match="this is not your vault"):
        Verifier.open(path, key=key)
    with pytest.raises(StoreError, match="not the witness of this vault"):
        Verifier.open(path, witness=tmp_path / "w")


def test_the_place_of_the_key(bundle, place, tmp_path):
    path, key = place
    Verifier.create(path, bundle, key=key).close()
    Verifier.open(path, key=key).close()
    for other in ("passphrase", "keystore:door", f"file:{tmp_path / 'other'}", "nonsense"):
        with pytest.raises(KeyUnavailableError):
            Verifier.open(path, key=other)
    move_key(path, "passphrase", ask=lambda _: "right horse battery")
    Verifier.open(path, key="passphrase", ask=lambda _: "right horse battery").close()


def test_a_bundle_that_decides_for_the_thief(bundle, place, tmp_path):
    """Also under the name that the vault's own one has."""
    path, key = place
    with Verifier.create(path, bundle, key=key) as verifier:
        verifier.enroll("ann", pictures(1, 3))
    (own,) = path.glob("bundle-*")
    for change in ({"threshold": -1.0}, {"seed": 5}):
        shutil.rmtree(own)
        people_bundle(own, **change)
        with pytest.raises(StoreError, match="is not the bundle that the templates are of"):
            Verifier.open(path)
    other = people_bundle(tmp_path / "other", seed=5)
    shutil.copytree(other.path, path / f"bundle-{other.digest[:16]}")
    shutil.rmtree(own)
    with pytest.raises(NearfarError):
        Verifier.open(path)


def test_how_an_attempt_ended_does_not_show_in_the_length_of_what_is_written(bundle, place):
    path, key = place
    with Verifier.create(path, bundle, key=key) as verifier:
        verifier.enroll("ann", pictures(1, 3))
        verifier.verify("ann", picture(9, 1))
        verifier.verify("zoe", picture(9, 1))
        verifier.verify("ann", picture(1, 60))
        verifier.identify(picture(1, 60))
        verifier.identify(picture(9, 60))
        found = sqlite3.connect(path / "vault.sqlite").execute("SELECT DISTINCT length(sealed) FROM audit").fetchall()
        assert len(found) == 1


def test_a_sealed_template_has_no_more_than_156_bytes(tmp_path):
    from tiny_audio_bundle import write_tiny_audio_bundle

    from nearfar.simulate import simulate_voices

    bundle = write_tiny_audio_bundle(tmp_path / "b", dim=192)
    voices = {}
    for name, _, _, sound in simulate_voices(2, 3, seed=1, rate=8000):
        voices.setdefault(name, []).append(sound)
    with Verifier.create(tmp_path / "v", bundle, key=f"file:{tmp_path / 'key'}", threshold=0.1) as verifier:
        for name, sounds in voices.items():
            verifier.enroll(name, sounds, allow_duplicate=True)
        query = "SELECT count(*), min(length(template)), max(length(template)) FROM templates"
        count = sqlite3.connect(tmp_path / "v" / "vault.sqlite").execute(query).fetchone()
        assert count == (3, 156, 156)
