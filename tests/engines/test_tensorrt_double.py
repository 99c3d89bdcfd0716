"""The double of TensorRT is as strict as it claims, and what it knows is what the bindings publish."""

from __future__ import annotations

import inspect
import os
import zipfile
from pathlib import Path

import pytest

from tests.engines.fake_cuda import FakeCuda
from tests.engines.fake_tensorrt import install
from tests.engines.strict_double import SIGNATURES, Misuse, World


def test_the_double_fails_what_the_real_library_would(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = install(monkeypatch, "10.3"), install(monkeypatch, "11.1")

    def parts(world: World):
        class Logger(world.trt.ILogger):
            def log(self, severity: object, msg: str) -> None:
                pass

        builder = world.trt.Builder(Logger())
        return builder, builder.create_builder_config()

    (builder, config), (new_builder, new_config) = parts(old), parts(new)
    config.set_flag(old.trt.BuilderFlag.FP16)
    assert not hasattr(new.trt.BuilderFlag, "FP16"), "removed in 11"
    with pytest.raises(AttributeError, match="has no int8_calibrator"):
        _ = new_config.int8_calibrator
    with pytest.raises(AttributeError, match="has no platform_has_fast_int8"):
        _ = new_builder.platform_has_fast_int8
    with pytest.raises(NotImplementedError, match="does not know"):
        _ = builder.platform_has_fast_int8
    with pytest.raises(AttributeError, match="has no build_engine"):
        _ = builder.build_engine
    with pytest.raises(TypeError, match="takes"):
        config.set_flag(1)
    with pytest.raises(TypeError, match="takes"):
        config.set_flag(new.trt.BuilderFlag.TF32)
    with pytest.raises(TypeError):
        config.set_timing_cache(config.create_timing_cache(b""))
    with pytest.raises(AttributeError, match="cannot be set"):
        config.max_workspace_size = 1
    with pytest.raises(Misuse, match="network flags"):
        new_builder.create_network(2)
    with pytest.raises(Misuse, match="before host code is forbidden"):
        new.trt.Runtime(None).deserialize_cuda_engine(b"")


# Version -> the released bindings of the same minor version or the next; wheels of other tags are not looked at.
WHEELS = {"10.3": "10.3.", "10.12": "10.12.", "10.16": "10.16.", "11.0": "11.0.", "11.1": "11.4."}
# Names that several classes share, or that a newer class has too, say nothing about the class they left.
ELSEWHERE = {"FP4", "FP8", "INT4", "INT8", "FP16", "BF16", "device_memory_size", "supports_model", "dtype"}


def members(version: str) -> set[str]:
    return {
        name
        for kind in SIGNATURES.values()
        for name, forms in kind.items()
        if any(at == "all" or version in at.split() for at in forms.values())
    }


@pytest.mark.parametrize("version", WHEELS)
def test_the_signatures_are_those_of_the_released_bindings(version: str) -> None:
    """Names that the committed table gives a version are in its wheel, and those that it says were removed are not.

    Download them with ``pip download --no-deps tensorrt-cu13-bindings==VERSION`` and name the folder.
    """
    folder = os.environ.get("DFER_EDGE_TENSORRT_WHEELS")
    wheels = sorted(Path(folder).glob(f"tensorrt_cu1?_bindings-{WHEELS[version]}*.whl")) if folder else []
    if not wheels:
        pytest.skip(f"no TensorRT bindings {WHEELS[version]}* in DFER_EDGE_TENSORRT_WHEELS")
    with zipfile.ZipFile(wheels[0]) as wheel:
        library = next(name for name in wheel.namelist() if name.endswith("tensorrt.so"))
        content = wheel.read(library)
    # Linkers store a string that ends another one inside it: only what follows a name is certain.
    arguments = {
        argument.strip("= ")
        for kind in SIGNATURES.values()
        for forms in kind.values()
        for form, at in forms.items()
        if form.startswith("(") and (at == "all" or version in at.split())
        for argument in form.strip("()").split(", ")
        if argument
    }
    wanted = (members(version) | arguments) - {"__init__"}
    assert {name for name in wanted if name.encode() + b"\0" not in content} == set()
    later = [v for v in WHEELS if list(WHEELS).index(v) < list(WHEELS).index(version)]
    removed = set().union(*(members(v) for v in later)) - members(version) - ELSEWHERE
    assert {name for name in removed if b"\0" + name.encode() + b"\0" in content} == set()


def test_the_installed_library_has_what_the_adapter_calls() -> None:
    """Where a real TensorRT is installed its own docstrings are read."""
    trt = pytest.importorskip("tensorrt", exc_type=ImportError)
    for kind in ("Builder", "IBuilderConfig", "OnnxParser", "Runtime", "ICudaEngine", "IExecutionContext"):
        missing = {
            name
            for name, forms in SIGNATURES[kind].items()
            if "all" in forms.values() and not hasattr(getattr(trt, kind), name)
        }
        assert not missing


def test_the_cuda_double_has_the_signatures_of_cuda_python() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", exc_type=ImportError)
    double = FakeCuda().module()
    for name, value in vars(double).items():
        if not name.startswith("cuda") or name in ("cudaError_t", "cudaMemcpyKind"):
            continue
        if isinstance(value, int):
            assert getattr(runtime, name) == value
            continue
        published = getattr(runtime, name).__doc__.splitlines()[0]
        arguments = [one for one in published.partition("(")[2].rstrip(")").split(", ") if one]
        names = [one.split(":")[0].split()[-1] for one in arguments]
        assert names == list(inspect.signature(value).parameters), published
    for kind in ("cudaError_t", "cudaMemcpyKind"):
        for member in getattr(double, kind):
            assert getattr(getattr(runtime, kind), member.name) == member.value
    properties = runtime.cudaDeviceProp()
    assert {"name", "major", "minor", "integrated"} <= set(dir(properties))
