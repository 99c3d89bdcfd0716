"""Sliding windows on kept features: equal to the whole network at every position, on torch and on every engine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from dfer_edge import CorruptArtifact, InvalidInput, Recognizer
from dfer_edge.cli.main import main
from dfer_edge.engines import BEST_FORM, Engine, load_engine, reasons
from dfer_edge.export.onnx_file import export_onnx, of_module, write
from dfer_edge.flow.clips import uniform_indices
from dfer_edge.flow.streaming import StreamingState
from dfer_edge.inference import FORMS, Streaming, record, registry
from dfer_edge.inference.parts import input_shapes
from dfer_edge.models import list_models, simplify
from dfer_edge.models.simplified import Simplified
from dfer_edge.spec import ModelSpec
from tests.inference import keypoint_cases, test_slowr50, test_smate

NAMES = ("slowr50_sa", "smate", "keypoint_tsa")
# The embedding, a part as well, is what any network has: tests/inference/test_embedding.py.
PARTS = ("whole", "features", "head")
WHOLE_ONLY = {"r2plus1d_sta": "over time", "agfer": "single images", "vgg16_fer": "single images"}


def small(name: str) -> torch.nn.Module:
    """A few frames of a few pixels, weights far from their start, and a network that tells the order of steps."""
    if name == "keypoint_tsa":
        return keypoint_cases.trained_like()
    if name == "smate":
        # 7 frames are 3 tubelets and a frame that is never read.
        return test_smate.trained_like(tpe_mode="learned", frames=7).float()
    module = test_slowr50.trained_like(name)
    # 20 / 8 is no whole number.
    module.spec = dataclasses.replace(module.spec, frames=3, size=20)
    return module


def sequence(spec: ModelSpec, steps: int, seed: int = 1) -> dict[str, torch.Tensor]:
    """``clip`` [3, N, S, S] of ``steps`` steps, ``landmarks`` [N, 68, 2] where the network takes them."""
    per_step = Streaming.of(spec).frames_per_step
    # The last window of an odd clip needs its frame that is never read.
    frames = steps * per_step + spec.frames % per_step
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(3, frames, spec.size, spec.size, generator=generator, dtype=torch.float64)
    # Light that changes from frame to frame: neighbouring windows differ clearly.
    clip *= 4 * torch.rand(frames, 1, 1, generator=generator, dtype=torch.float64)
    return {"clip": clip} | ({"landmarks": keypoint_cases.faces(1, frames, spec.size)[0]} if spec.landmarks else {})


def cut(feed: dict[str, Any], frames: Any) -> dict[str, Any]:
    """The frames of a slice or list of positions."""
    return {name: value[:, frames] if name == "clip" else value[frames] for name, value in feed.items()}


def windows(feed: dict[str, torch.Tensor], spec: ModelSpec) -> dict[str, torch.Tensor]:
    """The clips of all full windows, as one batch."""
    length, per_step = feed["clip"].shape[1], Streaming.of(spec).frames_per_step
    starts = range(0, length - spec.frames + 1, per_step)
    return {name: torch.stack([cut(feed, slice(s, s + spec.frames))[name] for s in starts]) for name in feed}


def pushed(state: StreamingState, feed: dict[str, Any]) -> Iterator[Any]:
    """Push one step after another; logits after each."""
    frames = state.streaming.frames_per_step
    for first in range(0, feed["clip"].shape[1] - frames + 1, frames):
        state.push(**cut(feed, slice(first, first + frames)))
        yield state.logits()


def relative(actual: Any, expected: Any) -> float:
    actual, expected = (np.asarray(value, np.float64) for value in (actual, expected))
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


class Counting:
    """A part that notes the shapes it is run on."""

    def __init__(self, part: Any) -> None:
        self._part, self.spec, self.part, self.weights_sha256 = part, part.spec, part.part, part.weights_sha256
        self.takes_pixels = getattr(part, "takes_pixels", False)
        self.calls: list[dict[str, tuple[int, ...]]] = []

    def infer(self, feed: dict[str, Any]) -> dict[str, Any]:
        self.calls.append({name: tuple(value.shape) for name, value in feed.items()})
        return self._part.infer(feed)

    def keep(self, feed: dict[str, Any]) -> list[Any]:
        self.calls.append({name: tuple(value.shape) for name, value in feed.items()})
        return self._part.keep(feed)

    def infer_kept(self, windows: list[list[Any]]) -> Any:
        self.calls.append({"features": (len(windows), len(windows[0]))})
        return self._part.infer_kept(windows)


# -- costs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "step", "head"),
    [
        # 8 x 1,417,704,192 = 11.34 GMACs of 35.67 belong to single frames.
        ("slowr50_sa", 1_417_704_192, 24_325_918_208),
        ("slowr50", 1_417_704_192, 24_324_880_384),
        # Together 17,257,736,448.
        ("smate", 16_235_420_160, 1_022_316_288),
        # 2.31 GMACs a frame. Of the 0.11 of the printed temporal part, the cls-only last block leaves 0.07.
        ("keypoint_tsa", 2_307_941_128, 74_135_040),
    ],
)
def test_costs(name: str, step: int, head: int, form: str) -> None:
    spec = registry.find(name).spec
    assert record(spec, form, "features")[0].macs == step
    assert record(spec, form, "head")[0].macs == head
    assert Streaming.of(spec).steps * step + head == record(spec, form)[0].macs


def test_steps() -> None:
    steps = {name: Streaming.of(registry.find(name).spec) for name in NAMES}
    assert steps["slowr50_sa"] == Streaming(1, 8, (512, 25, 25))
    assert steps["smate"] == Streaming(2, 12, (768,))
    assert steps["keypoint_tsa"] == Streaming(1, 16, (512,))


@pytest.mark.parametrize("name", NAMES)
def test_parts_share_all_weights(name: str) -> None:
    parts = ("features", "head", "whole")
    features, head, whole = (set(record(registry.find(name).spec, "3d", part)[0].weights) for part in parts)
    assert features | head == whole
    assert not features & head


# -- torch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_window_equals_the_clip(name: str, form: str) -> None:
    """In fp64 against the training form, in fp32 against the whole inference form."""
    module = small(name).double()
    spec, state = module.spec, simplify(module, form).streaming_state()
    steps = state.streaming.steps
    feed = sequence(spec, 2 * steps + 2)
    logits = list(pushed(state, feed))[steps - 1 :]
    with torch.no_grad():
        expected = module(*windows(feed, spec).values())
        assert len(expected) == steps + 3
        assert max(map(relative, logits, expected)) <= 1e-12
        assert min(map(relative, expected[1:], expected)) > 1e-3, "windows that hardly differ show nothing"
        whole = simplify(module.float(), form)
        feed = {key: value.float() for key, value in feed.items()}
        logits = list(pushed(whole.streaming_state(), feed))[steps - 1 :]
        expected = whole(*windows(feed, spec).values())
    assert logits[0].dtype == torch.float32
    assert max(map(relative, logits, expected)) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_short_window_repeats_steps(name: str) -> None:
    module = small(name).double()
    spec, state = module.spec, simplify(module).streaming_state()
    frames, steps = state.streaming.frames_per_step, state.streaming.steps
    feed = sequence(spec, steps - 1)
    for count, logits in enumerate(pushed(state, feed), 1):
        assert len(state) == count
        chosen = [step * frames + offset for step in uniform_indices(count, steps) for offset in range(frames)]
        chosen += [0] * (spec.frames - len(chosen))
        with torch.no_grad():
            assert relative(logits, module(*(v[None] for v in cut(feed, chosen).values()))[0]) <= 1e-12


def test_only_new_frames_are_computed() -> None:
    simplified = simplify(small("smate"))
    features, head = (Counting(simplified.restricted_to(part)) for part in ("features", "head"))
    state = StreamingState(features, head)
    feed = {key: value.float() for key, value in sequence(simplified.spec, 7).items()}
    for _ in pushed(state, feed):
        pass
    assert features.calls == [{"clip": (1, 3, 2, 32, 32)}] * 7
    assert head.calls == [{"features": (1, 3, 768)}] * 7


@pytest.mark.parametrize("name", NAMES)
def test_many_steps_at_once(name: str) -> None:
    """One call of the features part, also with more steps than a window holds."""
    simplified = simplify(small(name).double())
    features, head = (Counting(simplified.restricted_to(part)) for part in ("features", "head"))
    single, state = simplified.streaming_state(), StreamingState(features, head)
    frames, steps = state.streaming.frames_per_step, state.streaming.steps
    feed = sequence(simplified.spec, steps + 3)
    *_, expected = pushed(single, feed)
    state.push(**cut(feed, slice(0, 2 * frames)))
    state.push(**cut(feed, slice(2 * frames, (steps + 3) * frames)))
    assert [call["clip"][0] for call in features.calls] == [2, steps + 1]
    assert len(state) == steps
    assert relative(state.logits(), expected) <= 1e-12


def test_reset_and_neighbours() -> None:
    """States that share parts do not mix, and a reset leaves nothing behind."""
    module = simplify(small("keypoint_tsa").double())
    features, head = module.restricted_to("features"), module.restricted_to("head")
    first, second = StreamingState(features, head), StreamingState(features, head)
    feeds = [sequence(module.spec, 6, seed) for seed in (1, 2)]
    alone = [list(pushed(module.streaming_state(), feed)) for feed in feeds]
    mixed = list(zip(pushed(first, feeds[0]), pushed(second, feeds[1]), strict=True))
    for expected, actual in zip(alone, zip(*mixed, strict=True), strict=True):
        assert max(map(relative, actual, expected)) == 0
    first.reset()
    assert len(first) == 0
    assert max(map(relative, pushed(first, feeds[1]), alone[1])) == 0


def test_parts_share_memory_and_keep_no_gradients() -> None:
    module = simplify(small("keypoint_tsa"))
    whole = module.named_weights()
    for part in PARTS[1:]:
        for key, value in module.restricted_to(part).named_weights().items():
            assert value.data_ptr() == whole[key].data_ptr()
    state = module.streaming_state()
    feed = {key: value.float().requires_grad_() for key, value in cut(sequence(module.spec, 1), [0]).items()}
    state.push(**feed)
    assert not state.logits().requires_grad


# -- engines ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Path]:
    """Part files by network, form and part."""
    folder, found = tmp_path_factory.mktemp("parts"), {}
    for name in NAMES:
        weights = of_module(small(name))
        # Those of the engines that run here, and the one that the tests below read.
        for form in sorted({form for engine, form in BEST_FORM.items() if not reasons(engine)} | {"2d"}):
            for part in PARTS:
                path = found[name, form, part] = folder / f"{name}-{form}-{part}.onnx"
                write(weights, path, form, part=part)
    return found


def loaded(files: dict[tuple[str, str, str], Path], name: str, engine: str) -> list[Engine]:
    if reason := reasons(engine):
        pytest.skip(reason)
    return [load_engine(files[name, BEST_FORM[engine], part], engine, "fp32", threads=1) for part in PARTS]


@pytest.mark.parametrize("engine", BEST_FORM)
@pytest.mark.parametrize("name", NAMES)
def test_every_window_equals_the_clip_on_engines(name: str, engine: str, files: dict) -> None:
    whole, features, head = loaded(files, name, engine)
    state = StreamingState(features, head)
    spec, steps = whole.spec, state.streaming.steps
    feed = {key: value.float() for key, value in sequence(spec, 2 * steps + 2).items()}
    expected = whole.infer({key: value.numpy() for key, value in windows(feed, spec).items()})["logits"]
    logits = list(pushed(state, {key: value.numpy() for key, value in feed.items()}))[steps - 1 :]
    assert logits[0].dtype == np.float32
    assert max(map(relative, logits, expected)) <= 1e-5
    assert min(map(relative, expected[1:], expected)) > 1e-3, "windows that hardly differ show nothing"


@pytest.mark.parametrize("engine", BEST_FORM)
def test_part_files_keep_the_contract(engine: str, files: dict) -> None:
    whole, features, head = loaded(files, "slowr50_sa", engine)
    assert [e.part for e in (whole, features, head)] == list(PARTS)
    assert features.spec == head.spec == whole.spec
    assert features.input_shapes == {"clip": (3, 1, 20, 20)}
    assert head.input_shapes == {"features": (3, 512, 3, 3)}
    steps = features.infer({"clip": np.ones((3, 3, 1, 20, 20), np.float32)})
    assert {key: value.shape for key, value in steps.items()} == {"features": (3, 1, 512, 3, 3)}
    windows_of_two = np.random.default_rng(2).random((2, 3, 512, 3, 3), np.float32)
    logits = head.infer({"features": windows_of_two})
    assert {key: value.shape for key, value in logits.items()} == {"logits": (2, 7)}
    alone = [head.infer({"features": window[None]})["logits"][0] for window in windows_of_two]
    assert relative(logits["logits"], np.stack(alone)) <= 1e-5
    with pytest.raises(InvalidInput, match=r"expected inputs \['features'\], got \['clip'\]"):
        head.infer({"clip": np.ones((1, 3, 3, 20, 20), np.float32)})
    with pytest.raises(InvalidInput, match="3, 3, 20, 20"):
        features.infer({"clip": np.ones((1, 3, 3, 20, 20), np.float32)})
    with pytest.raises(InvalidInput, match="got float64"):
        head.infer({"features": np.ones((1, 3, 512, 3, 3))})
    for path in (files["slowr50_sa", "2d", part] for part in PARTS):
        onnx.checker.check_model(path, full_check=True)


def test_export_writes_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "head.onnx"
    command = ["export", "keypoint_tsa", path, "--weights", "random", "--form", "2d", "--part", "head", "--json"]
    assert main([str(word) for word in command]) == 0
    assert json.loads(capsys.readouterr().out)["part"] == "head"
    again = export_onnx("keypoint_tsa", tmp_path / "again.onnx", "random", form="2d", part="head")
    assert again.read_bytes() == path.read_bytes()
    with load_engine(path, "onnxruntime") as engine:
        assert engine.input_shapes == {"features": (16, 512)}
    with pytest.raises(InvalidInput, match="got its head part"):
        Recognizer("keypoint_tsa", weights=path, engine="onnxruntime", detector="haar")
    with pytest.raises(InvalidInput, match="expected a part out of whole, features, head, embedding; got 'tail'"):
        export_onnx("keypoint_tsa", tmp_path / "tail.onnx", "random", part="tail")


def test_unknown_part_in_a_file(tmp_path: Path, files: dict) -> None:
    model = onnx.load(files["keypoint_tsa", "2d", "head"])
    next(entry for entry in model.metadata_props if entry.key == "dfer_edge.part").value = "tail"
    onnx.save(model, tmp_path / "tail.onnx")
    with pytest.raises(CorruptArtifact, match="got 'tail'"):
        load_engine(tmp_path / "tail.onnx", "onnxruntime")


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in list_models() if name not in (*NAMES, "slowr50")])
def test_networks_that_cannot_be_cut_say_why(name: str, tmp_path: Path) -> None:
    spec = registry.find(name).spec
    reason = f"{name}: .*{WHOLE_ONLY.get(name, 'single images')}"
    for part in PARTS[1:]:
        with pytest.raises(InvalidInput, match=reason):
            record(spec, part=part)
        with pytest.raises(InvalidInput, match=reason):
            export_onnx(name, tmp_path / "part.onnx", "random", part=part)
    with pytest.raises(InvalidInput, match=reason):
        Streaming.of(spec)
    with pytest.raises(InvalidInput, match=reason):
        Simplified(spec, {"a": torch.zeros(1)}).streaming_state()
    assert input_shapes(spec)
    assert not list(tmp_path.iterdir())


def test_parts_that_do_not_belong_together(files: dict) -> None:
    whole, features, head = loaded(files, "keypoint_tsa", "onnxruntime")
    for pair in ((head, features), (whole, head), (features, whole), (features, features)):
        with pytest.raises(InvalidInput, match="expected the parts features and head"):
            StreamingState(*pair)
    _, _, other = loaded(files, "smate", "onnxruntime")
    with pytest.raises(InvalidInput, match=r"of one network with the same weights, got keypoint_tsa .*, smate"):
        StreamingState(features, other)
    head.weights_sha256 = "0" * 64
    with pytest.raises(InvalidInput, match=r"same weights, got keypoint_tsa .*, keypoint_tsa 00000000"):
        StreamingState(features, head)


BAD_PUSHES = [
    ("smate", {"clip": (3, 1, 32, 32)}, "multiple of 2 frames"),
    ("smate", {"clip": (3, 0, 32, 32)}, "multiple of 2 frames"),
    ("smate", {"clip": (1, 3, 2, 32, 32)}, "multiple of 2 frames"),
    ("smate", {"clip": (3, 2, 32, 48)}, "32, 48"),
    ("smate", {"clip": (2, 2, 32, 32)}, r"got .* \[B, 2, 2, 32, 32\]"),
    ("smate", {"clip": (3, 2, 32, 32), "landmarks": (2, 68, 2)}, "expected inputs"),
    ("keypoint_tsa", {"clip": (3, 1, 32, 32)}, r"expected inputs \['clip', 'landmarks'\], got \['clip'\]"),
    ("keypoint_tsa", {"clip": (3, 1, 32, 32), "landmarks": (1, 67, 2)}, "67, 2"),
    ("keypoint_tsa", {"clip": (3, 1, 32, 32), "landmarks": (68, 2)}, "landmarks"),
    ("keypoint_tsa", {"clip": (3, 2, 32, 32), "landmarks": (1, 68, 2)}, "one batch size"),
]


@pytest.mark.parametrize("kind", ["torch", "onnxruntime"])
@pytest.mark.parametrize(("name", "shapes", "message"), BAD_PUSHES)
def test_bad_pushes_leave_the_window_alone(name: str, shapes: dict, message: str, kind: str, files: dict) -> None:
    make = torch.zeros if kind == "torch" else lambda shape: np.zeros(shape, np.float32)
    if kind == "torch":
        state = simplify(small(name)).streaming_state()
    else:
        state = StreamingState(*loaded(files, name, kind)[1:])
    with pytest.raises(InvalidInput, match="at least one step"):
        state.logits()
    for count in (0, 1):
        with pytest.raises(InvalidInput, match=message):
            state.push(**{key: make(shape) for key, shape in shapes.items()})
        assert len(state) == count
        good = {"clip": (3, state.streaming.frames_per_step, 32, 32)}
        good |= {"landmarks": (1, 68, 2)} if name == "keypoint_tsa" else {}
        state.push(**{key: make(shape) for key, shape in good.items()})


@pytest.mark.parametrize("kind", ["torch", "onnxruntime"])
def test_wrong_dtypes(kind: str, files: dict) -> None:
    if kind == "torch":
        state, clip = simplify(small("smate")).streaming_state(), torch.zeros(3, 2, 32, 32)
        wrong = [clip.double(), clip.byte(), clip.numpy()]
    else:
        state, clip = StreamingState(*loaded(files, "smate", kind)[1:]), np.zeros((3, 2, 32, 32), np.float32)
        wrong = [clip.astype(np.float64), clip.astype(np.uint8), torch.from_numpy(clip)]
    for value in (*wrong, clip.tolist(), None):
        with pytest.raises(InvalidInput, match=r"expected (clip as (torch\.)?float32 \[B|a positive multiple)"):
            state.push(value)
    state.push(clip)
    assert len(state) == 1
