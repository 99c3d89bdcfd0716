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

from dfer_edge import CorruptArtifact, InvalidInput, SourceNotFound
from dfer_edge.faces.landmark_networks import FollowingFace68
from dfer_edge.inference.keypoint_graph import MIRROR_POINTS
from dfer_edge.synthesis import load_face_model
from dfer_edge.synthesis.renderer import FaceRenderer
from dfer_edge.training.landmarks import convention, crops, render
from dfer_edge.training.landmarks.convention import annotated
from dfer_edge.training.landmarks.crops import DOWN, MARGIN, MIRROR, Jitter, training_crop
from dfer_edge.training.landmarks.degrade import scrambled, wear_mask
from dfer_edge.training.landmarks.export import save_onnx
from dfer_edge.training.landmarks.network import DENSE, SIZE, LandmarkNet, loss
from dfer_edge.training.landmarks.render import read_shards
from dfer_edge.training.landmarks.start import _resampled, net_of
from dfer_edge.training.landmarks.trainer import Recipe, Renders, Trainer, make_batch

STILL = Jitter(scale=0.0, shift=0.0, turn_rad=0.0, stretch=0.0, empty=0.0, mask=0.0)
BOX = np.array([64.0, 66.0, 90.0])


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
    points = np.concatenate([np.stack([face() for _ in range(5)]), rng.uniform(20, 100, (5, DENSE, 2))], axis=1)
    return Renders(rng.integers(0, 256, (5, 128, 128), np.uint8), points.astype(np.float32), np.tile(BOX, (5, 1)))


def test_mirrored_numbers_are_the_productions() -> None:
    np.testing.assert_array_equal(MIRROR, MIRROR_POINTS)


def test_crops_lie_in_the_detectors_box(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (FollowingFace68.margin, FollowingFace68.down) == (MARGIN, DOWN)
    points = face()
    monkeypatch.setattr(crops, "degraded", lambda rng, grey: grey)
    black = np.zeros((128, 128), np.uint8)
    seen = [training_crop(np.random.default_rng(k), black, points, BOX, STILL)[1] for k in range(8)]
    expected = (points - BOX[:2]) / (90.0 * crops.FRAMING.margin) + 0.5
    assert {np.abs(one - expected).max() < 1e-4 for one in seen} == {True, False}, "some are mirrored"


@pytest.mark.parametrize("seed", range(12))
def test_points_go_where_their_pixels_go(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "degraded", lambda rng, grey: grey)
    points, image = face(), np.zeros((128, 128), np.uint8)
    x, y = np.round(points[57]).astype(int)
    points[57] = x, y
    cv2.circle(image, (int(x), int(y)), 4, 255, -1)
    grey, moved, is_face = training_crop(
        np.random.default_rng(seed), image, points, BOX, replace(Jitter(), empty=0.0, mask=0.0)
    )
    assert is_face
    assert (grey.shape, grey.dtype) == ((SIZE, SIZE), np.float32)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    centre = (columns * grey).sum() / grey.sum(), (rows * grey).sum() / grey.sum()
    # Point 57 is its own mirror image; a face's eyes stay to the left and right whether it is mirrored or not.
    assert np.abs(moved[57] * SIZE - 0.5 - centre).max() < 0.3
    assert moved[36:42, 0].mean() < moved[42:48, 0].mean()


def test_places_without_a_face_show_little_of_one_or_no_upright_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "degraded", lambda rng, grey: grey)
    monkeypatch.setattr(crops, "scrambled", lambda rng, grey: np.full_like(grey, 77))
    points, kinds = face(), []
    for seed in range(60):
        grey, moved, is_face = training_crop(
            np.random.default_rng(seed), np.zeros((128, 128), np.uint8), points, BOX, replace(Jitter(), empty=1.0)
        )
        assert not is_face
        parts = ((moved[36:] > 0) & (moved[36:] < 1)).all(1).mean() < 0.95
        down = moved[[48, 54]].mean(0) - moved[36:48].mean(0)
        kinds.append("scrambled" if (grey == 77).all() else "part" if parts else "turned")
        if kinds[-1] == "turned":
            assert down[1] < 0.2 * np.linalg.norm(down), "hangs or lies on its side"
    assert set(kinds) == {"scrambled", "part", "turned"}


