"""What of an index of several modalities a language model can read."""

from __future__ import annotations

from nearfar.bundle.bundle import Bundle
from nearfar.frontend.settings import JointSettings, TextSettings
from nearfar.sources.document import MODALITY


def text_towers(bundle: Bundle) -> dict[str, TextSettings]:
    """The towers of texts of an encoder of several modalities; none of any other bundle."""
    frontend = bundle.manifest.frontend
    if not isinstance(frontend, JointSettings):
        return {}
    return {name: settings for name, settings in frontend.towers.items() if isinstance(settings, TextSettings)}


def only_texts(bundle: Bundle | None, where: str | None) -> str | None:
    """A condition that allows texts alone, in addition to another one; in an index of texts that one as it is."""
    towers = text_towers(bundle) if bundle is not None else {}
    if not towers:
        return where
    texts = f"{MODALITY} in ({', '.join(repr(name) for name in towers)})"
    return f"({where}) and {texts}" if where else texts
