"""A new threshold for a vault: of the same encoder it is taken over, of another one it is refused."""

import numpy as np
import pytest
from people_bundle import people_bundle, picture, pictures

from nearfar.edge.verify import Verifier
from nearfar.edge.verify.record import opened_row
from nearfar.errors import BundleError, DataError


@pytest.fixture
def bundle(tmp_path):
    return people_bundle(tmp_path / "b")


@pytest.fixture
def verifier(bundle, tmp_path):
    with Verifier.create(tmp_path / "v", bundle, key=f"file:{tmp_path / 'key'}") as made:
        made.enroll("ann", pictures(1, 3))
        yield made


def bundles(path):
    return sorted(place.name for place in path.glob("bundle-*"))


def test_a_calibrated_bundle_is_taken_over_and_nobody_enrols_again(verifier, tmp_path):
    score = verifier.verify("ann", picture(1, 50)).score
    strict = people_bundle(tmp_path / "strict", threshold=score + 0.005)
    with Verifier.open(tmp_path / "v") as elsewhere:
        verifier.adopt(strict)
        assert bundles(tmp_path / "v") == [f"bundle-{strict.digest[:16]}"]
        for one in (verifier, elsewhere):  # an open vault of another process follows
            assert one.threshold == score + 0.005
            assert not one.verify("ann", picture(1, 50)).accepted
            assert one.identify(picture(1, 50)).identity is None
    verifier.adopt(strict, threshold=score - 0.005)
    verifier.close()
    with Verifier.open(tmp_path / "v") as again:
        assert again.bundle.digest == strict.digest
        assert again.verify("ann", picture(1, 50)).accepted
        assert [entry.kind for entry in again.audit()].count("adopt") == 2


def test_a_bundle_of_another_encoder_is_refused(verifier, bundle, tmp_path):
    cohort = np.eye(48, dtype=np.float32)
    for name, change in (("weights", {"seed": 1}), ("cohort", {"cohort": cohort})):
        with pytest.raises(BundleError, match="another encoder"):
            verifier.adopt(people_bundle(tmp_path / name, **change))
    with pytest.raises(BundleError, match="nearfar calibrate"):
        verifier.adopt(people_bundle(tmp_path / "none", threshold=None))
    with pytest.raises(DataError, match="finite"):
        verifier.adopt(bundle, threshold=float("nan"))
    assert verifier.verify("ann", picture(1, 50)).accepted
    assert bundles(tmp_path / "v") == [f"bundle-{bundle.digest[:16]}"]


def test_what_an_interrupted_change_left_is_of_no_harm(verifier, tmp_path):
    other = people_bundle(tmp_path / "strict", threshold=0.7)
    (tmp_path / "v" / f"bundle-{other.digest[:16]}").mkdir()  # half written
    verifier.close()
    with Verifier.open(tmp_path / "v") as again:
        assert again.threshold == 0.6
        again.adopt(other)
        assert again.threshold == 0.7
    assert bundles(tmp_path / "v") == [f"bundle-{other.digest[:16]}"]


def test_a_template_of_another_encoder_is_no_template(bundle, verifier, tmp_path):
    """Under the same key and tag: the seal binds a template to the encoder that it is of."""
    vault = verifier._vault
    with vault.change() as change:
        tag = vault.seal.tag("ann")
        row = vault.connection.execute("SELECT * FROM templates WHERE tag = ?", (tag,)).fetchone()
        assert opened_row(vault.seal, change.head.encoder, row) is not None
        assert opened_row(vault.seal, "0" * 64, row) is None
