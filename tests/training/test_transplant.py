"""The teacher read from its files, and its blocks in the layers of SlowR50, exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from dfer_edge.errors import CorruptArtifact, SourceNotFound
from dfer_edge.labels import DFEW
from dfer_edge.models import simplify
from dfer_edge.training.transplant import exact, fit
from dfer_edge.training.transplant.__main__ import finish, network_for_people
from dfer_edge.training.transplant.images import ImageSlowR50
from dfer_edge.training.transplant.teacher import WIDTHS, Teacher, read_weights

MANIFEST = "face_expression_model-weights_manifest.json"


def write_teacher(folder: Path) -> dict[str, np.ndarray]:
    """Files as face-api's, with random weights; the values that they stand for."""
    rng, entries, data, values, before = np.random.default_rng(3), [], b"", {}, 3
    shapes: dict[str, tuple[int, ...]] = {}
    for block, width in enumerate(WIDTHS):
        for conv in range(4):
            name, source = f"dense{block}/conv{conv}", before if conv == 0 else width
            if block == conv == 0:
                shapes[f"{name}/filters"] = (3, 3, 3, width)
            else:
                shapes |= {
                    f"{name}/depthwise_filter": (3, 3, source, 1),
                    f"{name}/pointwise_filter": (1, 1, source, width),
                }
            shapes[f"{name}/bias"] = (width,)
        before = width
    shapes |= {"fc/weights": (WIDTHS[-1], 7), "fc/bias": (7,)}
    for name, shape in shapes.items():
        codes = rng.integers(0, 256, shape).astype(np.uint8)
        scale = 4.0 / 255 / np.sqrt(max(1, np.prod(shape[:-1]))) if not name.endswith("depthwise_filter") else 2.0 / 255
        low = -scale * 127.5
        entries.append(
            {"name": name, "shape": list(shape), "quantization": {"dtype": "uint8", "scale": scale, "min": low}}
        )
        data += codes.tobytes()
        values[name] = codes.astype(np.float32) * np.float32(scale) + np.float32(low)
    (folder / MANIFEST).write_text(json.dumps([{"paths": ["model.bin"], "weights": entries}]))
    (folder / "model.bin").write_bytes(data)
    return values


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    folder = tmp_path_factory.mktemp("faceapi")
    write_teacher(folder)
    return Teacher(read_weights(folder)).eval()


def test_files_are_read_with_their_scales(tmp_path: Path) -> None:
    expected = write_teacher(tmp_path)
    actual = read_weights(tmp_path)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-6, atol=1e-7)
    (tmp_path / "model.bin").write_bytes(b"short")
    with pytest.raises(CorruptArtifact, match="end before"):
        read_weights(tmp_path)
    (tmp_path / "model.bin").unlink()
    with pytest.raises(SourceNotFound, match=r"model\.bin"):
        read_weights(tmp_path)
    with pytest.raises(SourceNotFound, match="npm install"):
        read_weights(tmp_path / "none")


def test_separable_convolutions_and_classes(teacher: Teacher, tmp_path: Path) -> None:
    values = write_teacher(tmp_path)
    x = torch.rand(2, WIDTHS[1], 6, 6)
    depthwise = torch.from_numpy(values["dense1/conv2/depthwise_filter"]).permute(2, 3, 0, 1)
    pointwise = torch.from_numpy(values["dense1/conv2/pointwise_filter"]).permute(3, 2, 0, 1)
    bias = torch.from_numpy(values["dense1/conv2/bias"])
    expected = F.conv2d(F.conv2d(x, depthwise, padding=1, groups=WIDTHS[1]), pointwise, bias)
    torch.testing.assert_close(teacher.conv(1, 2, x), expected, rtol=1e-4, atol=1e-4)
    # Happy is the second class there and the first here; neutral the first there and the third here.
    np.testing.assert_array_equal(teacher.classifier.bias[DFEW.index("happy")].item(), values["fc/bias"][1])
    np.testing.assert_array_equal(teacher.classifier.bias[DFEW.index("neutral")].item(), values["fc/bias"][0])


