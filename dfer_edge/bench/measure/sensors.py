"""Energy, clocks, temperature and power mode: what this machine lets a user read, each absent cleanly.

Energy counters (RAPL, NVML) are read before and after; where there is only power (the INA3221 rails of a Jetson, else
tegrastats), it is sampled in a thread and summed over time. On a Jetson the rail of the whole board is taken: VDD_IN on
Nano and NX; on AGX there is none, and the rails are added.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dfer_edge.system import board

_SAMPLE_S = 0.02
_TEGRASTATS_MS = 50
_NVML, _RAPL = "NVML", "RAPL"
# On Nano and NX, and on Thor.
_WHOLE_BOARD = ("VDD_IN", "VIN")


class Sensor(Protocol):
    """Something that knows the energy used since some moment."""

    name: str

    def joules(self) -> float:
        """A counter; only differences mean something. OSError where it can be read no more."""
        ...

    def close(self) -> None:
        """Stop sampling."""
        ...


class Rapl:
    """Intel's and AMD's counters of a CPU package, which need leave to read: ``chmod a+r`` by the administrator."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{_RAPL} {(folder / 'name').read_text().strip()}"
        self._path, self._last, self._turns = folder / "energy_uj", 0, 0
        range_file = folder / "max_energy_range_uj"
        self._range = int(range_file.read_text()) if range_file.is_file() else 0
        self.joules()

    def joules(self) -> float:
        now = int(self._path.read_text())
        # The counter begins anew at its range, after minutes to hours.
        self._turns += now < self._last
        self._last = now
        return (now + self._turns * self._range) / 1e6

    def close(self) -> None:
        """Nothing to stop."""


class Rails:
    """The INA3221 of a Jetson, one or several chips: power of their rails, sampled and summed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        found = [path for folder in folders for path in sorted(folder.glob("in[1-3]_label"))]
        labels = {path.read_text().strip(): path for path in found}
        whole = [name for name in _WHOLE_BOARD if name in labels]
        used = {name: labels[name] for name in whole[:1] or labels}
        self._pairs = [
            (p.with_name(f"in{p.name[2]}_input"), p.with_name(f"curr{p.name[2]}_input")) for p in used.values()
        ]
        if not used:
            raise ValueError(f"expected rails with labels in {', '.join(map(str, folders)) or 'no folder'}")
        self.name = "INA3221 " + "+".join(used)
        self.watts()
        self._joules, self._lock, self._stop, self._error = 0.0, threading.Lock(), threading.Event(), ""
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def watts(self) -> float:
        """Now: millivolts times milliamperes."""
        return sum(int(volts.read_text()) * int(amperes.read_text()) for volts, amperes in self._pairs) / 1e6

    def _sample(self) -> None:
        last = time.perf_counter()
        while not self._stop.wait(_SAMPLE_S):
            try:
                now, power = time.perf_counter(), self.watts()
            except (OSError, ValueError) as error:
                self._error = str(error)
                return
            with self._lock:
                self._joules += power * (now - last)
            last = now

    def joules(self) -> float:
        if self._error:
            raise OSError(self._error)
        with self._lock:
            return self._joules

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


class Tegrastats:
    """NVIDIA's own monitor of a Jetson, for boards whose rails are not in sysfs where they are looked for."""

    def __init__(self, program: str) -> None:
        self.name, self._joules, self._last = "tegrastats", 0.0, time.perf_counter()
        command = [program, "--interval", str(_TEGRASTATS_MS)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        self._read(self._line())
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not power_of(line):
            self._process.kill()
            raise ValueError(f"expected power in mW, got {line[:80]!r}")
        return line

    def _read(self, line: str) -> None:
        now, found = time.perf_counter(), power_of(line)
        self.name = "tegrastats " + "+".join(found)
        self._joules += sum(found.values()) * (now - self._last)
        self._last = now

    def _follow(self) -> None:
        for line in self._process.stdout or ():
            if power_of(line):
                self._read(line)

    def joules(self) -> float:
        if self._process.poll() is not None:
            raise OSError(f"tegrastats ended with {self._process.returncode}")
        return self._joules

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()


def power_of(line: str) -> dict[str, float]:
    """Watts by rail of a line of tegrastats: that of the whole board if it is there, else all.

    ``VDD_IN 4512mW/4498mW`` is now and on average.
    """
    rails = {name: int(now) / 1e3 for name, now in re.findall(r"(\w+) (\d+)mW/\d+mW", line)}
    whole = next((name for name in _WHOLE_BOARD if name in rails), "")
    return {whole: rails[whole]} if whole else rails


class Nvml:
    """NVIDIA's counter of a discrete GPU; there is no NVML for the GPU of a Jetson before JetPack 7.

    Cards lack queries: each is asked alone, and one that is not supported is left out.
    """

    def __init__(self, library: Any, index: int = 0) -> None:
        self._library = library
        self._device = library.nvmlDeviceGetHandleByIndex(index)
        self.name = f"{_NVML} GPU {index}"

    def joules(self) -> float:
        try:
            return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._device)) / 1e3
        except self._library.NVMLError as error:
            raise OSError(str(error)) from error

    @property
    def card(self) -> str:
        """What the vendor calls it; empty if it does not say."""
        name = self._asked(lambda nv, device: nv.nvmlDeviceGetName(device))
        return name.decode() if isinstance(name, bytes) else name or ""

    def state(self) -> dict[str, Any]:
        """Clock in MHz, temperature, power limit in W."""
        found = {
            "gpu_mhz": self._asked(lambda nv, device: nv.nvmlDeviceGetClockInfo(device, nv.NVML_CLOCK_SM)),
            "gpu_celsius": self._asked(lambda nv, device: nv.nvmlDeviceGetTemperature(device, nv.NVML_TEMPERATURE_GPU)),
            "gpu_power_limit_w": self._asked(lambda nv, device: nv.nvmlDeviceGetEnforcedPowerLimit(device) / 1e3),
        }
        return {name: value for name, value in found.items() if value is not None}

    def _asked(self, query: Callable[[Any, Any], Any]) -> Any:
        try:
            return query(self._library, self._device)
        except self._library.NVMLError:
            return None

    def close(self) -> None:
        """The library is kept open for the next run."""


