"""The ladder of keys: each rung opens what it closed, refuses what it must, and tells nobody the secret."""

import copy
import json
import logging
import os
import pickle
import shutil
import stat
import subprocess
import sys
import traceback

import pytest

from nearfar.edge.keys import Key, change_passphrase, create_key, has_key, key_status, move_key
from nearfar.edge.keys import open_key as unlock
from nearfar.edge.keys.primitives import derive, unwrap, wrap
from nearfar.errors import KeyUnavailableError, MissingExtraError, NearfarError

pytest.importorskip("cryptography")
keyring = pytest.importorskip("keyring")
for backend in ("chainer", "fail", "null"):
    pytest.importorskip(f"keyring.backends.{backend}")

PASSPHRASE = "correct horse battery staple"
SECRET = "5a" * 32


def names(folder):
    return [path.name for path in folder.iterdir()]


def asked(**answers):
    """Somebody who answers as given, and nothing else."""
    return lambda which: answers[which]


def user(passphrase=PASSPHRASE, next=""):
    return asked(present=passphrase, first=passphrase, next=next)


class Memory(keyring.backend.KeyringBackend):
    """A keystore that keeps what it is given until the end of the process."""

    priority = 5
    viable = False  # keyring would offer it to other tests of this process

    def __init__(self):
        super().__init__()
        self.kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password


class Forgetful(Memory):
    def set_password(self, service, username, password):
        pass


class Garbling(Memory):
    def set_password(self, service, username, password):
        super().set_password(service, username, password.upper().replace("0", "1") + "0")


class Locked(Memory):
    def get_password(self, service, username):
        raise keyring.errors.KeyringLocked(f"locked while asked for {SECRET}")


class PlaintextThing(Memory):
    pass


class LoudPlaintext(PlaintextThing):
    """One that another package recommends."""

    priority = 9


class Weak(Memory):
    priority = 0.5


class Chain(keyring.backends.chainer.ChainerBackend):
    viable = False
    backends = ()


@pytest.fixture
def keystore():
    before = keyring.get_keyring()

    def use(backend):
        keyring.set_keyring(backend)
        return backend

    yield use
    keyring.set_keyring(before)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture
