"""Honest timing: pinned threads, warm-up by time, turns, percentiles, hot and cold caches."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[], Any]
Clock = Callable[[], float]

# A percentile needs a sample beyond it, or it is the maximum under another name.
LEAST_SAMPLES = {50: 1, 90: 10, 99: 100}
_CPUS = Path("/sys/devices/system/cpu")
_CACHE = _CPUS / "cpu0" / "cache"
_CACHE_DEFAULT = 32 << 20


def pin(threads: int) -> list[int]:
    """Keep this thread and all that it starts on ``threads`` cores; returns them.

    Call before importing an engine: pools take the cores that they find. Where the system cannot pin, all are kept.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if not hasattr(os, "sched_setaffinity"):
        return list(range(threads))
    cores = preferred(_ALLOWED)[:threads]
    os.sched_setaffinity(0, cores)
    return cores


def library_threads(threads: int) -> None:
    """Set the pools of the libraries that keep one for the process, as far as they are loaded: OpenCV's and torch's."""
    if cv2 := sys.modules.get("cv2"):
        cv2.setNumThreads(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def preferred(cores: Iterable[int], folder: Path = _CPUS) -> list[int]:
    """Cores in the order to take them: the fastest kind first, and of those core 0, which serves interrupts, last."""

    def rank(core: int) -> tuple[int, bool, int]:
        path = folder / f"cpu{core}" / "cpufreq" / "cpuinfo_max_freq"
        return -int(path.read_text()) if path.is_file() else 0, core == 0, core

    return sorted(cores, key=rank)


_ALLOWED = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def warm_up(call: Call, seconds: float, clock: Clock = time.perf_counter) -> int:
    """Run ``call`` at least once and for at least ``seconds``; returns how often."""
    end, count = clock() + seconds, 0
    while count == 0 or clock() < end:
        call()
        count += 1
    return count


def interleaved(
    calls: Mapping[str, Call],
    samples: int = 200,
    budget_s: float = float("inf"),
    least: int = 3,
    warm_up_s: float = 1.0,
    turn_ms: float = 0.0,
    clock: Clock = time.perf_counter,
    pause_s: float = 0.0,
    failed: dict[str, Exception] | None = None,
) -> dict[str, list[float]]:
    """Milliseconds of each call, taken in turns so that a noisy neighbour hits all alike.

    Parameters
    ----------
    calls
        By name; each is warmed up for ``warm_up_s`` first.
    samples
        Of each call.
    budget_s
        No further round is begun after so many seconds of timing, but for the ``least`` first.
    turn_ms
        A turn repeats the call for so long, after one call that does not count: short calls are then timed with their
        own data in the caches, not with the last call's.
    clock
        Seconds. ``time.process_time`` for work on one core of a busy machine, which otherwise counts others' time.
    pause_s
        Before each turn: thread pools of the last call spin for about a millisecond before they sleep.
    failed
        Takes the error of a call that raises; it is left out from then on, the others go on. Without it, errors pass.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}

    def attempt(name: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever a system throws
            if failed is None:
                raise
            failed[name] = error
            del times[name]

    for name, call in calls.items():
        attempt(name, lambda call=call: warm_up(call, warm_up_s))  # type: ignore[misc]
    begin, rounds = time.perf_counter(), 0
    while any(len(taken) < samples for taken in times.values()):
        if rounds >= least and time.perf_counter() - begin > budget_s:
            break
        for name, taken in list(times.items()):
            if len(taken) < samples:
                if pause_s:
                    time.sleep(pause_s)
                attempt(name, lambda name=name, taken=taken: taken.extend(_turn(calls[name], turn_ms, clock)))  # type: ignore[misc]
        rounds += 1
    return times


def _turn(call: Call, turn_ms: float, clock: Clock) -> list[float]:
    if turn_ms:
        call()
    times: list[float] = []
    while not times or sum(times) < turn_ms:
        begin = clock()
        call()
        times.append((clock() - begin) * 1e3)
    return times


def cold(call: Call, samples: int, budget_s: float, clock: Clock = time.perf_counter) -> list[float]:
    """Milliseconds of ``call``, each after twice the last-level cache was overwritten."""
    flush = np.zeros(2 * last_level_cache_bytes(), np.uint8)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < samples and (len(times) < 3 or time.perf_counter() - begin < budget_s):
        flush += 1
        times += _turn(call, 0.0, clock)
    return times


def last_level_cache_bytes(folder: Path = _CACHE) -> int:
    """Size of the largest cache of core 0; 32 MiB where the system does not say."""
    units = {"K": 1 << 10, "M": 1 << 20}
    sizes = [path.read_text().strip() for path in folder.glob("index*/size")]
    known = [int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units and size[:-1].isdecimal()]
    return max(known, default=_CACHE_DEFAULT)


def summary(times_ms: Sequence[float]) -> dict[str, float | int]:
    """``min``, ``mean``, ``samples`` and the percentiles that there are enough samples for.

    Medians are for ratios, minima say what the machine can do; a missing ``p99`` means too few samples.
    """
    found: dict[str, float | int] = {"min": float(min(times_ms)), "mean": float(np.mean(times_ms))}
    for percentile, least in LEAST_SAMPLES.items():
        if len(times_ms) >= least:
            found[f"p{percentile}"] = float(np.percentile(times_ms, percentile))
    return found | {"samples": len(times_ms)}