def find(system: Path = Path("/sys")) -> list[Sensor]:
    """Every energy sensor that can be read, the whole board or package first; empty if there is none."""
    found: list[Sensor] = []
    with contextlib.suppress(OSError, ValueError):
        found.append(Rails(sorted(system.glob("bus/i2c/drivers/ina3221*/*/hwmon/hwmon*"))))
    if not found and (program := shutil.which("tegrastats")):
        with contextlib.suppress(OSError, ValueError):
            found.append(Tegrastats(program))
    for folder in sorted(system.glob("class/powercap/intel-rapl:?")):
        with contextlib.suppress(OSError, ValueError):
            found.append(Rapl(folder))
    if (gpu := nvml()) is not None:
        with contextlib.suppress(OSError):
            gpu.joules()
            found.append(gpu)
    return found


def joules_of(energy: Mapping[str, Any], device: str) -> float | None:
    """Joules a sample of a row's ``energy`` that mean ``device`` (``cpu``, ``cuda``); None without such a sensor.

    The whole board's where there is that; else the GPU's own counter for ``cuda``, the package's for ``cpu``.
    """
    found = energy.get("joules_per_sample", {})
    wanted = [name for name in found if name.startswith(_NVML)] if device == "cuda" else []
    board = [name for name in found if not name.startswith((_NVML, _RAPL))]
    package = [name for name in found if name.startswith(_RAPL)] if device == "cpu" else []
    name = next(iter(board + wanted + package), None)
    return None if name is None else float(found[name])


def nvml() -> Nvml | None:
    """The first GPU; None without the library or the driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return Nvml(pynvml)
    except pynvml.NVMLError:
        return None


@contextlib.contextmanager
def measured(sensors: list[Sensor]) -> Iterator[dict[str, float]]:
    """Energy used within the ``with``: sensor name -> joules, filled at its end; without one that can not be read."""
    found: dict[str, float] = {}
    before = _readings(sensors)
    yield found
    after = _readings(sensors)
    found.update({name: value - before[name] for name, value in after.items() if name in before})


def _readings(sensors: list[Sensor]) -> dict[str, float]:
    found = {}
    for sensor in sensors:
        with contextlib.suppress(OSError):
            found[sensor.name] = sensor.joules()
    return found


def state(system: Path = Path("/sys")) -> dict[str, Any]:
    """Clocks in MHz, temperatures in degrees Celsius, governor and power mode, as far as they can be read."""
    found: dict[str, Any] = {"power_mode": board.power_mode()}
    clocks = _numbers(system.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
    if clocks:
        found["cpu_mhz"] = [min(clocks.values()) / 1e3, max(clocks.values()) / 1e3]
    for path in system.glob("devices/system/cpu/cpu0/cpufreq/scaling_governor"):
        found["governor"] = _read(path)
    gpu = _numbers(
        path / "cur_freq" for path in system.glob("class/devfreq/*") if "gpu" in path.name or "gp" in path.name
    )
    if gpu:
        found["gpu_mhz"] = max(gpu.values()) / 1e6
    zones = {
        _read(path.parent / "type"): value for path, value in _numbers(system.glob("class/thermal/*/temp")).items()
    }
    if zones:
        found["celsius"] = {name: value / 1e3 for name, value in sorted(zones.items())}
    if (card := nvml()) is not None:
        found |= card.state()
    return {name: value for name, value in found.items() if value not in ("", None)}


def _numbers(paths: Any) -> dict[Path, float]:
    values = {path: _read(path) for path in paths}
    return {path: float(text) for path, text in values.items() if text.lstrip("-").isdecimal()}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
