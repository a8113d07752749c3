"""Hits as a file."""

from __future__ import annotations

from pathlib import Path

from nearfar.cli.hits import write_page
from nearfar.cli.queries import Asked


def test_a_page_of_a_file_whose_name_is_no_utf_8_is_written(tmp_path: Path) -> None:
    asked = Asked("image", ["picture"], [b"\xff.png".decode("utf-8", "surrogateescape")], [None])
    write_page(tmp_path / "page.html", asked, [[]])
    assert "dcff.png" in (tmp_path / "page.html").read_text(encoding="utf-8")
