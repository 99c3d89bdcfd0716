"""Training of the landmark network: crops keep their points, steps repeat, resuming and the export are exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dfer_edge import InvalidInput
from dfer_edge.faces.landmark_networks import RenderedFace68
from dfer_edge.inference.keypoint_graph import MIRROR_POINTS
from dfer_edge.training.landmarks import crops
from dfer_edge.training.landmarks.crops import DOWN, MARGIN, MIRROR, Jitter, training_crop
from dfer_edge.training.landmarks.export import save_onnx, to_onnx
from dfer_edge.training.landmarks.network import GREY, SIZE, LandmarkNet, loss
from dfer_edge.training.landmarks.trainer import Recipe, Renders, Trainer, make_batch

STILL = Jitter(scale=0.0, shift=0.0, turn_rad=0.0, empty=0.0)


def face(size: int = 128) -> np.ndarray:
    """Points [68, 2]: eyes 30 pixels apart, the mouth 30 below."""
    points = np.random.default_rng(3).uniform(45, 80, (68, 2))
    ring = np.stack([np.cos(np.arange(6)), np.sin(np.arange(6))], 1)
    ring -= ring.mean(0)
    points[36:42], points[42:48] = ring + np.array([48, 50]), ring + np.array([78, 50])
    points[48], points[54] = (53, 80), (73, 80)
    return points + (size - 128) / 2


@pytest.fixture
def renders() -> Renders:
    rng = np.random.default_rng(0)
    return Renders(
        rng.integers(0, 256, (5, 128, 128), np.uint8), np.stack([face() for _ in range(5)]).astype(np.float32)
    )


def test_mirrored_numbers_are_the_productions() -> None:
    np.testing.assert_array_equal(MIRROR, MIRROR_POINTS)


def test_the_crop_is_the_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """YuNet's mean box through the shipped network's own margin, against the crop without jitter."""
    assert (RenderedFace68.margin, RenderedFace68.down) == (MARGIN, DOWN)
    points, s = face(), 30.0
    side = crops.BOX_SIDE * s
    centre = np.array([63.0, 65.0 - crops.BOX_UP * s + DOWN * side])
    monkeypatch.setattr(crops, "_degraded", lambda rng, grey: grey)
    seen = [training_crop(np.random.default_rng(k), np.zeros((128, 128), np.uint8), points, STILL)[1] for k in range(8)]
    expected = (points - centre) / (side * MARGIN) + 0.5
    assert {np.abs(one - expected).max() < 1e-4 for one in seen} == {True, False}, "some are mirrored"


@pytest.mark.parametrize("seed", range(12))
def test_points_go_where_their_pixels_go(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "_degraded", lambda rng, grey: grey)
    points, image = face(), np.zeros((128, 128), np.uint8)
    x, y = np.round(points[57]).astype(int)
    points[57] = x, y
    cv2.circle(image, (int(x), int(y)), 4, 255, -1)
    grey, moved, is_face = training_crop(np.random.default_rng(seed), image, points, replace(Jitter(), empty=0.0))
    assert is_face
    assert (grey.shape, grey.dtype) == ((SIZE, SIZE), np.float32)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    centre = (columns * grey).sum() / grey.sum(), (rows * grey).sum() / grey.sum()
    # Point 57 is its own mirror image; a face's eyes stay to the left and right whether it is mirrored or not.
    assert np.abs(moved[57] * SIZE - 0.5 - centre).max() < 0.3
    assert moved[36:42, 0].mean() < moved[42:48, 0].mean()


def test_places_without_a_face_show_little_of_one() -> None:
    points = face()
    for seed in range(40):
        _, moved, is_face = training_crop(
            np.random.default_rng(seed), np.zeros((128, 128), np.uint8), points, Jitter(empty=1.0)
        )
        assert not is_face
        inner = moved[36:]
        assert ((inner > 0) & (inner < 1)).all(1).mean() < 0.95


def test_a_batch_depends_on_seed_and_step_alone(renders: Renders) -> None:
    recipe = Recipe(batch=6, seed=4)
    for a, b in zip(make_batch(renders, recipe, 7, Jitter()), make_batch(renders, recipe, 7, Jitter()), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    other = make_batch(renders, recipe, 8, Jitter())[0]
    assert not torch.equal(make_batch(renders, recipe, 7, Jitter())[0], other)


def test_points_of_no_face_do_not_count() -> None:
    net = LandmarkNet()
    outputs = net(torch.rand(4, 1, SIZE, SIZE) * 255)
    target, is_face = torch.rand(4, 68, 2), torch.tensor([1.0, 0.0, 1.0, 0.0])
    total, distance = loss(outputs, target, is_face)
    target[is_face == 0] = 1e6
    again, same = loss(outputs, target, is_face)
    torch.testing.assert_close(total, again)
    torch.testing.assert_close(distance, same)
    nothing, zero = loss(outputs, target, torch.zeros(4))
    assert torch.isfinite(nothing)
    assert zero == 0


def test_resuming_is_exact(renders: Renders, tmp_path: Path) -> None:
    recipe = Recipe(steps=6, batch=4)
    whole = Trainer(recipe, tmp_path / "whole")
    whole.run(renders, every=3)

    class Killed(Exception):
        pass

    broken = Trainer(recipe, tmp_path / "broken")
    save, broken.save = broken.save, lambda: (save(), (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        broken.run(renders, every=3)
    resumed = Trainer(recipe, tmp_path / "broken")
    assert resumed.step == 3
    resumed.run(renders, every=3)
    for part in ("net", "averaged"):
        for a, b in zip(getattr(whole, part).parameters(), getattr(resumed, part).parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(InvalidInput, match="expected a checkpoint of"):
        Trainer(replace(recipe, rate=0.5), tmp_path / "broken")


def test_a_stage_starts_from_an_earlier_one(renders: Renders, tmp_path: Path) -> None:
    first = Recipe(steps=9, stop=2, batch=4)
    Trainer(first, tmp_path / "a").run(renders)
    second = Trainer(Recipe(steps=3, batch=4, seed=1, start="a"), tmp_path / "b")
    second.start_from(tmp_path / "a" / "checkpoint.pt")
    assert [stage["stop"] for stage in second.earlier] == [2]
    saved = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 2
    torch.testing.assert_close(second.net.state_dict(), saved["averaged"])


def test_the_file_computes_what_the_network_does(tmp_path: Path, rng: np.random.Generator) -> None:
    torch.manual_seed(5)
    net = LandmarkNet()
    with torch.no_grad():
        net.train()
        for _ in range(3):  # running statistics away from 0 and 1
            net(torch.rand(8, 1, SIZE, SIZE) * 255)
        net.head.bias.normal_()
    net.eval()
    save_onnx(net, tmp_path / "points.onnx", {"data": {"synthetic": True}})
    session = onnxruntime.InferenceSession(str(tmp_path / "points.onnx"), providers=["CPUExecutionProvider"])
    image = rng.uniform(0, 255, (3, 3, SIZE, SIZE)).astype(np.float32)
    image[2] = 7.0  # blank: no division by its spread of zero
    found = session.run(None, {"image": image})
    grey = np.einsum("nchw,c->nhw", image, np.float32(GREY))[:, None]
    both = []
    for view in (grey, grey[..., ::-1].copy()):
        with torch.no_grad():
            points, log_spread, logit = net(torch.from_numpy(view))
        both.append([points.numpy(), log_spread.exp().numpy(), torch.sigmoid(logit).numpy()])
    both[1][0], both[1][1] = both[1][0][:, MIRROR] * (-1, 1) + (1, 0), both[1][1][:, MIRROR]
    points, spread, face_there = (np.mean(pair, axis=0) for pair in zip(*both, strict=True))
    np.testing.assert_allclose(found[0], points, atol=2e-3)
    np.testing.assert_allclose(found[1], spread, rtol=2e-2)
    np.testing.assert_allclose(found[2], face_there, atol=1e-2)
    assert all(np.isfinite(output).all() for output in found)
    back = session.run(None, {"image": image[..., ::-1].copy()})
    np.testing.assert_allclose(back[0][:, MIRROR] * (-1, 1) + (1, 0), found[0], atol=1e-5)


def test_what_the_file_says_of_itself() -> None:
    model = to_onnx(LandmarkNet().eval(), {"data": {"images": 3}})
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert {"spec", "data", "weights_sha256", "licence"} <= set(facts)
    assert len(model.SerializeToString()) < 3_000_000
    stored = {t.name: t for t in model.graph.initializer}
    large = [t for t in stored.values() if np.prod(t.dims) > 1000]
    assert large
    assert {t.data_type for t in large} == {onnx.TensorProto.FLOAT16}
