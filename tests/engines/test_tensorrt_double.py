"""The double of TensorRT is as strict as it claims, and what it knows is what the bindings publish."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.engines.fake_cuda import FakeCuda
from tests.engines.fake_tensorrt import install
from tests.engines.real_bindings import published
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


@pytest.mark.parametrize("version", WHEELS)
def test_the_table_is_what_the_released_bindings_say_of_themselves(version: str, tmp_path: Path) -> None:
    """Imported over a stub of the library: every member and signature of the committed table, and none that left.

    Download them with ``pip download --no-deps tensorrt-cu13-bindings==VERSION`` (``-cu12-`` below 10.13) and name the
    folder.
    """
    folder, compiler = os.environ.get("DFER_EDGE_TENSORRT_WHEELS"), shutil.which("cc")
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheels = sorted(Path(folder).glob(f"tensorrt_cu1?_bindings-{WHEELS[version]}*-{here}-*.whl")) if folder else []
    if not wheels or not compiler:
        pytest.skip(f"no TensorRT bindings {WHEELS[version]}*-{here} in DFER_EDGE_TENSORRT_WHEELS, or no C compiler")
    real = published(wheels[0], tmp_path, compiler)
    for kind, members in SIGNATURES.items():
        for name, forms in members.items():
            here_forms = {form for form, at in forms.items() if at == "all" or version in at.split()}
            assert (name in real["members"][kind]) is bool(here_forms), f"{kind}.{name} in {real['version']}"
            wanted = {form for form in here_forms if form.startswith("(")}
            assert wanted <= set(real["members"][kind].get(name, ())), f"{kind}.{name} in {real['version']}"
    for kind in ("Builder", "Runtime"):
        # What the double raises for what cannot be made, and Library.make expects.
        assert real["raised"][kind] == ["TypeError", "pybind11::init(): factory function returned nullptr"]


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
        if not name.startswith("cuda") or isinstance(value, type):
            continue
        if isinstance(value, int):
            assert getattr(runtime, name) == value
            continue
        published = getattr(runtime, name).__doc__.splitlines()[0]
        arguments = [one for one in published.partition("(")[2].rstrip(")").split(", ") if one]
        names = [one.split(":")[0].split()[-1] for one in arguments]
        assert names == list(inspect.signature(value).parameters), published
    for kind in ("cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode"):
        for member in getattr(double, kind):
            assert getattr(getattr(runtime, kind), member.name) == member.value
    properties = runtime.cudaDeviceProp()
    assert {"name", "major", "minor", "integrated", "totalGlobalMem"} <= set(dir(properties))
