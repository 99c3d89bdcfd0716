"""The report of ``dfer-edge doctor``."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
from pathlib import Path

import dfer_edge
from dfer_edge import engines
from dfer_edge.errors import DferError
from dfer_edge.faces import make_landmark_detector
from dfer_edge.faces.detectors import make_detector, yunet_path
from dfer_edge.inference.registry import RECOMMENDED
from dfer_edge.kernels import dispatch
from dfer_edge.models import list_models
from dfer_edge.system import cpu, settings
from dfer_edge.weights.file import load, shipped

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "onnx",
    "onnxruntime",
    "openvino",
    "safetensors",
    "torch",
    "triton",
    "tensorrt",
    "av",
    "matplotlib",
)


def report() -> dict[str, dict[str, str]]:
    """Sections of name -> finding, in the order to read them."""
    return {
        "versions": _versions(),
        "processor": _processor(),
        "engines": {name: _engine(name) for name in engines.ENGINES},
        "detectors": _detectors(),
        "landmarks": _landmarks(),
        "native modules": _native(),
        "kernels": {op: _kernel(op) for op in dispatch.OPERATIONS},
        "weights": {name: _weights(name) for name in list_models()},
        "recommended": {"network": RECOMMENDED, "precision": _precision()},
        "paths": _paths(),
    }


def _precision() -> str:
    """What precision ``auto`` comes to here on the CPU, in words."""
    named = [name for name in ("openvino", "onnxruntime", "torch") if not engines.reasons(name)]
    if not named:
        return "none: install openvino or onnxruntime"
    bf16 = not engines.precision_reasons(named[0])["bf16"]
    return f"{'bf16' if bf16 else 'fp32'} on {named[0]}; int8 where its ranges keep the accuracy"


def _versions() -> dict[str, str]:
    found = {"dfer-edge": dfer_edge.__version__, "python": platform.python_version(), "system": platform.platform()}
    return found | {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> dict[str, str]:
    present = [name for name, there in cpu.features().items() if there]
    absent = [name for name, there in cpu.features().items() if not there]
    return {
        "name": cpu.name(),
        "cores for this process": str(cpu.available_cores()),
        "has": ", ".join(present) or "none of the listed features",
        "has not": ", ".join(absent),
    }


def _engine(name: str) -> str:
    if reason := engines.reasons(name):
        return f"no: {reason}"
    lacks = engines.precision_reasons(name)
    able = [precision for precision in engines.PRECISIONS if not lacks[precision]]
    return "; ".join([f"yes: {', '.join(able)}", *(f"no {p}: {why}" for p, why in lacks.items() if why)])


def _detectors() -> dict[str, str]:
    path = yunet_path()
    yunet = f"yes: {path}" if path else "no: its file is not there (dfer-edge models fetch yunet)"
    if path and not path.is_file():
        yunet = f"no: DFER_EDGE_YUNET names {path}, which is not there"
    try:
        shipped = f"yes: ships with the package, the default ({make_detector().name})"
    except DferError as error:
        shipped = f"no: {error}"
    return {"auto": shipped, "haar": "yes: in the OpenCV wheel", "yunet": yunet}


def _landmarks() -> dict[str, str]:
    try:
        detector = make_landmark_detector()
    except DferError as error:
        return {"68 points": f"no: {error}"}
    named = settings.landmarks_override()
    origin = f"DFER_EDGE_LANDMARKS names {named}" if named else "shipped"
    return {"68 points": f"yes: {detector.name if detector else 'none'}, {origin}"}


def _weights(name: str) -> str:
    path = shipped(name)
    if path is None:
        return "none ship yet"
    try:
        loaded = load(path)
    except DferError as error:
        return f"no, {path} is damaged: {error}"
    form = f"compact: {loaded.compact}" if loaded.compact else "full"
    return f"yes: {path}, {path.stat().st_size / 1e6:.1f} MB, {form}, sha256 {loaded.sha256[:12]}"


def _native() -> dict[str, str]:
    modules = {"dfer_edge._cpu": "C++ kernels", "dfer_edge._cuda": "CUDA kernels"}
    return {name: _loaded(name) or f"no: {what} are not part of this build" for name, what in modules.items()}


def _kernel(op: str) -> str:
    reasons = dispatch.backends(op)
    able = [name for name, reason in reasons.items() if not reason]
    return "; ".join([f"yes: {', '.join(able)}", *(f"no {name}: {why}" for name, why in reasons.items() if why)])


def _loaded(name: str) -> str:
    """What a native module says of itself, or why it does not load; empty where there is none."""
    if not _origin(name):
        return ""
    try:
        return f"yes: {importlib.import_module(name).build_info()}"
    except ImportError as error:
        return f"no: {error}"


def _origin(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return spec.origin or "" if spec else ""


def _paths() -> dict[str, str]:
    names = ("dfer_edge", "dfer_edge.kernels", "dfer_edge.calibration")
    return {**{name: str(Path(_origin(name)).parent) for name in names}, "cache": str(settings.cache_folder())}