def test_scales_change_maps_but_no_logit(tmp_path: Path) -> None:
    write_teacher(tmp_path)
    teacher, pixels = Teacher(read_weights(tmp_path)).eval(), torch.rand(2, 3, 112, 112) * 255
    before = teacher(pixels).logits
    teacher.rescale(pixels)
    seen = teacher(pixels)
    torch.testing.assert_close(seen.logits, before, rtol=1e-3, atol=1e-3)
    for found in seen.maps:
        assert found.square().mean().sqrt().item() == pytest.approx(1.0, rel=1e-3)


@pytest.fixture(scope="module")
def planted(teacher: Teacher) -> tuple[ImageSlowR50, exact.Offsets, torch.Tensor]:
    torch.manual_seed(0)
    pixels = torch.rand(4, 3, 112, 112) * 255
    teacher.rescale(pixels)
    images = ImageSlowR50(network_for_people("slowr50_sa"))
    # No cutting: the proof is of the construction.
    found = {name: value * 4 + 8 for name, value in exact.offsets(teacher, pixels).items()}
    exact.write(images, teacher, found)
    return images, found, pixels


def test_blocks_are_exact(teacher: Teacher, planted: tuple[ImageSlowR50, exact.Offsets, torch.Tensor]) -> None:
    images, found, pixels = planted
    with torch.no_grad():
        seen = teacher(pixels)
        # What stem and pool should give: the first, rectified sum of block 1.
        first_sum = teacher.sums(1, seen.maps[0])[0]
        pooled = torch.zeros(len(pixels), 64, 28, 28)
        pooled[:, : WIDTHS[1]] = first_sum
        first = images.stages[0](pooled)
        rest = images.rest(first)
        mine = exact.maps(images, found, first, rest)
    for actual, expected in zip(mine, seen.maps[1:], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


def test_both_networks_compute_what_was_planted(planted: tuple[ImageSlowR50, exact.Offsets, torch.Tensor]) -> None:
    images, _, pixels = planted
    classifier = torch.nn.Linear(WIDTHS[-1], 7)
    logits = []
    for name in ("slowr50_sa", "slowr50"):
        network = finish(images, classifier, name, temperature=2.0, apex=0.7)
        x = fit.network_input(pixels[:2])
        with torch.no_grad():
            clip = x.contiguous()[:, :, None].expand(-1, -1, 8, -1, -1)
            logits.append(network(clip))
            torch.testing.assert_close(logits[-1], images(x), rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(simplify(network, "2d")(clip), logits[-1], rtol=1e-3, atol=1e-3)
        neutral = DFEW.index("neutral")
        scores = torch.zeros(1, 7)
        scores[0, neutral] = 1.0
        assert network.apex(scores).item() == pytest.approx(-0.7)
        assert network.apex(1 - scores).item() == pytest.approx(0.7)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_low_layers_learn_the_map(teacher: Teacher, planted: tuple[ImageSlowR50, exact.Offsets, torch.Tensor]) -> None:
    images, found, pixels = planted
    errors = []
    same = iter([(pixels, torch.zeros(4, dtype=torch.long))] * 30)
    exact.write(images, teacher, found)
    fit.match_low(images, teacher, found, same, 30, 2e-3, lambda step, terms: errors.append(terms["map"]))
    assert errors[-1] < 0.6 * errors[0]


def test_the_classifier_learns_labels_and_opinions() -> None:
    torch.manual_seed(0)
    classes = torch.arange(700) % 7
    features = F.one_hot(classes, WIDTHS[-1]).float() + 0.1 * torch.rand(700, WIDTHS[-1])
    opinions = torch.zeros(700, 7)
    linear = fit.fit_classifier(features, classes, opinions, labels=1.0)
    assert (linear(features).argmax(1) == classes).float().mean() > 0.99
    expected = fit.target(classes[:1], opinions[:1], 0.0)
    torch.testing.assert_close(expected, torch.full((1, 7), 1 / 7))