def test_scrambled_tiles_are_those_of_the_crop(rng: np.random.Generator) -> None:
    grey = rng.uniform(0, 255, (64, 64)).astype(np.float32)
    mixed = scrambled(rng, grey)
    assert not np.array_equal(mixed, grey)
    np.testing.assert_array_equal(np.sort(mixed.ravel()), np.sort(grey.ravel()))


def test_a_mask_covers_the_mouth_and_neither_eyes_nor_brows() -> None:
    x = np.linspace(20, 108, 17)
    points = np.full((68, 2), 64.0)
    points[:17] = np.stack([x, 60 + 45 * np.sin(np.linspace(0, np.pi, 17))], 1)
    points[27:31] = np.stack([np.full(4, 64.0), np.linspace(52, 70, 4)], 1)
    image = np.full((128, 128), 100, np.uint8)
    for seed in range(10):
        worn = wear_mask(np.random.default_rng(seed), image, points)
        assert worn.dtype == np.uint8
        assert (worn[85:95, 55:73] != 100).mean() > 0.5
        assert (worn[:45] == 100).all()


def test_annotators_habits_are_learnt_from_public_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A habit that the networks share is taken over as far as a part's share says, their noise is not."""
    monkeypatch.setattr(convention, "_drawn", lambda points: points)
    rng = np.random.default_rng(1)
    points = face() + rng.normal(0, 2.0, (400, 68, 2))
    habit = np.zeros((68, 2))
    habit[49:54] = 1.5, 0.0
    habit[17:27] = 0.0, 2.0
    public = points[:, None] + habit + rng.normal(0, 0.6, (400, 2, 68, 2))
    public[0] = np.nan
    public[1] += 40.0
    head = np.zeros((400, 3))
    head[2, 0] = 1.3
    change = annotated(points, public, head) - points
    np.testing.assert_allclose(change[3:, 49:54].mean((0, 1)), (1.5, 0.0), atol=0.15)
    np.testing.assert_allclose(change[3:, 17:27].mean((0, 1)), (0.0, 0.7 * 2.0), atol=0.15)
    assert np.abs(change[:, 17:27, 0]).max() == 0, "the length of brows is no habit"
    assert change[3:].std(0).max() < 0.3
    assert np.abs(change[2]).max() == 0, "turned away"
    assert np.isfinite(change).all()


def test_brows_reach_further_and_jaws_are_even() -> None:
    points = np.stack([face(), face()])
    points[:, 17:22] = np.stack([np.arange(5) * 4.0 + 20, np.full(5, 30.0)], 1)
    points[:, :9] = np.stack([np.linspace(0, 1, 9) ** 2 * 40, np.zeros(9)], 1)
    drawn = convention._drawn(points)
    np.testing.assert_allclose(drawn[0, [17, 21], 0], (20 - 0.72, 36 + 0.72), atol=1e-6)
    np.testing.assert_allclose(np.diff(drawn[0, :9, 0]), np.full(8, 5.0), atol=1e-6)
    np.testing.assert_array_equal(drawn[:, 31:], points[:, 31:])


def test_kernels_for_smaller_pixels_see_the_same() -> None:
    """A smooth picture under a kernel, against the same picture with pixels two thirds as large."""
    x = np.arange(-30, 31)
    kernel = np.exp(-np.square(np.arange(-2, 3)) / 2.0)
    kernel = np.outer(kernel, kernel)[None, None]
    fine = _resampled(kernel, 7, 2 / 3)
    assert fine.shape == (1, 1, 7, 7)
    coarse_seen = (kernel[0, 0] * np.cos(0.3 * x[28:33])[None]).sum()
    fine_seen = (fine[0, 0] * np.cos(0.3 * 2 / 3 * x[27:34])[None]).sum()
    assert fine_seen == pytest.approx(coarse_seen, rel=0.06)  # the edge weights reach half a pixel less


