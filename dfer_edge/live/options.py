"""What a caller of a stream or a session asks for, checked once."""

from __future__ import annotations

import dataclasses
import math

from dfer_edge.errors import InvalidInput
from dfer_edge.flow.clips import SHORTEST_S, WINDOW_S

# Seconds between two observations of a person: fast enough for smoothing within 150 ms, a third of a camera's frames.
HOP_S = 0.1
SMOOTHINGS = ("exponential", "hmm", "off")


@dataclasses.dataclass(frozen=True)
class Limits:
    """How far deadline mode may go; it says in the log and in the statistics what it did.

    Attributes
    ----------
    hop_s
        Longest time between observations.
    beat_s
        Longest time between looks for newcomers.
    precisions
        Other precisions that may be switched to, in this order; loaded at the start.
    """

    hop_s: float = 0.5
    beat_s: float = 1.0
    precisions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Options:
    """How a stream or a session looks, speaks and smooths.

    Attributes
    ----------
    window_s
        Seconds of the past that an observation is about.
    hop_s
        Seconds between observations; 0 is every frame.
    deadline_ms
        Observations that would be older than this are not made: newer frames are taken instead. None is no deadline.
    limits
        Of what ``deadline_ms`` may change.
    smoothing
        ``exponential``, ``hmm`` (a hidden Markov model's forward filter: steadier and slower) or ``off``.
    delay_s
        Time constant of smoothing, and how long a new label must hold before it is said.
    margin
        What a new label must be ahead of the present one, 0 to 1.
    unknown_below
        Confidence under which the label is ``unknown``, 0 never; None follows the recogniser's ``unknown_risk``.
    personal_neutral
        Expressions are measured against how the person looks most of the time (experimental).
    max_people
        The largest faces of a frame are scored.
    no_face
        Say so when nobody is there.
    frames
        Observations carry the frame.
    queue
        Frames of a live source that may wait; the oldest are dropped and counted.
    drop
        Whether frames that nobody waits for are dropped; None drops those of live sources.
    realtime
        Files are played at their speed, as a camera would give them.
    reconnect
        Whether a live source that was lost is opened again, with growing pauses.
    timeout_s
        Seconds without a frame after which the stream raises :class:`~dfer_edge.SourceLost`; None waits for ever.
    stall_s
        Seconds without a frame after which a live source counts as lost.
    rate
        Frames a second of sources without a clock; None takes the time of arrival for iterators, else 25.
    """

    window_s: float = WINDOW_S
    hop_s: float = HOP_S
    deadline_ms: float | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)
    smoothing: str = "exponential"
    delay_s: float = 0.1
    margin: float = 0.1
    unknown_below: float | None = None
    personal_neutral: bool = False
    max_people: int = 32
    no_face: bool = True
    frames: bool = False
    queue: int = 1
    drop: bool | None = None
    realtime: bool = False
    reconnect: bool = True
    timeout_s: float | None = None
    stall_s: float = 5.0
    rate: float | None = None

    def __post_init__(self) -> None:
        for what, value in (("window", self.window_s), ("hop", self.hop_s)):
            if value == math.inf:
                raise InvalidInput(f"expected a {what} that ends, of a stream that need not, got {value!r}")
        _number("a window", self.window_s, SHORTEST_S, unit=" s")
        if self.hop_s != 0 or isinstance(self.hop_s, bool):
            _number("a hop", self.hop_s, SHORTEST_S, unit=" s, or 0 for every frame")
        _number("a delay", self.delay_s, 0.0)
        _number("margin", self.margin, 0.0, 1.0)
        if self.unknown_below is not None:
            _number("unknown_below", self.unknown_below, 0.0, 1.0)
        for what in ("deadline_ms", "timeout_s", "rate"):
            if getattr(self, what) is not None:
                _number(what, getattr(self, what), 1e-3)
        _number("stall_s", self.stall_s, 1e-3)
        for what in ("max_people", "queue"):
            value = getattr(self, what)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInput(f"expected {what} as a whole number of at least 1, got {value!r}")
        if self.smoothing not in SMOOTHINGS:
            raise InvalidInput(f"expected smoothing out of {', '.join(SMOOTHINGS)}; got {self.smoothing!r}")


def make_options(window: float | None = None, hop: float | None = None, **options: object) -> Options:
    """Options from keyword arguments; ``window`` and ``hop`` are also spelt ``window_s`` and ``hop_s``.

    Raises
    ------
    InvalidInput
        For an unknown name, both spellings of one, or a value that cannot be.
    """
    for name, value in (("window", window), ("hop", hop)):
        if value is not None:
            if options.get(f"{name}_s") is not None:
                raise InvalidInput(f"expected {name} or {name}_s, got both")
            options[f"{name}_s"] = value
    known = {field.name for field in dataclasses.fields(Options)}
    given = {name: value for name, value in options.items() if value is not None}
    if unknown := sorted(set(given) - known):
        raise InvalidInput(f"expected options out of {', '.join(sorted(known))}; got {', '.join(unknown)}")
    return Options(**given)  # type: ignore[arg-type]


def _number(what: str, value: object, least: float, most: float = math.inf, unit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        bound = f"of at least {least:g}{unit}" if most == math.inf else f"of {least:g} to {most:g}"
        raise InvalidInput(f"expected {what} {bound}, got {value!r}")
