"""Weights files: round trips, tampering, pickles, public backbones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dfer_edge import CorruptArtifact, InvalidInput, Recognizer, WeightsNotFound, labels
from dfer_edge.cli.main import main
from dfer_edge.export import onnx_file as export
from dfer_edge.models import create_model, simplify
from dfer_edge.weights import file as weights
from dfer_edge.weights import head


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    torch.manual_seed(5)
    return create_model("slowr50").eval()


@pytest.fixture(scope="module")
def saved(module: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights.save(tmp_path_factory.mktemp("weights") / "slowr50.safetensors", module, data="none")


def test_round_trip(module: torch.nn.Module, saved: Path) -> None:
    loaded = weights.load(saved)
    assert loaded.spec == module.spec
    assert loaded.name == "slowr50.safetensors"
    for key, value in module.state_dict().items():
        np.testing.assert_array_equal(loaded.state[key], value.numpy())


def test_weights_file_to_onnx_without_the_module(module: torch.nn.Module, saved: Path, tmp_path: Path) -> None:
    """A saved file, exported in numpy only, computes what the training form computes."""
    import onnxruntime

    path = export.export_onnx("slowr50", tmp_path / "net.onnx", weights=saved, form="2d")
    clip = torch.randn(1, 3, 8, 196, 196)
    with torch.no_grad():
        expected = module(clip).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    actual = session.run(None, {"clip": clip.numpy()})[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["dfer_edge.spec"])["labels"][0] == "happy"
    assert metadata["dfer_edge.weights_sha256"] == weights.load(saved).sha256


def test_module_export_equals_file_export(module: torch.nn.Module, saved: Path, tmp_path: Path) -> None:
    a = export.export_onnx(module, tmp_path / "a.onnx")
    b = export.export_onnx("slowr50", tmp_path / "b.onnx", weights=saved)
    import onnx

    first, second = (onnx.load(path).graph for path in (a, b))
    assert first.SerializeToString() == second.SerializeToString()


def test_tampered_tensor(saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1000] ^= 1
    (tmp_path / "tampered.safetensors").write_bytes(content)
    with pytest.raises(CorruptArtifact, match="expected content sha256"):
        weights.load(tmp_path / "tampered.safetensors")


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"happy", b"angry"), (b'"untrained":"0"', b'"untrained":"9"'), (b'\\"mean\\": [0.', b'\\"mean\\": [1.')],
)
def test_tampered_metadata(saved: Path, tmp_path: Path, before: bytes, after: bytes) -> None:
    content = saved.read_bytes()
    assert content.count(before) == 1
    (tmp_path / "relabelled.safetensors").write_bytes(content.replace(before, after))
    with pytest.raises(CorruptArtifact, match="expected metadata sha256"):
        weights.load(tmp_path / "relabelled.safetensors")


def test_files_from_before_the_metadata_had_a_hash_load(saved: Path, tmp_path: Path) -> None:
    with safe_open(saved, framework="numpy") as file:
        metadata = file.metadata()
    del metadata["metadata_sha256"]
    save_file(load_file(saved), tmp_path / "old.safetensors", metadata)
    assert weights.load(tmp_path / "old.safetensors").spec == weights.load(saved).spec


@pytest.mark.parametrize("kept", [0, 7, 500, 100_000, -10])
def test_truncated(saved: Path, tmp_path: Path, kept: int) -> None:
    (tmp_path / "cut.safetensors").write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(CorruptArtifact, match=r"cut\.safetensors"):
        weights.load(tmp_path / "cut.safetensors")


def test_foreign_safetensors_and_broken_spec(saved: Path, tmp_path: Path) -> None:
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CorruptArtifact, match="metadata format"):
        weights.load(tmp_path / "foreign.safetensors")
    state = load_file(saved)
    metadata = {"format": weights.FORMAT, "sha256": weights.content_hash(state), "spec": '{"name": 3}'}
    save_file(state, tmp_path / "spec.safetensors", metadata)
    with pytest.raises(CorruptArtifact, match="model spec"):
        weights.load(tmp_path / "spec.safetensors")


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_are_refused_with_the_command_that_converts_them(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InvalidInput, match=r"pickle.*dfer-edge models convert"):
        weights.load(path)


def test_weights_of_another_model(saved: Path) -> None:
    with pytest.raises(InvalidInput, match="expected weights of slowr50_sa, got weights of slowr50"):
        weights.resolve("slowr50_sa", saved)


def test_default_says_the_way_out() -> None:
    with pytest.raises(WeightsNotFound, match=r'no trained weights ship.*weights="random"') as caught:
        weights.resolve("smate", "default")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(WeightsNotFound, match="nothing at"):
        weights.resolve("slowr50", "none.safetensors")


def test_missing_or_misshapen_keys_are_named(module: torch.nn.Module, tmp_path: Path) -> None:
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    del state["stages.2.3.norm_b.running_var"]
    source = weights.Weights("broken", "", module.spec, state)
    with pytest.raises(InvalidInput, match=r"stages\.2\.3\.norm_b\.running_var"):
        export.write(source, tmp_path / "x.onnx", "3d")
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    state["head.classifier.weight"] = state["head.classifier.weight"][:5]
    with pytest.raises(InvalidInput, match=r"classifier\.weight.*\(7, 2048\), got \(5, 2048\)"):
        export.write(weights.Weights("broken", "", module.spec, state), tmp_path / "x.onnx", "3d")


@pytest.mark.parametrize("names", [labels.MAFW, labels.DAISEE_ENGAGEMENT], ids=["11 classes", "4 classes"])
def test_other_label_sets_travel_with_the_weights(
    names: tuple[str, ...], tmp_path: Path, astronaut_frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path))
    path = weights.save(tmp_path / "own.safetensors", create_model("slowr50", class_names=names))
    recognizer = Recognizer("slowr50", weights=path, engine="onnxruntime", detector="haar")
    prediction = recognizer.predict(astronaut_frames[:4])
    assert prediction.labels == names
    assert prediction.probabilities.shape == (len(names),)


def test_class_names_and_counts_must_agree() -> None:
    for wrong in ({"num_classes": 3, "class_names": ("a", "b")}, {"class_names": ("a", "a")}):
        with pytest.raises(InvalidInput, match="class names"):
            create_model("slowr50", **wrong)


def test_weights_that_are_not_numbers(module: torch.nn.Module, tmp_path: Path) -> None:
    state = {key: value.numpy().copy() for key, value in module.state_dict().items()}
    state["stem.conv.weight"][0, 0, 0, 0, 0] = np.nan
    with pytest.raises(CorruptArtifact, match=r"finite weights.*stem\.weight"):
        export.write(weights.Weights("broken", "", module.spec, state), tmp_path / "x.onnx", "3d")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "x.pb"}, r"\.onnx"),
        ({"path": "x.onnx", "form": "4d"}, "3d, 2d, shifted"),
        ({"path": "x.onnx", "batch": 0}, "batch"),
    ],
)
def test_bad_export_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        export.export_onnx("slowr50", weights="random", **arguments)


# -- public backbones ---------------------------------------------------------------------------------------------


def slow_r50_state(num_classes: int = 400) -> dict[str, torch.Tensor]:
    """A state dict in the layout of pytorchvideo's slow_r50, built from its published structure."""
    generator = torch.Generator().manual_seed(8)
    state: dict[str, torch.Tensor] = {}

    def conv(key: str, *shape: int) -> None:
        state[f"{key}.weight"] = torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5

    def norm(key: str, width: int) -> None:
        state[f"{key}.weight"] = torch.rand(width, generator=generator) + 0.5
        state[f"{key}.bias"] = torch.randn(width, generator=generator) * 0.1
        state[f"{key}.running_mean"] = torch.randn(width, generator=generator) * 0.1
        state[f"{key}.running_var"] = torch.rand(width, generator=generator) + 0.5
        state[f"{key}.num_batches_tracked"] = torch.tensor(1)

    conv("blocks.0.conv", 64, 3, 1, 7, 7)
    norm("blocks.0.norm", 64)
    channels = 64
    for block, (depth, inner, temporal) in enumerate([(3, 64, 1), (4, 128, 1), (6, 256, 3), (3, 512, 3)], start=1):
        for unit in range(depth):
            key = f"blocks.{block}.res_blocks.{unit}"
            if unit == 0:
                conv(f"{key}.branch1_conv", inner * 4, channels, 1, 1, 1)
                norm(f"{key}.branch1_norm", inner * 4)
            conv(f"{key}.branch2.conv_a", inner, channels, temporal, 1, 1)
            norm(f"{key}.branch2.norm_a", inner)
            conv(f"{key}.branch2.conv_b", inner, inner, 1, 3, 3)
            norm(f"{key}.branch2.norm_b", inner)
            conv(f"{key}.branch2.conv_c", inner * 4, inner, 1, 1, 1)
            norm(f"{key}.branch2.norm_c", inner * 4)
            channels = inner * 4
    state["blocks.5.proj.weight"] = torch.randn(num_classes, 2048, generator=generator) * 0.02
    state["blocks.5.proj.bias"] = torch.zeros(num_classes)
    return state


