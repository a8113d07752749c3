"""Names of identities: which there may be, and which are one."""

from __future__ import annotations

import re
import unicodedata

from nearfar.edge.verify.enrolment import EnrolmentError

_LONGEST = 200

# Code points that show nothing though Unicode calls them letters, marks or symbols (most of Default_Ignorable_Code_Point, and blank
# Hangul and Braille): with one of them a name would look like another.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def one_spelling(name: str) -> bytes:
    """The same bytes for all spellings of a name that Unicode takes for equivalent or for forms of each other (NFKC)."""
    return unicodedata.normalize("NFKC", name).encode("utf-8", "surrogatepass")


def check_name(name: str) -> None:
    """Refuse what nobody should be enrolled as.

    Raises:
        EnrolmentError: the name is empty, too long, begins or ends with a space, or holds what cannot be seen.
    """
    if (
        not isinstance(name, str)
        or not name
        or name != name.strip()
        or len(name) > _LONGEST
        or not name.isprintable()
        or _UNSEEN.search(name)
    ):
        raise EnrolmentError(
            f"{str(name)[:50]!r}: is no name of an identity; give up to {_LONGEST} characters that can be seen, without a space at the "
            "beginning or the end"
        )
