"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters of one server."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        named = {"registry": self.registry}
        self.requests = Counter("dfer_requests", "Requests by path and status", ["path", "status"], **named)
        self.seconds = Histogram("dfer_request_seconds", "Time to answer", ["path"], buckets=_SECONDS, **named)
        self.rounds = Histogram("dfer_stream_round_seconds", "One frame of every stream", buckets=_SECONDS, **named)
        self.frames = Counter("dfer_stream_frames", "Frames received in streams", **named)
        self.faces = Counter("dfer_stream_faces", "Faces scored in streams", **named)
        self.refused = Counter("dfer_refused", "Requests and frames refused, by reason", ["reason"], **named)
        self.clients = Gauge("dfer_stream_clients", "Streams open", **named)

    def round(self, seconds: float, faces: int) -> None:
        """A round of the hub."""
        self.rounds.observe(seconds)
        self.faces.inc(faces)

    def text(self) -> bytes:
        """The exposition format."""
        text: bytes = generate_latest(self.registry)
        return text
