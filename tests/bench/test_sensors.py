"""Sensors on a made-up /sys and a double of NVML: right when there, absent when not."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path

import pytest

from dfer_edge.bench.measure import provenance, sensors


def put(root: Path, **files: object) -> None:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


@pytest.fixture(autouse=True)
def _bare(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU and no board's monitor, whatever this machine has."""
    if "nvml" not in request.node.name:
        monkeypatch.setattr(sensors, "nvml", lambda: None)
    if "tegrastats" not in request.node.name:
        monkeypatch.setattr(sensors.shutil, "which", lambda program: None)


def test_a_machine_without_sensors(tmp_path: Path) -> None:
    assert sensors.find(tmp_path) == []
    with sensors.measured([]) as joules:
        pass
    assert joules == {}
    assert set(sensors.state(tmp_path)) <= {"power_mode"}


def test_rapl_counts_over_its_wrap(tmp_path: Path) -> None:
    folder = tmp_path / "class" / "powercap" / "intel-rapl:0"
    put(folder, name="package-0", energy_uj=990_000, max_energy_range_uj=1_000_000)
    (sensor,) = sensors.find(tmp_path)
    assert sensor.name == "RAPL package-0"
    with sensors.measured([sensor]) as joules:
        put(folder, energy_uj=40_000)
    assert joules == {"RAPL package-0": pytest.approx(0.05)}


def test_rapl_that_may_not_be_read_is_absent(tmp_path: Path) -> None:
    folder = tmp_path / "class" / "powercap" / "intel-rapl:0"
    put(folder, name="package-0")
    (folder / "energy_uj").mkdir()  # reading it raises an OSError, as a missing permission does
    assert sensors.find(tmp_path) == []


def rails(root: Path, chip: str = "1-0040", **labels: tuple[int, int]) -> Path:
    folder = root / "bus" / "i2c" / "drivers" / "ina3221" / chip / "hwmon" / "hwmon3"
    for number, (label, (millivolts, milliamperes)) in enumerate(labels.items(), 1):
        put(
            folder, **{f"in{number}_label": label, f"in{number}_input": millivolts, f"curr{number}_input": milliamperes}
        )
    return folder


def test_the_rail_of_the_whole_board_is_taken(tmp_path: Path) -> None:
    rails(tmp_path, VDD_IN=(5000, 2000), VDD_CPU_GPU_CV=(5000, 800), VDD_SOC=(5000, 300))
    (sensor,) = sensors.find(tmp_path)
    try:
        assert sensor.name == "INA3221 VDD_IN"
        assert sensor.watts() == pytest.approx(10)
        before = sensor.joules()
        until = time.perf_counter() + 5
        while sensor.joules() == before and time.perf_counter() < until:
            time.sleep(0.01)
        assert sensor.joules() > before
    finally:
        sensor.close()


def test_without_such_a_rail_they_are_added(tmp_path: Path) -> None:
    rails(tmp_path, VDD_GPU_SOC=(12000, 1000), VDD_CPU_CV=(12000, 500), VIN_SYS_5V0=(5000, 400))
    (sensor,) = sensors.find(tmp_path)
    sensor.close()
    assert sensor.name == "INA3221 VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0"
    assert sensor.watts() == pytest.approx(12 + 6 + 2)


def test_rails_of_all_chips_are_one_board(tmp_path: Path) -> None:
    rails(tmp_path, VDD_GPU_SOC=(12000, 1000), VDD_CPU_CV=(12000, 500))
    rails(tmp_path, "1-0041", VDDQ=(5000, 400))
    (sensor,) = sensors.find(tmp_path)
    sensor.close()
    assert sensor.name == "INA3221 VDD_GPU_SOC+VDD_CPU_CV+VDDQ"
    assert sensor.watts() == pytest.approx(12 + 6 + 2)


def test_a_rail_that_goes_away_is_dropped(tmp_path: Path) -> None:
    folder = rails(tmp_path, VDD_IN=(5000, 2000))
    (sensor,) = sensors.find(tmp_path)
    with sensors.measured([sensor]) as joules:
        (folder / "in1_input").unlink()
        until = time.perf_counter() + 5
        while sensor._thread.is_alive() and time.perf_counter() < until:
            time.sleep(0.01)
    sensor.close()
    assert joules == {}


def test_the_sensor_is_that_of_the_device() -> None:
    energy = {"joules_per_sample": {"RAPL package-0": 3.0, "NVML GPU 0": 5.0}}
    assert (sensors.joules_of(energy, "cpu"), sensors.joules_of(energy, "cuda")) == (3.0, 5.0)
    assert sensors.joules_of({"joules_per_sample": {"NVML GPU 0": 5.0}}, "cpu") is None
    assert sensors.joules_of({"joules_per_sample": {"RAPL package-0": 3.0}}, "cuda") is None
    whole = {"joules_per_sample": {"INA3221 VDD_IN": 2.0, "NVML GPU 0": 1.0}}
    assert (sensors.joules_of(whole, "cpu"), sensors.joules_of(whole, "cuda")) == (2.0, 2.0)
    assert sensors.joules_of({}, "cpu") is None


