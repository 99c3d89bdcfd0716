"""The real Python bindings of a TensorRT version without its libraries: over a stub, they say their signatures.

``python real_bindings.py FOLDER`` prints, of the wheel unpacked in FOLDER, class -> member -> signatures as
``tensorrt_signatures.json`` writes them, and what a Builder and a Runtime raise that the library does not make.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

# What the bindings link to; each returns nothing, as the library does where it cannot.
_STUB = """
#define NOTHING(name) void* name(void) { return 0; }
NOTHING(createInferBuilder_INTERNAL) NOTHING(createInferRefitter_INTERNAL) NOTHING(createInferRuntime_INTERNAL)
NOTHING(createNvOnnxParserRefitter_INTERNAL) NOTHING(createNvOnnxParser_INTERNAL) NOTHING(getBuilderPluginRegistry)
NOTHING(getPluginRegistry) int getNvOnnxParserVersion(void) { return 0; } int initLibNvInferPlugins(void) { return 1; }
int getInferLibVersion(void) { return 0; }
"""
_LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")


def published(wheel: Path, folder: Path, compiler: str) -> dict[str, Any]:
    """What the bindings in a wheel publish; ``folder`` is empty."""
    major = wheel.name.split("-")[1].split(".")[0]
    (folder / "stub.c").write_text(_STUB)
    for name in _LIBRARIES:
        file = f"lib{name}.so.{major}"
        options = ["-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", str(folder / file), str(folder / "stub.c")]
        subprocess.run([compiler, *options], check=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder)}
    call = [sys.executable, __file__, json.dumps(sorted(_classes()))]
    run = subprocess.run(call, capture_output=True, text=True, env=environment, check=False, cwd=folder)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def _classes() -> list[str]:
    return list(json.loads((Path(__file__).parent / "tensorrt_signatures.json").read_text()))


def _forms(member: Any) -> list[str]:
    """``(logger)``, ``(flags=)``, ... from the docstring that pybind11 writes; with overloads one line each."""
    lines = re.findall(r"^(?:\d+\. )?\w+\((self: [^)]*(?:\([^)]*\)[^)]*)*)\) ->", member.__doc__ or "", re.MULTILINE)
    split = [re.split(r", (?=\w+: )", line)[1:] for line in lines]
    return ["(" + ", ".join(a.partition(":")[0] + "=" * (" = " in a) for a in line) + ")" for line in split]


def _dump(classes: list[str]) -> dict[str, Any]:
    trt = importlib.import_module("tensorrt_bindings")
    found: dict[str, Any] = {"version": trt.__version__, "members": {}}
    for name in classes:
        kind = getattr(trt, name)
        found["members"][name] = {member: _forms(getattr(kind, member)) for member in dir(kind)}

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            pass

    found["raised"] = {name: _raised(getattr(trt, name), Logger()) for name in ("Builder", "Runtime")}
    return found


def _raised(kind: Any, logger: Any) -> list[str]:
    try:
        kind(logger)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


if __name__ == "__main__":
    print(json.dumps(_dump(json.loads(sys.argv[1]))))
