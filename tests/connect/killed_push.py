"""A push that is there to be killed: `python killed_push.py ADDRESS COUNT`, one line a batch."""

from __future__ import annotations

import sys

from made_passages import MadePassages

from nearfar.connect.address import parse_address
from nearfar.connect.server import connect
from nearfar.connect.transfer import push_passages

if __name__ == "__main__":
    push_passages(
        MadePassages(int(sys.argv[2])),
        connect(parse_address(sys.argv[1])),
        place="here",
        progress=lambda stage, done: print(stage, done, flush=True),
    )
