"""What a server allows."""

from __future__ import annotations

import dataclasses

from dfer_edge.errors import InvalidInput

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclasses.dataclass(frozen=True)
class Config:
    """Limits and locks of a server.

    Attributes
    ----------
    host, port
        Where it listens; the machine itself unless told otherwise.
    api_key
        What callers must send as ``Authorization: Bearer KEY`` or ``X-API-Key``; None asks nobody.
    max_mb
        Largest body of a request, and 1/16 of it the largest frame of a stream.
    max_frames
        Of a video; what is longer is refused.
    max_clients
        Streams at once.
    per_minute
        Requests a minute from one address.
    window_s, hop_s
        Of streams.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    max_mb: float = 64.0
    max_frames: int = 9000
    max_clients: int = 64
    per_minute: int = 600
    window_s: float = 4.0
    hop_s: float = 0.0

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.api_key:
            reason = f"expected an API key for a server that others reach, got none for {self.host}"
            raise InvalidInput(reason, "--api-key KEY, or set DFER_EDGE_API_KEY")
        for name in ("max_mb", "max_frames", "max_clients", "per_minute"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"expected {name} above 0, got {getattr(self, name)!r}")

    @property
    def max_bytes(self) -> int:
        return int(self.max_mb * (1 << 20))

    @property
    def max_frame_bytes(self) -> int:
        return self.max_bytes // 16
