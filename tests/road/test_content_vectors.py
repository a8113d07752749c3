"""Pictures and texts of items become vectors by the bundles that a recipe names."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import write_tiny_bundle
from tiny_image_bundle import write_tiny_image_bundle

from nearfar.edge.encoder import Encoder
from nearfar.errors import BundleError, NearfarError
from nearfar.recipe.events import ItemContent
from nearfar.road.content_vectors import embed_content
from nearfar.sources.item_table import ItemRow


def picture(shade: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    write_tiny_bundle(folder / "text")
    write_tiny_image_bundle(folder / "image")
    return folder


def test_nothing_is_embedded_where_no_bundle_is_named(tmp_path):
    assert embed_content(None) is None
    assert embed_content(ItemContent(path=tmp_path / "items.csv")) is None


def test_each_item_has_the_vector_of_its_own_picture_and_words(bundles):
    embed = embed_content(
        ItemContent(path=bundles / "items.csv", image_bundle=bundles / "image", text_bundle=bundles / "text")
    )
    rows = [
        ItemRow("a", title="red lamp", texts={"about": "for a desk"}, image=picture(30)),
        ItemRow("b", texts={"about": "  "}),
        ItemRow("c", title="blue chair", image=picture(200)),
    ]
    pictures, words = embed("image", rows), embed("text", rows)
    assert not pictures[1].any()
    assert not words[1].any()
    seen = Encoder.open(bundles / "image").embed([rows[0].image, rows[2].image])
    read = Encoder.open(bundles / "text").embed(["red lamp\nfor a desk", "blue chair"])
    np.testing.assert_allclose(pictures[[0, 2]], seen, atol=1e-6)
    np.testing.assert_allclose(words[[0, 2]], read, atol=1e-6)


def test_a_bundle_of_another_kind_is_refused_by_the_key_that_names_it(bundles):
    embed = embed_content(ItemContent(path=bundles / "items.csv", image_bundle=bundles / "text"))
    with pytest.raises(BundleError, match=r"data\.source\.items\.image_bundle must be of kind image-encoder"):
        embed("image", [ItemRow("a", image=picture(3))])


def test_a_broken_picture_is_told_by_its_item(bundles):
    embed = embed_content(ItemContent(path=bundles / "items.csv", image_bundle=bundles / "image"))
    with pytest.raises(NearfarError, match=r"items\.csv:3"):
        embed("image", [ItemRow("a", image=picture(3)), ItemRow("b", image=b"no picture", location="items.csv:3")])
