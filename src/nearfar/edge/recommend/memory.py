"""What follows from a history: the profile, and what was seen. Always the fold of its events, one by one, in the order of their times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.catalogue import Catalogue, Ints
from nearfar.edge.recommend.log_head import LogHead
from nearfar.edge.recommend.profile import Profile
from nearfar.edge.recommend.stored_event import StoredEvent
from nearfar.errors import DataError
from nearfar.frontend.events import EventsFrontend

_BEFORE_ALL = (float("-inf"), 0)


class Memory:
    """The state of one user.

    An event is an action, and enters the profile, if its weight is above 0, its dwell time is no accident's, its item is in the catalogue,
    and the same was not done just before. What was acted on in any way is seen; what was only shown is not. The last word on an item
    decides whether it is disliked.

    Args:
        frontend: weighs events.
        catalogue: of the items.
        profile: of a new user; or of all events that will be taken first, without which it would be folded again.

    Attributes:
        profile: of all events taken so far.
        head: of the history, as far as it was taken.
    """

    def __init__(self, frontend: EventsFrontend, catalogue: Catalogue, profile: Profile) -> None:
        self.profile = profile
        self.head = LogHead("")
        self._frontend, self._catalogue = frontend, catalogue
        self._seen = np.zeros(len(catalogue), dtype=np.bool_)
        self._disliked = np.zeros(len(catalogue), dtype=np.bool_)
        self._order = _BEFORE_ALL
        self._done: dict[tuple[str, str], float] = {}

    def take(self, events: Iterable[StoredEvent], *, folded: bool = False) -> None:
        """Take events that `follows` would allow.

        Args:
            events: in their order.
            folded: the profile has them already.
        """
        for stored in events:
            self._order = stored.order
            action = self._action(stored.event)
            if action is not None and not folded:
                number, weight = action
                self.profile = self.profile.after(
                    number, stored.event.time or 0.0, weight, self._catalogue.vector(number)
                )

    def follows(self, events: Sequence[StoredEvent]) -> bool:
        """Whether events, in their order, come after all that were taken; if not, everything must be folded anew."""
        return not events or events[0].order > self._order

    def hidden(self, *, seen: bool) -> Ints:
        """Numbers of items that are not recommended, int64.

        Args:
            seen: whether what was seen is recommended all the same; what is disliked never is.
        """
        return np.flatnonzero(self._disliked if seen else self._seen)

    def _action(self, event: Event) -> tuple[int, float] | None:
        """Note an event; the number of the item and the weight where it is an action."""
        number = self._catalogue.number_of(event.item)
        try:
            kind = self._frontend.kind_weight(event.action)
            weight = self._frontend.weight_of(event.action, event.dwell, event.rating)
        except DataError:  # of a kind that another bundle knew
            return None
        if number is not None and kind:
            self._seen[number] = True
        if weight < 0 and number is not None:
            self._disliked[number] = True
        if weight <= 0 or self._frontend.is_accident(weight, event.dwell) or self._repeats(event):
            return None
        if number is None:
            return None
        self._disliked[number] = False
        return number, weight

    def _repeats(self, event: Event) -> bool:
        """Whether the same was done just before, as `nearfar.frontend.events.repeated` says."""
        key, time = (event.item, event.action), event.time or 0.0
        before = self._done.get(key, float("-inf"))
        self._done[key] = time
        return time - before <= self._frontend.settings.repeat
