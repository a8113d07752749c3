"""`nearfar evaluate` of a bundle that tells identities apart, as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_identities import write_identity_pictures
from tiny_image_bundle import write_tiny_image_bundle

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("who") / "[red]who"
    write_tiny_image_bundle(folder / "encoder")
    write_identity_pictures(folder / "people", 12, 8)
    return folder


def test_error_rates_attacks_and_curves(folder: Path, nearfar: Command) -> None:
    figures, page = folder / "figures.json", folder / "det.html"
    code, out, err = nearfar(
        "evaluate", folder / "encoder", folder / "people", "--samples", "3", "--plot", page, "--json", figures
    )
    assert code == 0, err
    assert "EER" in out
    assert "raw pixels" in out
    assert "templates linked, D_sys" in out
    assert "has no threshold" in out
    assert "so few identities" in out
    assert "[red]who" in out
    assert page.is_file()
    record = json.loads(figures.read_text("utf-8"))
    assert record["identities"] == 12
    assert record["threshold"] is None
    assert 0 <= record["bundle"]["eer"]["low"] <= record["bundle"]["eer"]["value"]
    assert record["attacks"]["unlinkability_null"]["value"] > 0


def test_without_attacks_and_at_another_threshold(folder: Path, nearfar: Command) -> None:
    arguments = (
        "evaluate",
        folder / "encoder",
        folder / "people",
        "--samples",
        "3",
        "--no-attacks",
        "--threshold",
        "0.9",
    )
    code, out, _ = nearfar(*arguments)
    assert code == 0
    assert "FMR at the threshold" in out
    assert "attack" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plot", "det.pdf"), ".png or .html"),
        (("--plot", "nowhere/det.png"), "make it first"),
        (("--samples", "50"), "more than 50 samples"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, nearfar: Command, arguments: tuple[str, str], message: str) -> None:
    code, out, err = nearfar("evaluate", folder / "encoder", folder / "people", *arguments)
    assert code != 0
    assert message in " ".join((out + err).split())
    assert "Traceback" not in out + err