def credentials(tmp_path, monkeypatch):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "nearfar").write_bytes(bytes(range(32)))
    (tmp_path / "credentials" / "hex").write_text(SECRET + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    return tmp_path / "credentials"


@pytest.mark.parametrize("spec", ["keystore:mine", "credential:nearfar", "credential:hex", "passphrase", "file:{}/k"])
def test_a_rung_opens_what_it_closed(folder, tmp_path, keystore, credentials, spec):
    keystore(Memory())
    spec = spec.format(tmp_path)
    assert not has_key(folder)
    key = create_key(folder, spec, ask=user())
    assert has_key(folder)
    assert names(folder) == ["key.json"]
    again = unlock(folder, ask=user())
    uses = [key.subkey(use) for use in ("database", "derived", "templates")]
    assert uses == [again.subkey(use) for use in ("database", "derived", "templates")]
    assert len(set(uses)) == 3
    assert {len(use) for use in uses} == {32}
    assert key_status(folder).rung == spec
    assert key_status(folder).available in {True, None}


def test_derived_keys_are_those_of_the_standard_and_stay_so():
    # RFC 5869 has no case without salt for 32 bytes; this is HMAC by hand.
    import hashlib
    import hmac

    first = hmac.new(b"\0" * 32, b"s" * 32, hashlib.sha256).digest()
    assert derive(b"s" * 32, "nearfar database 1") == hmac.digest(first, b"nearfar database 1\x01", "sha256")
    assert Key(b"s" * 32).subkey("database") == derive(b"s" * 32, "nearfar database 1")


def test_wrapping_refuses_another_key_other_circumstances_and_a_changed_byte():
    wrapped = wrap(b"secret", b"k" * 32, b"about")
    assert unwrap(wrapped, b"k" * 32, b"about") == b"secret"
    assert wrap(b"secret", b"k" * 32, b"about") != wrapped
    assert unwrap(wrapped, b"K" * 32, b"about") is None
    assert unwrap(wrapped, b"k" * 32, b"else") is None
    assert unwrap(wrapped[:5], b"k" * 32, b"about") is None
    for place in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[place] ^= 1
        assert unwrap(bytes(changed), b"k" * 32, b"about") is None


def test_a_wrong_passphrase_is_refused_and_a_spelling_of_the_same_one_is_not(folder):
    create_key(folder, "passphrase", ask=user("caf\u00e9 au lait"))
    with pytest.raises(KeyUnavailableError, match="the passphrase is wrong"):
        unlock(folder, ask=user("cafe au lait"))
    unlock(folder, ask=user("cafe\u0301 au lait"))


def test_the_passphrase_changes_without_the_key(folder):
    key = create_key(folder, "passphrase", ask=user())
    before = (folder / "key.json").read_text()
    with pytest.raises(KeyUnavailableError, match="wrong"):
        change_passphrase(folder, ask=user("not this one", next="another passphrase"))
    with pytest.raises(KeyUnavailableError, match="shorter than 8"):
        change_passphrase(folder, ask=user(next="short"))
    assert (folder / "key.json").read_text() == before
    change_passphrase(folder, ask=user(next="another passphrase"))
    assert unlock(folder, ask=user("another passphrase")).subkey("database") == key.subkey("database")
    with pytest.raises(KeyUnavailableError, match="wrong"):
        unlock(folder, ask=user())
    salts = [json.loads(text)["rung"]["salt"] for text in (before, (folder / "key.json").read_text())]
    assert salts[0] != salts[1]


def test_the_key_moves_along_the_ladder_and_a_failed_move_changes_nothing(folder, tmp_path, keystore, credentials):
    keystore(Memory())
    key = create_key(folder, f"file:{tmp_path}/k", ask=user())
    for spec in ("passphrase", "keystore:mine", "credential:nearfar", f"file:{tmp_path}/other"):
        move_key(folder, spec, ask=user())
        assert unlock(folder, ask=user()).subkey("derived") == key.subkey("derived")
        assert key_status(folder).rung == spec
        before = (folder / "key.json").read_text()
        for bad in ("credential:missing", "nothing", f"file:{folder}/inside"):
            with pytest.raises(KeyUnavailableError):
                move_key(folder, bad, ask=user())
        assert (folder / "key.json").read_text() == before
    with pytest.raises(KeyUnavailableError, match="not by a passphrase"):
        change_passphrase(folder, ask=user())


def test_there_is_one_key_for_a_folder(record):
    with pytest.raises(KeyUnavailableError, match="has a key already"):
        create_key(record, "passphrase", ask=user())


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (keyring.backends.null.Keyring, "no keystore"),
        (keyring.backends.fail.Keyring, "no keystore"),
        (PlaintextThing, "plain text file"),
        (LoudPlaintext, "plain text file"),
        (Weak, "not one that keyring recommends"),
        (Forgetful, "did not keep"),
        (Garbling, "did not keep"),
        (Locked, "KeyringLocked"),
        (Chain, "no keystore"),
    ],
)
def test_a_keystore_that_cannot_be_trusted_is_refused(folder, keystore, backend, reason):
    keystore(backend())
    with pytest.raises(KeyUnavailableError, match=reason) as raised:
        create_key(folder, "keystore:mine")
    assert "passphrase" in str(raised.value)
    assert names(folder) == []
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_of_a_chain_only_a_member_that_can_be_trusted_is_used(folder, keystore):
    chain, plain, good = Chain(), LoudPlaintext(), Memory()
    chain.backends = (plain,)
    keystore(chain)
    with pytest.raises(KeyUnavailableError, match="plain text file"):
        create_key(folder, "keystore:mine")
    chain.backends = (plain, good)
    create_key(folder, "keystore:mine")
    assert (len(plain.kept), len(good.kept)) == (0, 1)


@pytest.mark.parametrize("name", ["keyring.backends.null.Keyring", "keyring.backends.fail.Keyring", "no.such.Backend"])
def test_a_backend_named_in_the_environment_is_checked_as_well(folder, name):
    script = "import sys, pathlib; from nearfar.edge.keys import create_key; create_key(pathlib.Path(sys.argv[1]), 'keystore:x')"
    environment = {**os.environ, "PYTHON_KEYRING_BACKEND": name}
    done = subprocess.run(
        [sys.executable, "-c", script, folder], env=environment, capture_output=True, text=True, check=False
    )
    assert "KeyUnavailableError: " in done.stderr.splitlines()[-1]
    assert names(folder) == []


