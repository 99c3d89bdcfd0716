"""Compact weights: int8 codes, the folded head, and that nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from dfer_edge import CorruptArtifact, InvalidInput, Recognizer, engines
from dfer_edge.cli.main import main
from dfer_edge.export import onnx_file as export
from dfer_edge.inference import slowr50
from dfer_edge.models import create_model
from dfer_edge.models.simplified import state_arrays
from dfer_edge.weights import compact as weights_compact
from dfer_edge.weights import file as weights
from dfer_edge.weights.compact import SCALE, SMALLEST, CompactState, dequantise, quantise


def disturbed(name: str, seed: int) -> torch.nn.Module:
    """A network whose norms and biases are not those of a fresh one."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    module = create_model(name).eval()
    for value in module.state_dict().values():
        if value.is_floating_point() and value.ndim == 1:
            value.add_(0.1 * torch.rand(value.shape, generator=generator))
    return module


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    return disturbed("slowr50_sa", 3)


@pytest.fixture(scope="module")
def saved(module: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compact") / "net.safetensors"
    return weights.save(path, module, compact=True, recipe="none")


# -- quantise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (3, 5, 1, 1, 1), (2, 3, 7), (5, 0), (0, 4)])
def test_codes_are_within_half_a_scale(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    weight = rng.normal(size=shape).astype(np.float32)
    codes, scales = quantise(weight)
    assert (codes.shape, codes.dtype, scales.shape, scales.dtype) == (shape, np.int8, shape[:1], np.float32)
    assert codes.min(initial=0) >= -127
    error = np.abs(dequantise(codes, scales) - weight)
    clipped = np.abs(codes) == 127
    half = np.broadcast_to(scales.reshape(-1, *[1] * (weight.ndim - 1)) / 2, shape)
    assert (error[~clipped] <= half[~clipped] * (1 + 1e-5)).all()


def test_scale_has_the_least_error_of_a_dense_search(rng: np.random.Generator) -> None:
    # So many values that the largest magnitude is not the best end of the range.
    weight = rng.normal(size=(3, 20_000)).astype(np.float32)
    codes, scales = quantise(weight)
    error = np.square(dequantise(codes, scales) - weight).sum(1)
    plain = np.abs(weight).max(1, keepdims=True) / 127
    for share in np.linspace(0.7, 1, 60):
        scale = plain * share
        other = np.square(np.clip(np.rint(weight / scale), -127, 127) * scale - weight).sum(1)
        assert (error <= other * 1.05).all()
    assert (error < np.square(np.rint(weight / plain) * plain - weight).sum(1)).any()


def test_values_that_are_codes_come_back_exactly() -> None:
    codes = np.array([[-127, 0, 64, 127], [1, -127, 5, 0]], np.int8)
    scales = np.array([0.5, 0.25], np.float32)
    again, found = quantise(dequantise(codes, scales))
    np.testing.assert_array_equal(again, codes)
    np.testing.assert_array_equal(found, scales)


def test_hostile_channels(rng: np.random.Generator) -> None:
    weight = np.stack([np.zeros(9), np.full(9, 1e-42), rng.normal(size=9) * 1e30]).astype(np.float32)
    codes, scales = quantise(weight)
    assert (scales > 0).all()
    assert not codes[0].any()
    assert np.isfinite(dequantise(codes, scales)).all()
    strided, _ = quantise(np.asfortranarray(weight))
    np.testing.assert_array_equal(strided, codes)
    with pytest.raises(InvalidInput, match="two or more axes"):
        quantise(np.zeros(3, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_numbers_are_named(bad: float, module: torch.nn.Module) -> None:
    state = {key: value.copy() for key, value in state_arrays(module).items()}
    state["stages.1.0.conv_b.weight"][0, 0] = bad
    with pytest.raises(InvalidInput, match=r"finite.*stages\.1\.0\.conv_b\.weight"):
        weights_compact.compact(state, module.spec)


# -- the folded head ----------------------------------------------------------------------------------------------


def test_folded_head_is_exact_in_fp64(module: torch.nn.Module, rng: np.random.Generator) -> None:
    """The printed head and the same head with the folded tensors: one function."""
    state = state_arrays(module)
    reduced = slowr50.fold_head(state, module.spec)
    made = {name: make() for name, make in slowr50.folded_away(module.spec).items()}
    assert set(reduced) | set(made) == set(state)
    assert not set(reduced) & set(made)
    equal = {name: value for name, value in (reduced | made).items() if name.startswith("head.")}
    assert {name: value.shape for name, value in equal.items()} == {
        name: value.shape for name, value in state.items() if name.startswith("head.")
    }
    features = torch.from_numpy(rng.normal(size=(5, 2048)))
    head = create_model("slowr50_sa").head.double().eval()
    logits = []
    for source in (state, equal):
        head.load_state_dict({n[5:]: torch.from_numpy(np.array(v)) for n, v in source.items() if n.startswith("head.")})
        logits.append(head(features).detach().numpy())
    assert np.abs(logits[0]).max() > 0.1
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-12 * np.abs(logits[0]).max())


def test_folded_head_can_be_fine_tuned(module: torch.nn.Module) -> None:
    """The attention that adds nothing still gets a gradient: it is no dead end."""
    head = create_model("slowr50_sa").head.eval()
    made = {name: make() for name, make in slowr50.folded_away(module.spec).items()}
    head.load_state_dict({n[5:]: torch.from_numpy(v) for n, v in made.items()}, strict=False)
    head(torch.rand(2, 2048)).square().sum().backward()
    assert head.attention.out_proj.weight.grad.abs().max() > 0


def test_plain_head_has_nothing_to_fold() -> None:
    spec = create_model("slowr50").spec
    assert slowr50.fold_head({"a": np.ones(1)}, spec) == {"a": np.ones(1)}
    assert not slowr50.folded_away(spec)


# -- files --------------------------------------------------------------------------------------------------------


def test_shipping_size_and_metadata(saved: Path) -> None:
    assert saved.stat().st_size <= 36e6
    loaded = weights.load(saved)
    assert (loaded.compact, loaded.notes) == ("int8", {"recipe": "none"})
    assert loaded.sha256 == weights.content_hash(load_file(saved))


def test_round_trip(module: torch.nn.Module, saved: Path) -> None:
    state, original = weights.load(saved).state, state_arrays(module)
    assert set(state) == set(original)
    assert len(state) == len(original)
    assert "stem.conv.weight" + SCALE not in state
    for name, value in original.items():
        if name.startswith("head."):
            continue
        if value.ndim < 2 or value.size < SMALLEST:
            np.testing.assert_array_equal(state[name], value)
        else:
            noise = np.square(state[name] - value).mean() / np.square(value).mean()
            assert 0 < noise < 3e-4, name


def test_keys_that_are_not_there(saved: Path) -> None:
    state = weights.load(saved).state
    assert "nothing" not in state
    with pytest.raises(KeyError):
        state["nothing"]


def test_compact_again_changes_nothing(saved: Path, tmp_path: Path) -> None:
    again = weights.write(tmp_path / "again.safetensors", weights.load(saved), compact=True)
    first, second = load_file(saved), load_file(again)
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_allclose(second[name], first[name], atol=1 if first[name].dtype == np.int8 else 1e-6)


def test_tampering(saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1000] ^= 1
    (tmp_path / "tampered.safetensors").write_bytes(content)
    with pytest.raises(CorruptArtifact, match="expected content sha256"):
        weights.load(tmp_path / "tampered.safetensors")


@pytest.mark.parametrize("wrong", ["shape", "zero", "missing"])
def test_scales_that_do_not_fit(wrong: str, module: torch.nn.Module, tmp_path: Path) -> None:
    stored = {"a.weight": np.ones((2, 3), np.int8), "a.weight" + SCALE: np.ones(2, np.float32)}
    if wrong == "shape":
        stored["a.weight" + SCALE] = np.ones(3, np.float32)
    elif wrong == "zero":
        stored["a.weight" + SCALE][1] = 0
    else:
        del stored["a.weight"]
    metadata = {
        "format": weights.COMPACT_FORMAT,
        "sha256": weights.content_hash(stored),
        "spec": module.spec.to_json(),
    }
    save_file(stored, tmp_path / "odd.safetensors", metadata)
    with pytest.raises(CorruptArtifact, match=r"positive scale.*a\.weight"):
        weights.load(tmp_path / "odd.safetensors")


def test_notes_that_do_not_read(saved: Path, tmp_path: Path) -> None:
    state = {"a": np.zeros(2, np.float32)}
    metadata = {"format": weights.FORMAT, "sha256": weights.content_hash(state), "notes": "{"}
    save_file(state, tmp_path / "n.safetensors", metadata | {"spec": weights.load(saved).spec.to_json()})
    with pytest.raises(CorruptArtifact, match="notes"):
        weights.load(tmp_path / "n.safetensors")


def test_files_in_full_keep_their_format(tmp_path: Path) -> None:
    path = weights.save(tmp_path / "full.safetensors", create_model("slowr50"))
    loaded = weights.load(path)
    assert (loaded.compact, loaded.notes, loaded.untrained) == ("", {}, 0)
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert header["__metadata__"]["format"] == "dfer_edge/1"


def test_an_interrupted_write_leaves_the_old_file(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"before")

    def fails(_: object, partial: Path, __: object) -> None:
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", fails)
    with pytest.raises(OSError, match="No space"):
        weights.write(path, weights.load(saved), compact=True)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_over_the_source_leaves_what_is_loaded(tmp_path: Path) -> None:
    """What is loaded is mapped from the file: a write into the same file would change it under its user."""
    path = weights.save(tmp_path / "net.safetensors", create_model("r2plus1d_sta"))
    loaded = weights.load(path)
    before = {name: np.array(value) for name, value in loaded.state.items()}
    weights.write(path, loaded, compact=True)
    for name, value in before.items():
        np.testing.assert_array_equal(loaded.state[name], value)
    assert weights.load(path).compact == "int8"


# -- use ----------------------------------------------------------------------------------------------------------


def test_every_engine_gives_the_same(saved: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    """A compact file on each engine against the training form with its tensors."""
    twin = create_model("slowr50_sa").eval()
    loaded = weights.load_into(twin, saved)
    clip = rng.normal(size=(1, 3, 8, 196, 196)).astype(np.float32)
    with torch.no_grad():
        expected = twin(torch.from_numpy(clip)).numpy()
    for name in ("onnxruntime", "openvino", "torch"):
        if engines.reasons(name):
            continue
        path = tmp_path / f"{name}.onnx"
        export.write(loaded, path, engines.BEST_FORM[name])
        with engines.load_engine(path, name, "fp32", threads=1) as engine:
            assert engine.metadata["dfer_edge.weights_compact"] == "int8"
            np.testing.assert_allclose(engine.infer({"clip": clip})["logits"], expected, rtol=1e-3, atol=2e-4)


def test_close_to_the_network_in_full(module: torch.nn.Module, saved: Path, rng: np.random.Generator) -> None:
    twin = create_model("slowr50_sa").eval()
    weights.load_into(twin, saved)
    features = torch.from_numpy(rng.random((16, 2048)).astype(np.float32))
    with torch.no_grad():
        full, compact = module.head(features), twin.head(features)
    assert (full - compact).abs().max() < 0.02 * full.abs().max()


def test_load_into_refuses_what_does_not_fit(saved: Path) -> None:
    with pytest.raises(InvalidInput, match="expected weights of slowr50, got net"):
        weights.load_into(create_model("slowr50"), saved)
    with pytest.raises(InvalidInput, match=r"classifier.*shape \(11, 512\), got \(7, 512\)"):
        weights.load_into(create_model("slowr50_sa", num_classes=11), saved)
    with pytest.raises(InvalidInput, match="random"):
        weights.load_into(create_model("slowr50_sa"), weights.random("slowr50_sa"))


def test_recognizer_says_that_its_weights_are_compact(
    saved: Path, astronaut_frames: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path))
    recognizer = Recognizer("slowr50_sa", weights=saved, engine="onnxruntime", detector="haar", threads=1)
    assert recognizer.info()["weights"]["compact"] == "int8"
    assert recognizer.predict(astronaut_frames[:1]).weights["sha256"] == weights.load(saved).sha256


def test_convert_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = weights.save(tmp_path / "full.safetensors", disturbed("slowr50", 1), untrained=2)
    small, back = tmp_path / "small.safetensors", tmp_path / "back.safetensors"
    assert main(["models", "convert", str(full), str(small), "--model", "slowr50", "--compact"]) == 0
    assert "MB, from 126.8 MB" in capsys.readouterr().out
    assert main(["models", "convert", str(small), str(back), "--model", "slowr50"]) == 0
    loaded, again = weights.load(small), weights.load(back)
    assert (again.compact, again.untrained, again.name) == ("", 2, "back.safetensors (2 of 320 tensors random)")
    for name, value in loaded.state.items():
        np.testing.assert_array_equal(again.state[name], value)
    assert main(["models", "convert", str(small), str(back), "--model", "smate"]) == 1


def test_doctor_shows_the_shipped_form(saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dfer_edge.doctor.machine import report

    (tmp_path / "slowr50_sa.safetensors").write_bytes(saved.read_bytes())
    (tmp_path / "smate.safetensors").write_bytes(b"cut")
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    found = report()["weights"]
    assert "compact: int8" in found["slowr50_sa"]
    assert "damaged" in found["smate"]
    assert found["slowr50"] == "none ship yet"


@pytest.mark.parametrize("name", ["keypoint_tsa", "r2plus1d_sta"])
def test_other_networks(name: str) -> None:
    """Fold reads the compact state of every family, within the rounding of the codes."""
    from dfer_edge.inference import registry

    module = disturbed(name, 4)
    state = state_arrays(module)
    compact = CompactState(weights_compact.compact(state, module.spec), module.spec)
    fold = registry.find(name).inference().fold
    exact, rounded = fold(state, module.spec), fold(compact, module.spec)
    assert set(exact) == set(rounded)
    for key, value in exact.items():
        assert np.square(rounded[key] - value).mean() <= 1e-3 * np.square(value).mean() + 1e-12, key
