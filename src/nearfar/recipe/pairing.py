"""What every rule has that says which items belong together."""

from __future__ import annotations

from nearfar.recipe.settings import Settings


class PairingRule(Settings):
    """What every pairing rule has."""

    measure: bool = True
    """Whether held-out pairs of this rule are measured. `false` for a rule that is only there to learn from: its texts are
    no candidates then, and nothing of a held-out document is trained on either way."""
