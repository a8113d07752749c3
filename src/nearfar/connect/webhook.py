"""Alarms by HTTP POST, in a thread of its own, so that a slow server never holds up the stream."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

from nearfar.errors import DataError

KEPT = 1_000
"""Records that wait for a server that is away; for each more the oldest is lost and counted."""
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its content."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Follow none."""


def is_webhook(text: str) -> bool:
    """Whether this is an address for `Webhook`."""
    return text.startswith(("http://", "https://"))


class Webhook:
    """Posts records as JSON, in their order, again and again until the server takes them.

    A record that the server refuses (400, 404, a redirect) is lost at once; one that it cannot take now (no answer, 429, 5xx)
    is tried again after pauses that double, or as long as its `Retry-After` says. Each has an `Idempotency-Key`, by which a server
    knows a record that it got twice.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        kept: int = KEPT,
        timeout: float = 10.0,
        first_pause: float = 1.0,
        longest_pause: float = 60.0,
    ) -> None:
        """Begin to wait for records.

        Args:
            url: http or https.
            token: sent as `Authorization: Bearer`; by default that of the environment, `NEARFAR_WEBHOOK_TOKEN`.
            kept: how many records wait for a server that is away.
            timeout: seconds that an answer may take.
            first_pause: seconds before the second attempt.
            longest_pause: seconds between two attempts at most.

        Raises:
            DataError: the address is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"{url}: not an address for a webhook; write http://host/path or https://host/path")
        if parts.username or parts.password:
            raise DataError(
                f"{parts.hostname}: a webhook takes no user and password in its address; set NEARFAR_WEBHOOK_TOKEN"
            )
        self._url = url
        self._place = f"{parts.scheme}://{parts.netloc}"  # a path may be a secret, as those of chat services are
        self._headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "nearfar"}
        if token := os.environ.get("NEARFAR_WEBHOOK_TOKEN", "") if token is None else token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._kept, self._timeout = kept, timeout
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._waiting: deque[bytes] = deque()
        self._sending: bytes | None = None
        self._changed = threading.Condition()
        self._closing_at: float | None = None
        self.lost = 0
        """Records that nobody will get."""
        self.problem = ""
        """Why the last attempt failed; empty after one that succeeded."""
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return self._place

    def send(self, record: Mapping[str, Any]) -> None:
        """Post a record; never waits for the server."""
        body = json.dumps(record, ensure_ascii=False).encode()
        with self._changed:
            self._waiting.append(body)
            if len(self._waiting) > self._kept:
                self._waiting.popleft()
                self.lost += 1
            self._changed.notify_all()

    def close(self, patience: float = 5.0) -> None:
        """Wait up to `patience` seconds until all are posted; what is left is lost."""
        with self._changed:
            self._closing_at = time.monotonic() + patience
            self._changed.notify_all()
        self._thread.join(patience + 0.2)
        with self._changed:
            self.lost += len(self._waiting) + (self._sending is not None)
            self._waiting.clear()

    def _work(self) -> None:
        while self._take():
            assert self._sending is not None
            failures = 0
            while not self._over:
                done, pause = self._post(self._sending)
                if done:
                    self._sending = None
                    break
                doubled = self._first_pause * 2.0 ** min(failures, 20)
                failures += 1
                self._rest(min(max(pause, doubled * random.uniform(0.5, 1.0)), self._longest_pause))

    @property
    def _over(self) -> bool:
        return self._closing_at is not None and time.monotonic() >= self._closing_at

    def _take(self) -> bool:
        """Begin with the oldest record as soon as there is one; False at the end."""
        with self._changed:
            while not self._waiting and self._closing_at is None:
                self._changed.wait()
            if not self._waiting or self._over:
                return False
            self._sending = self._waiting.popleft()
            return True

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._changed:
            while (left := min(until, self._closing_at or until) - time.monotonic()) > 0:
                self._changed.wait(left)

    def _post(self, body: bytes) -> tuple[bool, float]:
        """Try once: whether the record is done with, and for how many seconds the server asked for a pause."""
        headers = self._headers | {"Idempotency-Key": hashlib.sha256(body).hexdigest()[:32]}
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                answer.read(1 << 16)
        except urllib.error.HTTPError as error:
            with error:
                self.problem = f"the server answers {error.code} {error.reason}".rstrip()
                if error.code in _TRY_AGAIN:
                    return False, _seconds(error.headers.get("Retry-After"))
            self.lost += 1
            return True, 0.0
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            self.problem = f"no answer ({getattr(reason, 'strerror', None) or reason})"
            return False, 0.0
        self.problem = ""
        return True, 0.0


def _seconds(retry_after: str | None) -> float:
    """What `Retry-After` asks for in seconds; 0 where it says nothing or names a date."""
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.0