def test_indexes_may_share_an_entry_of_the_keystore_but_not_the_key(tmp_path, keystore):
    store = keystore(Memory())
    keys = []
    for name in "ab":
        (tmp_path / name).mkdir()
        keys.append(create_key(tmp_path / name, "keystore:mine").subkey("database"))
    assert len(store.kept) == 1
    assert keys[0] != keys[1]
    store.kept.clear()
    with pytest.raises(KeyUnavailableError, match="no such entry"):
        unlock(tmp_path / "a")
    assert key_status(tmp_path / "a").available is False
    store.kept["nearfar", "mine"] = SECRET
    with pytest.raises(KeyUnavailableError, match="another key than the one"):
        unlock(tmp_path / "a")


def test_a_key_file_is_made_for_its_owner_alone_and_refused_when_others_may_read_it(folder, tmp_path):
    path = tmp_path / "k"
    before = os.umask(0)
    try:
        create_key(folder, f"file:{path}")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(KeyUnavailableError, match=f"mode {mode:04o}.*chmod 600"):
            unlock(folder)
    path.chmod(0o400)
    unlock(folder)
    path.chmod(0o600)
    path.write_text("too short")
    with pytest.raises(KeyUnavailableError, match="64 hexadecimal digits") as raised:
        unlock(folder)
    assert "too short" not in str(raised.value)
    path.unlink()
    with pytest.raises(KeyUnavailableError, match="no such file"):
        unlock(folder)
    assert key_status(folder).problem


def test_a_key_file_beside_the_data_is_refused_also_through_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    for path in (folder / "k", tmp_path / "link" / "k"):
        with pytest.raises(KeyUnavailableError, match="with the data it is to protect"):
            create_key(folder, f"file:{path}")


def test_a_credential_that_is_not_there_says_what_to_do(folder, credentials, monkeypatch):
    with pytest.raises(KeyUnavailableError, match="LoadCredentialEncrypted=other"):
        create_key(folder, "credential:other")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(KeyUnavailableError, match="systemd-run"):
        create_key(folder, "credential:nearfar")


@pytest.mark.parametrize(
    "spec", ["", "keystore", "keystore:", "file:", "credential:", "credential:a/../b", "credential:..", "plain", "x:y"]
)
def test_a_spec_that_names_no_place_is_refused(folder, spec):
    with pytest.raises(KeyUnavailableError, match="keystore:NAME, credential:NAME, passphrase or file:PATH"):
        create_key(folder, spec)


def test_a_passphrase_in_the_spec_is_refused_and_not_repeated(folder):
    with pytest.raises(KeyUnavailableError) as raised:
        create_key(folder, f"passphrase:{PASSPHRASE}")
    assert PASSPHRASE not in str(raised.value)


