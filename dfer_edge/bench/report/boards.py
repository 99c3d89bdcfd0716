"""Boards that nobody here has run yet: what the roofline estimates for them, and the page that says how to measure it.

Peaks are the vendors' dense figures. An estimate is arithmetic or DRAM traffic, whichever takes longer, at batch 1; the
traffic counts every layer's input and output once, so an engine that fuses layers, or a cache that holds what lies
between them, may be faster where traffic decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from dfer_edge.bench.measure import cost
from dfer_edge.bench.measure.sensors import joules_of
from dfer_edge.bench.report.results import Results
from dfer_edge.bench.report.table import grid, number
from dfer_edge.inference import registry

PRECISIONS = ("fp16", "int8")


@dataclasses.dataclass(frozen=True)
class Device:
    """One board or card.

    Attributes
    ----------
    name
        As its vendor calls it.
    slug
        How the names of its results folders begin, see :func:`dfer_edge.bench.measure.provenance.device_name`.
    tops
        Dense operations a second by precision, in 1e12.
    gb_per_s
        Memory bandwidth.
    """

    name: str
    slug: str
    tops: Mapping[str, float]
    gb_per_s: float

    def bound_ms(self, network: str, precision: str) -> float:
        """The roofline's estimate of one sample at batch 1."""
        found = cost.of(registry.find(network).spec)
        return 1e3 * found.seconds(precision, self.tops[precision] * 1e12, self.gb_per_s * 1e9)


def _device(name: str, slug: str, int8: float, fp16: float, gb_per_s: float) -> Device:
    return Device(name, slug, {"int8": int8, "fp16": fp16}, gb_per_s)


@dataclasses.dataclass(frozen=True)
class Page:
    """One page: devices that are set up alike."""

    file: str
    title: str
    devices: tuple[Device, ...]
    jetson: bool = True


PAGES = (
    Page(
        "orin-nano",
        "Jetson Orin Nano",
        (_device("Orin Nano Super 8 GB", "nvidia-jetson-orin-nano", 33.5, 16.7, 102),),
    ),
    Page("orin-nx", "Jetson Orin NX", (_device("Orin NX 16 GB", "nvidia-jetson-orin-nx", 30, 15, 102),)),
    Page("agx-orin", "Jetson AGX Orin", (_device("AGX Orin 64 GB", "nvidia-jetson-agx-orin", 85, 42.5, 205),)),
    Page("thor", "Jetson Thor", (_device("Thor T5000", "nvidia-jetson-agx-thor", 517, 258, 273),)),
    Page(
        "rtx",
        "RTX desktop cards",
        (
            _device("RTX 3090", "nvidia-geforce-rtx-3090", 284, 71, 936),
            _device("RTX 4090", "nvidia-geforce-rtx-4090", 661, 165, 1008),
            _device("RTX 5090", "nvidia-geforce-rtx-5090", 838, 210, 1792),
        ),
        jetson=False,
    ),
)


def markdown(page: Page, measured: Sequence[Results] = ()) -> str:
    """The page; cells that ``measured`` has a result for are filled, the others stay empty."""
    parts = [f"# {page.title}", "Made by `python -m bench.publish.boards`; do not edit.", _status(page, measured)]
    parts += [_JETSON if page.jetson else _DESKTOP, _MEASURE, _SEND]
    for device in page.devices:
        parts.append(
            f"## {device.name}: prediction and measurement\n\n{_assumed(device)}\n\n{_table(device, measured)}"
        )
    return "\n\n".join(parts) + "\n"


def _own(device: Device, measured: Sequence[Results]) -> Results | None:
    return next((found for found in measured if found.provenance["device"].startswith(device.slug)), None)


def _status(page: Page, measured: Sequence[Results]) -> str:
    found = [device.name for device in page.devices if _own(device, measured)]
    missing = [device.name for device in page.devices if device.name not in found]
    lines = [f"Measured: {', '.join(found)}."] if found else []
    return " ".join([*lines, *([f"**Built, not yet run on hardware: {', '.join(missing)}.**"] if missing else [])])


def _assumed(device: Device) -> str:
    tops = device.tops
    return (
        f"Peaks assumed: {tops['int8']:g} TOPS int8, {tops['fp16']:g} TFLOP/s fp16 (dense), {device.gb_per_s:g} GB/s. "
        "An estimate is arithmetic or DRAM\ntraffic, whichever takes longer; fused layers and caches may be faster "
        "where traffic decides."
    )


