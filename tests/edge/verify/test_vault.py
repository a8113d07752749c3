"""What a thief or a forger can do with the files of a vault: everything that is not as it was written is found out."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from people_bundle import people_bundle, picture, pictures

from nearfar.edge.keys import open_key
from nearfar.edge.verify import Verifier
from nearfar.edge.verify.vault import Vault
from nearfar.errors import BundleError, KeyUnavailableError, NearfarError, StoreError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return people_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def made(bundle, tmp_path_factory):
    """A closed vault with two people, one failure and a few entries."""
    folder = tmp_path_factory.mktemp("made")
    with Verifier.create(folder / "v", bundle, key=f"file:{folder / 'key'}") as verifier:
        verifier.enroll("ann", pictures(1, 3))
        verifier.enroll("bob", pictures(2, 3))
        verifier.verify("ann", picture(2, 50))
    return folder / "v"


@pytest.fixture
def path(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "v"))


def bundle_of(path):
    (place,) = path.glob("bundle-*")
    return place


def edit(path, *statements):
    connection = sqlite3.connect(path / "vault.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    connection.close()


def everything(path):
    """All that a vault says, to see whether a change was harmless."""
    key = open_key(path)
    vault = Vault(path, key)
    try:
        head = vault.check()
        with vault.change() as change:
            records = [change.record(tag) for tag in sorted([*change.enrolled, vault.stand_in])]
        head_again, entries = vault.audit()
        assert head_again.counter == head.counter
        shown = [(one.identity, one.version, one.seed, one.template.tobytes(), one.samples) for one in records]
        return head.to_bytes(), shown, [text for _, text, _ in entries]
    finally:
        vault.close()


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.recipe)])
def test_every_byte_of_the_vault_that_is_flipped_is_found_or_changes_nothing(path, step):
    """The vault is refused by an error of ours, or all that it says is the same.

    Each offset of each file; in the quick run evenly spread ones: some of every page and of every blob, none of which is shorter.
    """
    right = everything(path)
    refused = harmless = 0
    for name in ("vault.sqlite", "key.json"):
        file = path / name
        content = file.read_bytes()
        for offset in range(len(name) % step, len(content), step):
            changed = bytearray(content)
            changed[offset] ^= 1 << (offset // step % 8)
            for beside in path.glob("vault.sqlite-*"):
                beside.unlink()
            file.write_bytes(changed)
            try:
                said = everything(path)
            except NearfarError:
                refused += 1
            else:
                assert said == right, (name, offset)
                harmless += 1
        file.write_bytes(content)
    assert everything(path) == right
    assert refused > 2500 / step


@pytest.mark.parametrize("file", ["manifest.json", "encoder.onnx", "SHA256SUMS", "card.md"])
def test_a_byte_of_the_bundle_that_is_flipped(path, file):
    content = (bundle_of(path) / file).read_bytes()
    for offset in range(0, len(content), max(1, len(content) // 20)):
        changed = bytearray(content)
        changed[offset] ^= 0x10
        (bundle_of(path) / file).write_bytes(changed)
        with pytest.raises((BundleError, StoreError)):
            Verifier.open(path)


def test_another_bundle_in_the_place_of_its_own(path, tmp_path):
    people_bundle(tmp_path / "other", seed=1)
    place = bundle_of(path)
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "other", place)
    with pytest.raises(StoreError, match="is not the bundle that the templates are of"):
        Verifier.open(path)


def swapped(column, other):
    """Exchange a column of two rows."""

    def change(path):
        connection = sqlite3.connect(path / "vault.sqlite", isolation_level=None)
        rows = connection.execute(f"SELECT tag, {column} FROM templates ORDER BY tag").fetchall()
        (first, its), (second, of_other) = rows[0], rows[other]
        connection.execute(f"UPDATE templates SET {column} = ? WHERE tag = ?", (of_other, first))
        connection.execute(f"UPDATE templates SET {column} = ? WHERE tag = ?", (its, second))
        connection.close()

    return change


FORGERIES = {
    "a template is deleted": lambda path: edit(
        path, "DELETE FROM templates WHERE tag = (SELECT min(tag) FROM templates)"
    ),
    "all templates are deleted": lambda path: edit(path, "DELETE FROM templates"),
    "a template is copied to another name": lambda path: edit(
        path,
        "INSERT INTO templates SELECT x'00112233445566778899aabbccddeeff', version, details, template FROM templates LIMIT 1",
    ),
    "two templates change places": swapped("template", 1),
    "two details change places": swapped("details", 2),
    "a version is raised": lambda path: edit(path, "UPDATE templates SET version = version + 1"),
    "a template is a text": lambda path: edit(path, "UPDATE templates SET template = 'x'"),
    "an entry of the log is deleted": lambda path: edit(path, "DELETE FROM audit WHERE number = 2"),
    "the last entry of the log is deleted": lambda path: edit(
        path, "DELETE FROM audit WHERE number = (SELECT max(number) FROM audit)"
    ),
    "an entry is put in": lambda path: edit(
        path, "INSERT INTO audit SELECT number + 10, digest, sealed FROM audit LIMIT 1"
    ),
    "two entries change places": lambda path: edit(
        path,
        "UPDATE audit SET number = -2 WHERE number = 2",
        "UPDATE audit SET number = 2 WHERE number = 3",
        "UPDATE audit SET number = 3 WHERE number = -2",
    ),
    "the head is deleted": lambda path: edit(path, "DELETE FROM meta WHERE name = 'head'"),
    "the identifier is another one": lambda path: edit(
        path, "UPDATE meta SET value = zeroblob(16) WHERE name = 'vault'"
    ),
    "the identifier is deleted": lambda path: edit(path, "DELETE FROM meta WHERE name = 'vault'"),
    "the format is newer": lambda path: edit(path, "UPDATE meta SET value = 2 WHERE name = 'format'"),
    "a table is dropped": lambda path: edit(path, "DROP TABLE audit"),
    "a trigger undoes what is written": lambda path: edit(
        path, "CREATE TRIGGER undo BEFORE UPDATE ON meta BEGIN SELECT RAISE(IGNORE); END"
    ),
    "a view hides the templates": lambda path: edit(
        path, "ALTER TABLE templates RENAME TO old", "CREATE VIEW templates AS SELECT * FROM old LIMIT 1"
    ),
    "the file is empty": lambda path: (path / "vault.sqlite").write_bytes(b""),
    "the file is cut off": lambda path: (path / "vault.sqlite").write_bytes(
        (path / "vault.sqlite").read_bytes()[:5000]
    ),
    "the file is missing": lambda path: (path / "vault.sqlite").unlink(),
    "the key record is missing": lambda path: (path / "key.json").unlink(),
    "the bundle is missing": lambda path: shutil.rmtree(bundle_of(path)),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_vault_is_not_opened(path, forgery):
    FORGERIES[forgery](path)
    with pytest.raises((StoreError, BundleError), match=r"v(ault)?[ :/]") as caught:
        Verifier.open(path)
    assert any(word in str(caught.value) for word in ("put", "copy or export", "give the directory"))


RELIED_ON = [
    "a template is deleted",
    "all templates are deleted",
    "two templates change places",
    "two details change places",
    "a version is raised",
    "a template is a text",
    "the last entry of the log is deleted",
    "an entry is put in",
    "the head is deleted",
    "the identifier is another one",
    "a table is dropped",
    "a trigger undoes what is written",
    "a view hides the templates",
]


@pytest.mark.parametrize("forgery", RELIED_ON)
def test_a_vault_that_is_forged_while_it_is_open_answers_nothing(path, forgery):
    with Verifier.open(path) as verifier:
        assert verifier.verify("ann", picture(1, 60)).accepted
        FORGERIES[forgery](path)
        with pytest.raises(StoreError, match="nothing is answered"):
            [verifier.verify(name, picture(1, 61)) for name in ("ann", "bob", "carl")]  # it may be of one of them


def rows(path, table):
    connection = sqlite3.connect(path / "vault.sqlite")
    found = connection.execute(f"SELECT * FROM {table}").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("table", ["templates", "meta", "audit"])
@pytest.mark.parametrize("while_open", [False, True])
def test_one_part_put_back_as_it_was(path, table, while_open):
    """After a renewal, and a failure: the old template, or the head that knows of no failure, alone."""
    old = rows(path, table)
    verifier = Verifier.open(path)
    verifier.enroll("ann", pictures(3, 3), renew=True)
    verifier.verify("ann", picture(9, 60))
    if not while_open:
        verifier.close()
    places = ", ".join("?" * len(old[0]))
    connection = sqlite3.connect(path / "vault.sqlite", isolation_level=None)
    connection.execute("BEGIN")
    connection.execute(f"DELETE FROM {table}")
    connection.executemany(f"INSERT INTO {table} VALUES ({places})", old)
    connection.execute("COMMIT")
    connection.close()
    with pytest.raises(StoreError, match="tampered"):
        verifier.verify("ann", picture(1, 61)) if while_open else Verifier.open(path)


def put_back(path, copy):
    for file in path.glob("vault.sqlite*"):
        file.unlink()
    for file in copy.glob("vault.sqlite*"):
        shutil.copy(file, path)


def test_a_whole_old_copy_cannot_be_told_without_a_witness(path, tmp_path):
    """The stated limit: who writes the medium forgets failures, and brings back who was revoked."""
    copy = shutil.copytree(path, tmp_path / "copy")
    with Verifier.open(path) as verifier:
        verifier.revoke("bob")
    put_back(path, copy)
    with Verifier.open(path) as verifier:
        assert verifier.verify("bob", picture(2, 70)).accepted


def test_a_whole_old_copy_is_told_from_the_present_one_by_a_witness(path, tmp_path):
    witness = tmp_path / "elsewhere.json"
    with Verifier.open(path, witness=witness) as verifier:
        verifier.verify("ann", picture(1, 60))
    copy = shutil.copytree(path, tmp_path / "copy")
    with Verifier.open(path, witness=witness) as verifier:
        verifier.revoke("bob")
    put_back(path, copy)
    with pytest.raises(StoreError, match="is an old copy: it has seen"):
        Verifier.open(path, witness=witness)
    with pytest.raises(StoreError, match="is kept with a witness"):
        Verifier.open(path)
    with Verifier.open(path, witness=witness, renew_witness=True) as verifier:
        assert verifier.verify("bob", picture(2, 70)).accepted


def test_an_old_copy_that_is_put_back_under_an_open_vault(path, tmp_path):
    copy = shutil.copytree(path, tmp_path / "copy")
    with Verifier.open(path) as verifier:
        verifier.verify("ann", picture(9, 60))
        old = sqlite3.connect(copy / "vault.sqlite")
        now = sqlite3.connect(path / "vault.sqlite")
        old.backup(now)
        old.close()
        now.close()
        with pytest.raises(StoreError, match="older state while it was open"):
            verifier.verify("ann", picture(1, 60))


def test_a_witness_that_is_lost_forged_or_of_another_vault(path, bundle, tmp_path):
    witness, other = tmp_path / "w.json", tmp_path / "other.json"
    Verifier.open(path, witness=witness).close()
    with Verifier.create(tmp_path / "n", bundle, key=f"file:{tmp_path / 'k'}", witness=other):
        pass
    right = witness.read_bytes()
    for content in (b"", b"{}", b"[]", right.replace(b'"counter": ', b'"counter": 1'), other.read_bytes()):
        witness.write_bytes(content)
        with pytest.raises(StoreError, match="not the witness of this vault"):
            Verifier.open(path, witness=witness)
    witness.unlink()
    with pytest.raises(StoreError, match=r"witness of .* is missing"):
        Verifier.open(path, witness=witness)
    Verifier.open(path, witness=witness, renew_witness=True).close()
    with Verifier.open(path, witness=witness) as verifier:
        witness.unlink()
        with pytest.raises(StoreError, match="missing"):
            verifier.verify("ann", picture(1, 60))


def test_a_row_of_another_vault_with_the_same_people(path, bundle, tmp_path):
    with Verifier.create(tmp_path / "n", bundle, key=f"file:{tmp_path / 'k'}") as verifier:
        verifier.enroll("ann", pictures(9, 3))
    for column in ("details", "template"):
        foreign = rows(tmp_path / "n", "templates")[0][2 if column == "details" else 3]
        broken = Path(shutil.copytree(path, tmp_path / column))
        edit(broken, (f"UPDATE templates SET {column} = ? WHERE tag = (SELECT min(tag) FROM templates)", (foreign,)))
        with pytest.raises(StoreError, match="tampered"):
            Verifier.open(broken)


def test_the_key_of_another_vault_opens_nothing(path, bundle, tmp_path):
    Verifier.create(tmp_path / "n", bundle, key=f"file:{tmp_path / 'k'}").close()
    with pytest.raises(StoreError, match=r"key\.json is of another vault"):
        Verifier.open(path, ask=open_key(tmp_path / "n"))
    shutil.copy(tmp_path / "n" / "key.json", path / "key.json")
    with pytest.raises(StoreError, match=r"key\.json is of another vault"):
        Verifier.open(path)


def test_a_wrong_passphrase(bundle, tmp_path):
    Verifier.create(tmp_path / "v", bundle, ask=lambda _: "right horse battery").close()
    with pytest.raises(KeyUnavailableError, match="passphrase is wrong"):
        Verifier.open(tmp_path / "v", ask=lambda _: "wrong horse battery")
    Verifier.open(tmp_path / "v", ask=lambda _: "right horse battery").close()


def test_nothing_that_tells_of_people_lies_open(path):
    content = b"".join(file.read_bytes() for file in path.iterdir() if file.is_file())
    for word in (b"ann", b"bob", b"verify", b"no match", b"identity"):
        assert word not in content
    sizes = {(len(details), len(template)) for _, _, details, template in rows(path, "templates")}
    assert {template for _, template in sizes} == {12 + 32 + 16}


def test_a_revoked_template_is_written_over(path):
    before = [row[3] for row in rows(path, "templates")]
    with Verifier.open(path) as verifier:
        verifier.revoke("bob")
        verifier.enroll("ann", pictures(1, 4), renew=True)
        files = b"".join(file.read_bytes() for file in path.glob("vault.sqlite*"))
    assert sum(template in files for template in before) == 1  # the stand-in's


def test_a_folder_that_is_no_vault(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreError, match="is no vault of identities"):
            Verifier.open(folder)


def test_two_heads_of_one_state_have_nothing_in_common(path, tmp_path):
    """Nonces are fresh: sealing twice shows nothing, and lengths change in steps."""
    copy = Path(shutil.copytree(path, tmp_path / "copy"))
    heads = []
    for one in (path, copy):
        with Verifier.open(one) as verifier:
            verifier.verify("ann", picture(1, 60))
        heads.append(dict(rows(one, "meta"))["head"])
    first, second = heads
    assert len(first) == len(second)
    assert (len(first) - 28) % 1024 == 0
    assert sum(x == y for x, y in zip(first, second, strict=True)) < len(first) / 50