CHANGES = {
    "n": lambda record: record["rung"].update(n=2**15),
    "salt": lambda record: record["rung"].update(salt="00" * 16),
    "id": lambda record: record.update(id="other"),
    "wrapped": lambda record: record.update(wrapped=record["wrapped"][:-2] + "00"),
    "wrapped cut": lambda record: record.update(wrapped="00"),
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A folder with a key under a passphrase, made once: scrypt takes its time on purpose."""
    folder = tmp_path_factory.mktemp("record")
    create_key(folder, "passphrase", ask=user())
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_a_record_put_together_by_somebody_else_unlocks_nothing(folder, record, change):
    record = json.loads((record / "key.json").read_text())
    CHANGES[change](record)
    (folder / "key.json").write_text(json.dumps(record))
    with pytest.raises(KeyUnavailableError, match=r"key\.json was changed"):
        unlock(folder, ask=user())


BROKEN = {
    "empty": "",
    "no JSON": "{",
    "no object": "[]",
    "newer": '{"format": 2}',
    "a huge n": '{"format": 1, "id": "a", "wrapped": "00", "rung": {"kind": "passphrase", "n": 1073741824, "salt": "%s"}}'
    % ("00" * 16),
    "an odd rung": '{"format": 1, "id": "a", "wrapped": "00", "rung": {"kind": "cloud"}}',
    "n no power of two": '{"format": 1, "id": "a", "wrapped": "00", "rung": {"kind": "passphrase", "n": 65537, "salt": "%s"}}'
    % ("00" * 16),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_record_is_an_error_that_names_it(folder, broken):
    (folder / "key.json").write_text(BROKEN[broken])
    with pytest.raises(KeyUnavailableError, match=r"key\.json|power of two"):
        unlock(folder, ask=user())


def test_a_lost_record_says_that_it_is_needed(folder):
    with pytest.raises(KeyUnavailableError, match="put it back from a backup"):
        unlock(folder)


def test_a_copied_folder_opens_with_the_same_passphrase(record, tmp_path):
    shutil.copytree(record, tmp_path / "copy")
    key = unlock(record, ask=user())
    assert unlock(tmp_path / "copy", ask=user()).subkey("database") == key.subkey("database")


def test_a_key_shows_itself_to_nobody(record, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    key = Key(bytes.fromhex(SECRET))
    assert repr(key) == str(key) == f"{key}" == "Key(hidden)"
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            take(key)
    with pytest.raises(TypeError):
        vars(key)
    with pytest.raises(NearfarError) as raised:
        unlock(record, ask=user("wrong " + PASSPHRASE))
    shown = "".join(traceback.format_exception(raised.value)) + caplog.text + "".join(capfd.readouterr())
    assert PASSPHRASE not in shown
    assert PASSPHRASE not in (record / "key.json").read_text()


def in_process(folder, code):
    script = f"import pathlib, sys\nfrom nearfar.edge.keys import *\nfolder = pathlib.Path(sys.argv[1])\n{code}"
    return subprocess.run(
        [sys.executable, "-c", script, folder],
        env={name: value for name, value in os.environ.items() if not name.startswith("NEARFAR_")},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # away from the terminal of whoever runs the tests
        stdin=subprocess.DEVNULL,
    )


def test_without_a_terminal_the_variable_is_named(folder):
    done = in_process(folder, "create_key(folder, 'passphrase')")
    assert "there is no terminal to ask for it; set NEARFAR_PASSPHRASE" in done.stderr.splitlines()[-1]
    assert names(folder) == []


def test_the_passphrase_comes_from_the_environment(folder, monkeypatch):
    monkeypatch.setenv("NEARFAR_PASSPHRASE", PASSPHRASE)
    create_key(folder, "passphrase")
    monkeypatch.setenv("NEARFAR_NEW_PASSPHRASE", "another passphrase")
    change_passphrase(folder)
    with pytest.raises(KeyUnavailableError, match="wrong"):
        unlock(folder)
    unlock(folder, ask=user("another passphrase"))


@pytest.mark.parametrize(("second", "answer"), [(PASSPHRASE, "made"), ("something else", "differ")])
def test_at_a_terminal_it_is_asked_twice_and_not_shown(folder, second, answer):
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        code = """
import pathlib, sys
from nearfar.edge.keys import create_key
from nearfar.errors import KeyUnavailableError
try:
    create_key(pathlib.Path(sys.argv[1]), "passphrase")
    print("made")
except KeyUnavailableError as error:
    print(error)
"""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NEARFAR_")}
        os.execve(sys.executable, [sys.executable, "-c", code, str(folder)], environment)
    seen = b""
    for prompt, typed in ((b"New passphrase: ", PASSPHRASE), (b"Once more: ", second)):
        while prompt not in seen:
            seen += os.read(terminal, 1024)
        os.write(terminal, typed.encode() + b"\n")
    while answer.encode() not in seen:
        seen += os.read(terminal, 1024)
    os.waitpid(child, 0)
    os.close(terminal)
    assert PASSPHRASE.encode() not in seen
    assert has_key(folder) == (answer == "made")


def test_without_the_packages_the_extra_is_named(folder):
    for missing, spec in (("cryptography", f"file:{folder.parent}/k"), ("keyring", "keystore:x")):
        code = f"sys.modules['{missing}'] = None\ncreate_key(folder, {spec!r})"
        done = in_process(folder, code)
        assert "nearfar[encryption]" in done.stderr.splitlines()[-1]
        assert MissingExtraError.__name__ in done.stderr.splitlines()[-1]
        assert names(folder) == []
