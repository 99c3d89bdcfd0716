"""Who may ask, how much and how often."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from dfer_edge.errors import InvalidInput
from dfer_edge.serve.config import LOOPBACK, Config

# Addresses that are remembered; the longest silent goes first.
_MOST_ADDRESSES = 10_000


def key_is_right(given: str | None, config: Config) -> bool:
    """Whether a key is the server's, compared in constant time; always if it has none."""
    if config.api_key is None:
        return True
    return given is not None and hmac.compare_digest(given.encode(), config.api_key.encode())


def key_of(connection: HTTPConnection) -> str | None:
    """The key that a request carries."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    key: str | None = token.strip() if scheme.lower() == "bearer" else connection.headers.get("x-api-key")
    return key


def is_from_elsewhere(connection: HTTPConnection, config: Config) -> bool:
    """Whether a page of another site makes a browser ask: a server on loopback is open to every page otherwise."""
    host = connection.headers.get("host", "")
    name = urlsplit(f"//{host}").hostname or ""
    origin = connection.headers.get("origin")
    if config.host in LOOPBACK and name not in LOOPBACK:
        return True
    return origin is not None and urlsplit(origin).netloc != host


class Rate:
    """A bucket of tokens for each address.

    Parameters
    ----------
    per_minute
        Requests in the long run; a quarter of it at once.
    now
        The clock.
    """

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._most, self._now = per_minute / 60, max(1.0, per_minute / 4), now
        self._tokens: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admits(self, address: str) -> bool:
        """Take a token, if there is one."""
        now = self._now()
        tokens, at = self._tokens.pop(address, (self._most, now))
        tokens = min(self._most, tokens + (now - at) * self._per_s)
        self._tokens[address] = (max(0.0, tokens - 1) if tokens >= 1 else tokens, now)
        if len(self._tokens) > _MOST_ADDRESSES:
            self._tokens.popitem(last=False)
        return tokens >= 1


async def body_of(request: object, most: int) -> bytes:
    """The body of a request, read no further than ``most`` bytes.

    Raises
    ------
    TooLarge
        If it is longer.
    """
    parts, size = [], 0
    async for part in request.stream():  # type: ignore[attr-defined]
        size += len(part)
        if size > most:
            raise TooLarge(f"expected a body of at most {most} bytes, got more")
        parts.append(part)
    return b"".join(parts)


class TooLarge(InvalidInput):
    """A body beyond the limit: status 413."""
