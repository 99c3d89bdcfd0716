"""Fitting of the shipped landmark network: heads learn what is there, start and export are exact."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from dfer_edge import CorruptArtifact, InvalidInput
from dfer_edge.faces.landmark_networks import RenderedFace68
from dfer_edge.training.landmarks import crops
from dfer_edge.training.landmarks.crops import training_crop
from dfer_edge.training.landmarks.fitted import fit as fitting
from dfer_edge.training.landmarks.fitted.export import save_onnx
from dfer_edge.training.landmarks.fitted.fit import FRAMING, Recipe, Seen, fit, of_pictures, of_renders
from dfer_edge.training.landmarks.fitted.network import DOWN, FEATURES, MARGIN, SIZE, LandmarkNet
from dfer_edge.training.landmarks.fitted.start import net_of
from tests.training.test_landmarks import BOX, STILL, face


def test_crops_lie_in_the_detectors_box(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (RenderedFace68.margin, RenderedFace68.down) == (MARGIN, DOWN)
    points = face()
    monkeypatch.setattr(crops, "degraded", lambda rng, grey: grey)
    black = np.zeros((128, 128), np.uint8)
    seen = [training_crop(np.random.default_rng(k), black, points, BOX, STILL, FRAMING)[1] for k in range(8)]
    large = 90.0 * fitting._SMALLER
    expected = (points - BOX[:2] - (0, DOWN * large)) / (MARGIN * large) + 0.5
    assert {np.abs(one - expected).max() < 1e-4 for one in seen} == {True, False}, "some are mirrored"


def _known(rng: np.random.Generator, count: int) -> tuple[LandmarkNet, Seen]:
    """A network whose points are wrong by a linear function of its features, and features that tell a face."""
    torch.manual_seed(1)
    net = LandmarkNet().eval()
    features = rng.normal(0, 1, (count, FEATURES)).astype(np.float32)
    there = rng.random(count) < 0.7
    features[:, 3] += 4.0 * there
    with torch.no_grad():
        net.points.weight *= 0.05
        net.points.bias.copy_(torch.from_numpy(((face() - 20) / 90).ravel().astype(np.float32)))
        found = net.answers(torch.from_numpy(features))[0].numpy()
    wrong = 0.004 * features[:, -5:-4, None] + np.array([0.01, 0.0])
    return net, Seen(features, (found + wrong).astype(np.float32), there, np.zeros(count, np.float32))


def test_points_go_their_share_of_the_way(rng: np.random.Generator) -> None:
    net, seen = _known(rng, 4000)
    with torch.no_grad():
        before = net.answers(torch.from_numpy(seen.features))[0].numpy()
    empty = rng.normal(0, 1, (50, FEATURES)).astype(np.float32)
    facts = fit(net, seen, empty, Recipe(share=0.5, damping=1e-6, steps=300, batch=256))
    with torch.no_grad():
        points, spread, logit = net.answers(torch.from_numpy(seen.features))
    np.testing.assert_allclose(points.numpy() - before, 0.5 * (seen.points - before), atol=2e-4)
    # Scales of distances in the plane: half their mean.
    distance = np.linalg.norm(points.numpy() - seen.points, axis=2)[seen.face]
    assert (distance / np.exp(spread.numpy()[seen.face])).mean() == pytest.approx(2.0, rel=0.05)
    assert ((logit.numpy() > 0) == seen.face).mean() > 0.95
    assert 0 < facts["fitted"] < 1


def test_damping_holds_back_and_turned_heads_do_not_count(rng: np.random.Generator) -> None:
    net, seen = _known(rng, 1000)
    seen.yaw[:500] = 1.2
    seen.points[:500] += 0.03  # would move everything, were they counted
    with torch.no_grad():
        before = net.answers(torch.from_numpy(seen.features))[0].numpy()
    empty = rng.normal(0, 1, (9, FEATURES)).astype(np.float32)
    fit(net, seen, empty, Recipe(share=1.0, damping=1e6, steps=2))
    with torch.no_grad():
        moved = net.answers(torch.from_numpy(seen.features))[0].numpy() - before
    average = (seen.points - before)[500:][seen.face[500:]].mean(0)
    np.testing.assert_allclose(moved, np.broadcast_to(average, moved.shape), atol=1e-3)


def test_fitting_repeats(rng: np.random.Generator) -> None:
    nets = []
    for _ in range(2):
        net, seen = _known(np.random.default_rng(3), 300)
        fit(net, seen, seen.features[:9], Recipe(steps=5, batch=32))
        nets.append(net)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_places_of_pictures_smaller_than_a_crop_serve_too() -> None:
    pictures = [np.full((10, 300), 90, np.uint8), np.full((200, 90), 20, np.uint8)]
    net = LandmarkNet().eval()
    one, again = (of_pictures(net, pictures, Recipe(places=5)) for _ in range(2))
    assert one.shape == (5, FEATURES)
    np.testing.assert_array_equal(one, again)


def test_crops_of_renders(tmp_path: Path, rng: np.random.Generator) -> None:
    still = np.clip(face(176) * 64, 0, 32767).astype(np.int16)
    stored = {
        "grey": rng.integers(0, 256, (40, 176, 176), np.uint8),
        "landmarks": np.clip(still + rng.integers(-90, 90, (40, 68, 2)), 0, 32767).astype(np.int16),
        "marked": np.zeros((40, 3, 2), np.int16),
        "head": rng.normal(0, 0.1, (40, 3)).astype(np.float32),
    }
    stored["public"] = np.stack([stored["landmarks"]] * 2, axis=1)
    np.savez(tmp_path / "shard-0000.npz", **stored)
    seen = of_renders(LandmarkNet().eval(), tmp_path, Recipe(crops=30))
    assert seen.features.shape == (30, FEATURES)
    assert seen.points.shape == (30, 68, 2)
    assert 0.6 < seen.face.mean() < 1
    assert (seen.yaw >= 0).all()
    np.savez(tmp_path / "shard-0000.npz", **(stored | {"public": stored["public"][:, :1]}))
    with pytest.raises(InvalidInput, match="expected answers of two public networks"):
        of_renders(LandmarkNet().eval(), tmp_path, Recipe(crops=3))


def test_the_start_sees_what_face_api_sees(media: Path, rng: np.random.Generator, tmp_path: Path) -> None:
    path = media / "onnx" / "face_landmark68_faceapi.onnx"
    net = net_of(path).eval()
    grey = cv2.GaussianBlur(rng.uniform(0, 255, (SIZE, SIZE)).astype(np.float32), (0, 0), 4.0)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    colours = np.repeat(grey[None, None], 3, axis=1)
    (theirs,) = session.run(None, {session.get_inputs()[0].name: colours})
    with torch.no_grad():
        ours = net(torch.from_numpy(grey)[None, None])[0].numpy()
    # Theirs count pixels from the middle of the first; beyond the edge each colour had a grey of its own.
    np.testing.assert_allclose(ours * SIZE - 0.5, theirs.reshape(1, 68, 2) * SIZE, atol=0.5)
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no network")
    with pytest.raises(CorruptArtifact, match="other"):
        net_of(other)
    with pytest.raises(InvalidInput, match="expected face-api's 68-point network"):
        net_of(media / "onnx" / "face_landmark66_openseeface.onnx")


def test_the_file_computes_what_the_network_does(tmp_path: Path, rng: np.random.Generator) -> None:
    torch.manual_seed(5)
    net = LandmarkNet().eval()
    with torch.no_grad():
        for weights in net.blocks.parameters():
            weights.mul_(1.7)  # so that what is seen reaches the end
    save_onnx(net, tmp_path / "points.onnx", {"data": {"synthetic": True}})
    session = onnxruntime.InferenceSession(str(tmp_path / "points.onnx"), providers=["CPUExecutionProvider"])
    image = rng.uniform(0, 255, (3, 1, SIZE, SIZE)).astype(np.float32)
    found = session.run(None, {"image": image})
    with torch.no_grad():
        points, log_spread, logit = net(torch.from_numpy(image))
    apart = float(points.std(0).mean())
    assert apart > 1e-3, "the pixels matter"
    np.testing.assert_allclose(found[0], points.numpy(), atol=0.05 * apart)
    np.testing.assert_allclose(np.log(found[1]), log_spread.numpy(), atol=0.05 * float(log_spread.std(0).mean()))
    np.testing.assert_allclose(found[2], torch.sigmoid(logit).numpy(), atol=1e-2)
