"""NVIDIA's own builder on what we give it: TensorRT-RTX compiles ahead of time on a CPU.

It proves that the parser reads every file, that a strongly typed network of it builds, and that progress and interrupts
work as we call them. It says nothing of values, of speed, or of TensorRT's own int8 kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dfer_edge import EngineUnavailable
from dfer_edge.calibration.table import RangeTable
from dfer_edge.engines.tensorrt import library as tensorrt_library
from dfer_edge.engines.tensorrt.build import Recipe, build
from dfer_edge.engines.tensorrt.build_progress import BuildState, Tracker, reporting_to
from dfer_edge.engines.tensorrt.library import Library
from dfer_edge.export import artifacts
from dfer_edge.export import onnx_file as export
from dfer_edge.export.loading import PADDING
from dfer_edge.inference import FORMS, dead_channels, pixels, registry
from dfer_edge.inference.parts import PARTS, input_shapes
from dfer_edge.models import list_models
from dfer_edge.weights.file import Weights, random, ranges_beside, resolve
from tests.calibration import made_up
from tests.engines.tensorrt_cases import quantised, small

pytestmark = pytest.mark.usefixtures("fresh_cache")
# Ampere, Ada and Blackwell; the first is enough where only the network matters.
CAPABILITIES = ("8.6", "8.9", "12.0")
SHIPPED = ("slowr50_sa", "slowr50", "keypoint_tsa", "r2plus1d_sta")


def library(capability: str = CAPABILITIES[0]) -> Library:
    try:
        return tensorrt_library.load_rtx(capability)
    except EngineUnavailable as error:
        pytest.skip(f"{error}: pip install 'dfer-edge[tensorrt-rtx]' (NVIDIA's licence)")


def built(source: Weights, path: Path, precision: str, folder: Path, capability: str = "8.6") -> tuple[bytes, bytes]:
    part = next(e.value for e in onnx.load(path, load_external_data=False).metadata_props if e.key == "dfer_edge.part")
    folder.mkdir(exist_ok=True)
    recipe = Recipe(precision, ((1, 1, 1), (1, 8, 8)), 1 << 30)
    shapes = input_shapes(source.spec, part)
    if pixels.are_taken({e.key: e.value for e in onnx.load(path, load_external_data=False).metadata_props}):
        shapes = pixels.pixel_shapes(shapes)
    return build(library(capability), path, recipe, shapes, b"", folder, Tracker("a test"))


# -- quick ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_small_network_is_built_in_every_precision(precision: str, clip_file: Path, tmp_path: Path) -> None:
    library()
    path = quantised(clip_file, tmp_path / "int8.onnx") if precision == "int8" else clip_file
    states: list[BuildState] = []
    with reporting_to(states.append):
        plan, _ = built(small("r2plus1d_sta"), path, precision, tmp_path / "scratch")
    assert len(plan) > 100_000
    assert not list((tmp_path / "scratch").iterdir()), "the converted model was left behind"
    fractions = [state.fraction for state in states]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    # Half the weights of twice the bytes: the typed file is what was built.
    weights = sum(int(np.prod(t.dims)) for t in onnx.load(clip_file, load_external_data=False).graph.initializer)
    assert (len(plan) < 3.5 * weights) is (precision != "fp32")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_network_of_pixels_is_built(precision: str, clip_file: Path, tmp_path: Path) -> None:
    """uint8 crops in, normalised by the first nodes: what the SDK gives to engines on a GPU."""
    library()
    path = tmp_path / "pixels.onnx"
    if precision == "int8":
        quantised(clip_file, path)
    else:
        export.write(small("r2plus1d_sta"), path, "2d", external=True)
    pixels.take_pixels(path)
    plan, _ = built(small("r2plus1d_sta"), path, precision, tmp_path / "scratch")
    assert len(plan) > 100_000


def test_an_interrupt_reaches_the_builder(clip_file: Path, tmp_path: Path) -> None:
    library()

    def interrupt(state: BuildState) -> None:
        raise KeyboardInterrupt

    with reporting_to(interrupt), pytest.raises(KeyboardInterrupt):
        built(small("r2plus1d_sta"), clip_file, "fp32", tmp_path / "scratch")


def test_what_it_does_not_read_is_its_own_words(clip_file: Path, tmp_path: Path) -> None:
    library()
    model = onnx.load(clip_file)
    model.graph.node[3].op_type, model.graph.node[3].domain = "Nonsense", "nowhere"
    path = tmp_path / "nonsense.onnx"
    onnx.save(model, path)
    with pytest.raises(EngineUnavailable, match=r"TensorRT-RTX .* does not read .*Plugin not found"):
        built(small("r2plus1d_sta"), path, "fp32", tmp_path / "scratch")


def test_a_gpu_that_it_does_not_know(clip_file: Path, tmp_path: Path) -> None:
    library()
    with pytest.raises(EngineUnavailable, match=r"does not run on SM87: it knows .*SM86"):
        built(small("r2plus1d_sta"), clip_file, "fp32", tmp_path / "scratch", capability="8.7")


# -- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", list_models())
def test_every_network_is_built(name: str, precision: str, tmp_path: Path) -> None:
    library()
    source = random(name)
    path = artifacts.prepare(source, "2d")
    plan, _ = built(source, path, precision, tmp_path / "scratch")
    assert plan
    artifacts.discard(path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_are_built_as_gpus_get_them(name: str, precision: str, tmp_path: Path) -> None:
    """Without their dead channels, uint8 crops in, with their own ranges."""
    library()
    source = resolve(name, "default")
    if precision == "int8":
        ranges = ranges_beside(name, "default")
        assert ranges is not None
        path = artifacts.prepare_int8(source, "2d", RangeTable.load(ranges), pad_to=PADDING["tensorrt"], of_pixels=True)
    else:
        path = artifacts.prepare(source, "2d", of_pixels=True)
    assert dead_channels.NOTE in {entry.key for entry in onnx.load(path, load_external_data=False).metadata_props}
    plan, _ = built(source, path, precision, tmp_path / "scratch")
    assert plan
    artifacts.discard(path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("form", [form for form in FORMS if form != "2d"])
@pytest.mark.parametrize("name", ["slowr50_sa", "r2plus1d_sta"])
def test_the_other_forms_of_convolutions_over_time(name: str, form: str, tmp_path: Path) -> None:
    library()
    source = small(name)
    path = tmp_path / "form.onnx"
    export.write(source, path, form)
    plan, _ = built(source, path, "fp16", tmp_path / "scratch")
    assert plan


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", [part for part in PARTS if part != "whole"])
@pytest.mark.parametrize("name", [name for name in list_models() if registry.find(name).frames_per_step])
def test_the_parts_of_streams(name: str, part: str, tmp_path: Path) -> None:
    library()
    source = random(name)
    path = artifacts.prepare(source, "2d", part)
    plan, _ = built(source, path, "fp16", tmp_path / "scratch")
    assert plan
    artifacts.discard(path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_int8_of_a_whole_network(capability: str, tmp_path: Path) -> None:
    """As it is quantised for TensorRT, padded to 32 channels; here without INT8 convolutions."""
    library()
    source = random("slowr50_sa")
    path = artifacts.prepare(source, "2d")
    table = made_up.table(path, "made up")
    path = artifacts.prepare_int8(source, "2d", table, pad_to=PADDING["tensorrt"])
    plan, _ = built(source, path, "int8", tmp_path / "scratch", capability=capability)
    assert plan


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smate", "keypoint_tsa", "r2plus1d_sta", "slowr50_sa"])
def test_layers_keep_the_names_of_their_nodes(name: str, tmp_path: Path) -> None:
    """Which is how flags of JetPack 6 hold islands at fp32: the parser's names say whose layer it is."""
    from dfer_edge.engines import mixed_precision
    from dfer_edge.engines.tensorrt.build import _stem
    from dfer_edge.engines.tensorrt.library import Messages

    rtx = library()
    path = tmp_path / "net.onnx"
    export.write(random(name), path, "2d")
    model = mixed_precision.header(path)
    wide = mixed_precision.islands(model)
    names = {node.name for node in model.graph.node if node.name and node.output[0] in wide}
    messages = Messages(rtx)
    builder = rtx.make("Builder", messages)
    network = builder.create_network(rtx.network_flags)
    parser = rtx.trt.OnnxParser(network, messages.logger)
    assert parser.parse_from_file(str(path))
    stems = {_stem(network.get_layer(index).name) for index in range(network.num_layers)}
    # A reshape or the like may become no layer of its own: products and reductions must.
    light: Callable[[str], bool] = lambda n: n.split("_")[0] in ("reshape", "slice", "transpose", "identity", "pad")  # noqa: E731
    assert {n for n in names - stems if not light(n)} == set()