def test_a_batch_depends_on_seed_and_step_alone(renders: Renders) -> None:
    recipe = Recipe(batch=6, seed=4)
    for a, b in zip(make_batch(renders, recipe, 7, Jitter()), make_batch(renders, recipe, 7, Jitter()), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
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
    whole.train(renders, every=3)

    class Killed(Exception):
        pass

    broken = Trainer(recipe, tmp_path / "broken")
    save, broken.save = broken.save, lambda: (save(), (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        broken.train(renders, every=3)
    resumed = Trainer(recipe, tmp_path / "broken")
    assert resumed.step == 3
    resumed.train(renders, every=3)
    for part in ("net", "averaged"):
        for a, b in zip(getattr(whole, part).parameters(), getattr(resumed, part).parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(InvalidInput, match="expected a checkpoint of"):
        Trainer(replace(recipe, rate=0.5), tmp_path / "broken")


def test_a_stage_starts_from_an_earlier_one(renders: Renders, tmp_path: Path) -> None:
    first = Recipe(steps=9, stop=2, batch=4)
    Trainer(first, tmp_path / "a").train(renders)
    second = Trainer(Recipe(steps=3, batch=4, seed=1, start="a"), tmp_path / "b")
    second.start_from_file(tmp_path / "a" / "checkpoint.pt", renders)
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
    image = rng.uniform(0, 255, (3, 1, SIZE, SIZE)).astype(np.float32)
    image[2] = 7.0  # blank: no division by its spread of zero
    found = session.run(None, {"image": image})
    both = []
    for view in (image, image[..., ::-1].copy()):
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


def test_training_goes_on_from_an_exported_file(tmp_path: Path, renders: Renders) -> None:
    torch.manual_seed(2)
    net = LandmarkNet()
    with torch.no_grad():
        net.train()
        for _ in range(3):
            net(torch.rand(8, 1, SIZE, SIZE) * 255)
    save_onnx(net.eval(), tmp_path / "points.onnx", {"data": {"synthetic": True}})
    grey = make_batch(renders, Recipe(batch=6), 0, Jitter())[0]
    again = net_of(tmp_path / "points.onnx", grey)
    with torch.no_grad():
        for a, b in zip(net(grey), again(grey), strict=True):
            torch.testing.assert_close(a, b, atol=3e-3, rtol=3e-3)
        # Norms with the statistics of these crops: training begins where the file stopped.
        for a, b in zip(net(grey), again.train()(grey), strict=True):
            torch.testing.assert_close(a, b, atol=3e-3, rtol=3e-3)
    trainer = Trainer(Recipe(steps=2, batch=4, start="b"), tmp_path / "c")
    trainer.start_from_file(tmp_path / "points.onnx", renders)
    assert trainer.earlier == [{"file": "points.onnx"}]
    other = onnx.load(str(tmp_path / "points.onnx"))
    other.graph.node.remove(next(node for node in other.graph.node if node.op_type == "Conv" and len(node.input) == 3))
    onnx.save(other, str(tmp_path / "other.onnx"))
    with pytest.raises(InvalidInput, match="expected an exported landmark network"):
        net_of(tmp_path / "other.onnx", grey)


def test_shards_are_read_back_and_damage_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="expected shards"):
        read_shards(tmp_path)
    stored = {
        "grey": np.zeros((2, 8, 8), np.uint8),
        "landmarks": np.full((2, 68, 2), 96, np.int16),
        "marked": np.zeros((2, 300, 2), np.int16),
        "public": np.full((2, 2, 68, 2), -32768, np.int16),
        "head": np.zeros((2, 3), np.float32),
    }
    np.savez(tmp_path / "shard-0000.npz", **stored)
    back = read_shards(tmp_path, 1)
    assert {name: len(array) for name, array in back.items()} == dict.fromkeys(stored, 1)
    assert (back["landmarks"] == 1.5).all()
    assert np.isnan(back["public"]).all()
    with pytest.raises(InvalidInput, match="expected 3 renders"):
        read_shards(tmp_path, 3)
    (tmp_path / "shard-0001.npz").write_bytes((tmp_path / "shard-0000.npz").read_bytes()[:500])
    with pytest.raises(CorruptArtifact, match="shard-0001"):
        read_shards(tmp_path)


def test_a_shard_of_renders(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "SHARD", 3)
    model = load_face_model(media / "face_model" / "ict_face_light.npz")
    vertices = render.dense_vertices(model)
    assert len(set(vertices.tolist())) == DENSE
    one = render.shard(FaceRenderer(model, vertices), 5, 0, [])
    again = render.shard(FaceRenderer(model, vertices), 5, 0, [])
    for name, array in one.items():
        np.testing.assert_array_equal(array, again[name])
    assert one["grey"].shape == (3, render.SIZE, render.SIZE)
    # Dense points lie about the landmarks, and the stored numbers are pixels of the image.
    landmarks, dense = one["landmarks"] / 64, one["marked"][:, -DENSE:] / 64
    assert ((landmarks > 0) & (landmarks < render.SIZE)).mean() > 0.95
    assert (np.abs(dense.mean(1) - landmarks.mean(1)) < 25).all()
