"""Which board this is and how it is set: the release of its system, power mode, GPU. Read from files, asks nobody."""

from __future__ import annotations

import re
from pathlib import Path

_L4T = Path("/etc/nv_tegra_release")
_MODE = Path("/var/lib/nvpmodel/status")
_MODES = Path("/etc/nvpmodel.conf")
_MODEL = Path("/proc/device-tree/model")
# Of NVIDIA's drivers: for cards and Thor, for Orin, for boards before it.
_GPUS = (Path("/dev/nvidiactl"), Path("/dev/nvgpu"), Path("/dev/nvhost-gpu"))


def name() -> str:
    """The board's own name, e.g. ``NVIDIA Jetson Orin Nano Developer Kit``; empty on machines without one."""
    return _text(_MODEL).strip("\0 \n")


def l4t() -> str:
    """Release of Jetson Linux, e.g. ``36.4.3``; empty on other systems."""
    # "# R36 (release), REVISION: 4.3, GCID: ..."
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", _text(_L4T))
    return f"{found[1]}.{found[2]}" if found else ""


def power_mode() -> str:
    """Number and name of the nvpmodel mode, e.g. ``2 MAXN_SUPER``; empty where there is none.

    Kernels that were fastest in one mode need not be in another: engines are kept by mode.
    """
    found = re.search(r"pmode:0*(\d+)", _text(_MODE))
    if not found:
        return ""
    named = re.search(rf"<\s*POWER_MODEL\s+ID={found[1]}\s+NAME=(\S+)\s*>", _text(_MODES))
    return f"{found[1]} {named[1]}" if named else found[1]


def has_gpu() -> bool:
    """Whether the driver of an NVIDIA GPU runs; nobody asks the GPU whether it does."""
    return any(path.exists() for path in _GPUS)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