def _table(device: Device, measured: Sequence[Results]) -> str:
    results = _own(device, measured)
    rows = []
    for name in registry.list_models():
        cells, joules = [f"`{name}`"], " "
        for precision in PRECISIONS:
            row = results.rows.get(f"engine/{name}/tensorrt/{precision}/b1") if results else None
            taken = number(row.latency_ms.get("p50")) if row and row.ok else " "
            cells += [number(device.bound_ms(name, precision)), taken]
            if row and (measured_j := joules_of(row.energy, "cuda")) is not None:
                joules = number(measured_j)
        rows.append([*cells, joules])
    heads = (
        "network, batch 1",
        "fp16 estimate, ms",
        "fp16 measured",
        "int8 estimate, ms",
        "int8 measured",
        "J a clip, int8 or fp16",
    )
    return grid(heads, rows)


_JETSON = """## Install

JetPack 6 (Python 3.10, TensorRT 10.3, CUDA 12.6) or JetPack 7.2 (Python 3.12, TensorRT 10.16, CUDA 13.2). TensorRT
comes with JetPack and is taken from the system; nothing else of this package needs a GPU. torch is not installed: cases
of it say so in their rows, and `bench claims` needs it. For those install NVIDIA's wheel of torch for your JetPack; the
one of PyPI does not know the board's GPU.

```sh
sudo apt-get install python3-venv python3-dev g++
python3 -m venv --system-site-packages ~/dfer && . ~/dfer/bin/activate
pip install -e ".[plots]"             # from a checkout
pip install "cuda-python==12.6.*"     # JetPack 6; on JetPack 7.2: "cuda-python>=13". Else: pip install pycuda
dfer-edge doctor                      # must say: tensorrt yes
```

## Power mode

A number without the mode and the clocks is worthless; both are in every row. Measure in the fastest mode first, then in
the one that you ship.

```sh
grep POWER_MODEL /etc/nvpmodel.conf   # the modes and their numbers
sudo nvpmodel -m NUMBER               # MAXN_SUPER or MAXN; may ask for a restart
sudo jetson_clocks                    # holds the clocks at the mode's maximum
sudo jetson_clocks --show
```

Let the fan run, and give the board five minutes to cool between runs. Energy comes from the board's INA3221 rails
(VDD_IN, or the sum of the rails on AGX), which every user may read."""

_DESKTOP = """## Install

Python 3.10 to 3.13 and a checkout. The driver decides the rest (`nvidia-smi` says which): take the lines of yours.

```sh
python3 -m venv .venv && . .venv/bin/activate

# Driver 580 or later (CUDA 13):
pip install -e ".[tensorrt,tensorrt-rtx,torch,triton,plots,bench]"

# Driver 560 to 579 (CUDA 12.6 to 12.9): TensorRT 10 and libraries of CUDA 12.
pip install torch --index-url https://download.pytorch.org/whl/cu126
pip install "tensorrt-cu12>=10.3,<11" "cuda-python>=12.6,<13"
pip install -e ".[torch,triton,plots,bench]"

make cuda                                     # the CUDA kernels, if nvcc is there; found because of -e
dfer-edge doctor                              # must say: tensorrt yes
```

H100 and H200 are set up as these cards are; their results have folders of their own.

## Clocks

```sh
nvidia-smi -q -d CLOCK,POWER,PERFORMANCE      # nothing else may run on the card
sudo nvidia-smi -pm 1
sudo nvidia-smi -lgc MHZ                      # optional: one clock for all runs; say so when you send them
```

Energy comes from the card's own counter (NVML): of the card alone, not of the machine."""

_MEASURE = """## Measure

```sh
dfer-edge doctor --self-test tensorrt         # minutes an engine; proves or breaks TensorRT here
dfer-edge bench --quick --out quick           # builds engines the first time, then two minutes; does everything run?
dfer-edge bench --out full                    # all of it; builds the other engines
dfer-edge bench --out again                   # a second run
dfer-edge bench compare full/bench.jsonl again/bench.jsonl
dfer-edge bench claims --results full/bench.jsonl --out full   # needs torch
```

What cannot run is a row that says why, and the run goes on; Ctrl-C keeps what was measured. int8 of the shipped network
takes the ranges that come with its weights; for ranges from your own clips: `dfer-edge calibrate slowr50_sa --clips
FOLDER --out sa.ranges.json`, then `bench --calibration sa.ranges.json`. The bench times the other networks with random
weights: their int8 is timed with ranges from noise, and marked."""

_SEND = """## What to send back

The folders `full` and `again` and `tensorrt-self-test.json`, in an issue or a pull request that puts `full` under
`bench/results/DEVICE` (the name is in the file). No frame of a video and nothing about you is in them; look before you
send. If the self-test fails, its file is worth more than any time."""