LINE = (
    "RAM 3012/7620MB CPU [12%@1510] GR3D_FREQ 0% VDD_IN 4512mW/4498mW VDD_CPU_GPU_CV 804mW/790mW VDD_SOC 1200mW/1199mW"
)


def test_a_line_of_tegrastats() -> None:
    assert sensors.power_of(LINE) == {"VDD_IN": pytest.approx(4.512)}
    on_agx = "VDD_GPU_SOC 3189mW/3189mW VDD_CPU_CV 797mW/797mW VIN_SYS_5V0 3024mW/3024mW"
    assert sum(sensors.power_of(on_agx).values()) == pytest.approx(7.01)
    assert sensors.power_of("RAM 3012/7620MB") == {}


@pytest.mark.parametrize(("line", "works"), [(LINE, True), ("not a Jetson", False)])
def test_tegrastats_where_there_are_no_rails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, works: bool
) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(f'#!/bin/sh\nwhile :; do echo "{line}"; sleep 0.02; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = sensors.find(tmp_path / "sys")
    assert [sensor.name for sensor in found] == (["tegrastats VDD_IN"] if works else [])
    for sensor in found:
        before, until = sensor.joules(), time.perf_counter() + 5
        while sensor.joules() == before and time.perf_counter() < until:
            time.sleep(0.01)
        assert sensor.joules() > before
        sensor.close()
        with pytest.raises(OSError, match="tegrastats ended"):
            sensor.joules()
        assert sensor._process.returncode is not None, "it does not go on after the run"


def test_clocks_temperatures_and_governor(tmp_path: Path) -> None:
    for core, kilohertz in enumerate((1_510_400, 729_600)):
        put(tmp_path, **{f"devices__system__cpu__cpu{core}__cpufreq__scaling_cur_freq": kilohertz})
    put(tmp_path, devices__system__cpu__cpu0__cpufreq__scaling_governor="schedutil")
    put(tmp_path, **{"class__devfreq__17000000.gpu__cur_freq": 1_020_000_000})
    put(tmp_path, class__thermal__thermal_zone0__type="cpu-thermal", class__thermal__thermal_zone0__temp=48_500)
    put(tmp_path, class__thermal__thermal_zone1__type="off", class__thermal__thermal_zone1__temp="unreadable")
    found = sensors.state(tmp_path)
    assert found["cpu_mhz"] == pytest.approx([729.6, 1510.4])
    assert (found["governor"], found["gpu_mhz"]) == ("schedutil", 1020)
    assert found["celsius"] == {"cpu-thermal": 48.5}


def test_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    energy = iter([5_000, 9_500])
    double = types.SimpleNamespace(
        NVMLError=RuntimeError,
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"handle {index}",
        nvmlDeviceGetTotalEnergyConsumption=lambda device: next(energy),
        nvmlDeviceGetClockInfo=lambda device, kind: 2520,
        nvmlDeviceGetTemperature=lambda device, kind: 61,
        nvmlDeviceGetEnforcedPowerLimit=lambda device: 450_000,
        nvmlDeviceGetName=lambda device: b"NVIDIA GeForce RTX 4090",
    )
    monkeypatch.setitem(sys.modules, "pynvml", double)
    card = sensors.nvml()
    assert card is not None
    with sensors.measured([card]) as joules:
        pass
    assert joules == {"NVML GPU 0": pytest.approx(4.5)}
    assert card.state() == {"gpu_mhz": 2520, "gpu_celsius": 61, "gpu_power_limit_w": 450}
    assert provenance.gpu_name() == "NVIDIA GeForce RTX 4090"

    def unsupported(*arguments: object) -> None:
        raise RuntimeError("Not Supported")

    double.nvmlDeviceGetTotalEnergyConsumption = double.nvmlDeviceGetTemperature = unsupported
    assert sensors.find(tmp_path) == [], "no counter"
    assert provenance.gpu_name() == "NVIDIA GeForce RTX 4090", "the card is there all the same"
    found = sensors.state(tmp_path)
    assert (found["gpu_mhz"], found["gpu_power_limit_w"], "gpu_celsius" in found) == (2520, 450, False)


def test_nvml_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise RuntimeError("NVML Shared Library Not Found")

    double = types.SimpleNamespace(NVMLError=RuntimeError, nvmlInit=no_driver)
    monkeypatch.setitem(sys.modules, "pynvml", double)
    assert sensors.nvml() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert sensors.nvml() is None


def test_devices_have_folder_names() -> None:
    assert provenance.slug("AMD EPYC AVX-512 BF16") == "amd-epyc-avx512-bf16"
    jetson = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert provenance.slug(jetson) == "nvidia-jetson-orin-nano-engineering-reference-developer-kit-super"
    assert provenance.slug("Intel(R) Core(TM) i7 AVX2") == "intel-core-i7-avx2"


def test_provenance_has_what_a_number_needs() -> None:
    facts = provenance.collect([0], "dfer-edge bench")
    for needed in ("device", "processor", "python", "onnxruntime", "kernel", "date", "commit", "pinned_to", "state"):
        assert needed in facts
    assert facts["command"] == "dfer-edge bench"