def slow_r50_features(state: dict[str, torch.Tensor], clip: torch.Tensor) -> torch.Tensor:
    """The public network's forward pass from its own keys, written independently of ours."""

    def conv_norm(x: torch.Tensor, conv: str, norm: str, stride: int = 1) -> torch.Tensor:
        weight = state[f"{conv}.weight"]
        pad = [size // 2 for size in weight.shape[2:]]
        y = torch.nn.functional.conv3d(x, weight, None, (1, stride, stride), pad)
        moments = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return torch.nn.functional.batch_norm(y, *moments, state[f"{norm}.weight"], state[f"{norm}.bias"])

    x = conv_norm(clip, "blocks.0.conv", "blocks.0.norm", 2).relu()
    x = torch.nn.functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for block, depth in enumerate([3, 4, 6, 3], start=1):
        for unit in range(depth):
            key, stride = f"blocks.{block}.res_blocks.{unit}", 2 if unit == 0 and block > 1 else 1
            short = conv_norm(x, f"{key}.branch1_conv", f"{key}.branch1_norm", stride) if unit == 0 else x
            y = conv_norm(x, f"{key}.branch2.conv_a", f"{key}.branch2.norm_a").relu()
            y = conv_norm(y, f"{key}.branch2.conv_b", f"{key}.branch2.norm_b", stride).relu()
            x = (short + conv_norm(y, f"{key}.branch2.conv_c", f"{key}.branch2.norm_c")).relu()
    return x


def test_slow_r50_layout_is_understood_and_computes_the_same() -> None:
    state = slow_r50_state()
    module = create_model("slowr50_sa").eval()
    report = weights.import_backbone(module, state)
    assert set(report.skipped) == {"blocks.5.proj.weight", "blocks.5.proj.bias"}
    assert "(7, 512), got (400, 2048)" in report.skipped["blocks.5.proj.weight"]
    assert len(report.matched) == len(state) - 2
    assert all(key.startswith("head.") for key in report.missing)
    clip = torch.randn(1, 3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(module.forward_features(clip), slow_r50_features(state, clip), rtol=1e-4, atol=1e-4)


def test_matching_classifier_is_taken_too() -> None:
    module = create_model("slowr50", num_classes=400)
    report = weights.import_backbone(module, slow_r50_state())
    assert not report.skipped
    assert not report.missing
    assert set(report.matched) == set(module.state_dict())


def test_another_layout_matches_nothing() -> None:
    with pytest.raises(InvalidInput, match=r"nothing matched"):
        weights.import_backbone(create_model("slowr50"), {"layer1.0.conv1.weight": torch.zeros(1)})


def test_convert_command_makes_a_weights_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": slow_r50_state()}, tmp_path / "slow_r50.pth")
    out = tmp_path / "slow.safetensors"
    assert main(["models", "convert", str(tmp_path / "slow_r50.pth"), str(out), "--model", "slowr50_sa"]) == 0
    assert "skipped" in capsys.readouterr().out
    assert weights.load(out).spec.name == "slowr50_sa"


def test_convert_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    assert (
        main(["models", "convert", str(tmp_path / "evil.pth"), str(tmp_path / "o.safetensors"), "--model", "slowr50"])
        == 1
    )
    assert not (tmp_path / "owned").exists()
    assert "tensors only" in capsys.readouterr().err


def test_simplified_module_keeps_its_signature(module: torch.nn.Module) -> None:
    fast = simplify(module)
    assert simplify(fast) is fast
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    with pytest.raises(InvalidInput, match="create_model"):
        simplify(torch.nn.Linear(2, 2))


def test_a_head_on_the_trunk_of_another_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    attending, plain = create_model("slowr50_sa"), create_model("slowr50")
    shared = {key: value for key, value in attending.state_dict().items() if not key.startswith("head.")}
    plain.load_state_dict({**plain.state_dict(), **shared})
    trunk = weights.save(tmp_path / "trunk.safetensors", attending)
    file = head.save(tmp_path / "head.safetensors", plain, trunk, note="n")
    assert file.stat().st_size < 1 << 17
    loaded = weights.load(file)
    assert loaded.spec.name == "slowr50"
    assert loaded.notes == {"note": "n"}
    fresh = create_model("slowr50")
    weights.load_into(fresh, file)
    for key, value in plain.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key
    # The hash tells of both files.
    (tmp_path / "other").mkdir()
    other = weights.save(tmp_path / "other" / "trunk.safetensors", create_model("slowr50_sa"))
    (tmp_path / "other" / "head.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(CorruptArtifact, match=r"expected trunk\.safetensors with content"):
        weights.load(other.with_name("head.safetensors"))
    other.unlink()
    with pytest.raises(CorruptArtifact, match="shares its trunk"):
        weights.load(other.with_name("head.safetensors"))
    other.write_bytes(file.read_bytes())
    with pytest.raises(CorruptArtifact, match="names another"):
        weights.load(other.with_name("head.safetensors"))
    with pytest.raises(InvalidInput, match="in the folder"):
        head.save(tmp_path / "other" / "h.safetensors", plain, trunk)
