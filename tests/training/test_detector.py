"""Training of the detector: boxes go where pixels go, cells answer for their faces, steps repeat, the export agrees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from dfer_edge import InvalidInput
from dfer_edge.errors import SourceNotFound
from dfer_edge.training.detector import pasting
from dfer_edge.training.detector.export import lowered, to_onnx
from dfer_edge.training.detector.loss import Faces, assign, cells, decode, loss
from dfer_edge.training.detector.network import STRIDES, DetectorNet
from dfer_edge.training.detector.pasting import Scene, five, paste
from dfer_edge.training.detector.pictures import Pictures
from dfer_edge.training.detector.scenes import MOST, _rows, compose
from dfer_edge.training.detector.sprites import OUTLINE, SIZE, Sprites
from dfer_edge.training.detector.trainer import Recipe, Trainer, make_batch
from dfer_edge.training.detector.worn import Head


@pytest.fixture
def sprites() -> Sprites:
    """Balls with 73 points on a ring: no face model is needed to place them."""
    cover = np.zeros((3, SIZE, SIZE), np.uint8)
    for layer in cover:
        cv2.circle(layer, (SIZE // 2, SIZE // 2), 60, 255, -1)
    turn = np.linspace(0, 2 * np.pi, OUTLINE, endpoint=False)
    points = SIZE / 2 + 50 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    grey = (cover * np.array([0.3, 0.6, 0.9])[:, None, None]).astype(np.uint8)
    return Sprites(grey, cover, np.tile(points, (3, 1, 1)).astype(np.float32), np.zeros(3, np.float32))


@pytest.fixture
def pictures() -> Pictures:
    rng = np.random.default_rng(1)
    thing = np.full((40, 30), 90, np.uint8)
    return Pictures([rng.integers(0, 256, (300, 400), np.uint8)], [(thing, np.full_like(thing, 255))])


def faces(*boxes: tuple[float, float, float, float], kind: int = 1) -> Faces:
    tensor = torch.tensor([boxes], dtype=torch.float32)
    return Faces(tensor, torch.zeros(1, len(boxes), 5, 2), torch.full((1, len(boxes)), kind))


@pytest.mark.parametrize("roll", [0.0, 37.0, -60.0])
def test_a_pasted_face_lies_in_its_box(roll: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasting, "_STRETCH", 0.0)
    grey = np.zeros((100, 100), np.float32)
    cv2.rectangle(grey, (30, 20), (70, 80), 255, -1)
    points = np.tile(np.array([[50.0, 50.0]]), (OUTLINE, 1))
    points[:4] = (30, 20), (70, 20), (30, 80), (70, 80)
    scene = Scene(np.zeros((200, 200), np.float32))
    box, _ = paste(
        np.random.default_rng(3), scene, Head(grey, grey.copy(), points), np.array([90.0, 120.0]), roll, points[10]
    )
    lit = np.argwhere(scene.image > 100)
    seen = np.array([*lit.min(0)[::-1], *(lit.max(0)[::-1] + 1)])
    assert np.abs(box - seen).max() < 5, "6 % of the height are not the detectors'"


def test_images_have_their_faces(sprites: Sprites, pictures: Pictures) -> None:
    counted = 0
    for seed in range(25):
        image, boxes, points, kinds = compose(np.random.default_rng(seed), sprites, pictures, 128)
        assert (image.shape, image.dtype) == ((128, 128), np.uint8)
        assert len(boxes) == len(points) == len(kinds) <= MOST
        assert set(kinds.tolist()) <= {1, -1}
        for box in boxes[kinds == 1]:
            shown = np.clip(box, 0, 128)
            assert np.prod(shown[2:] - shown[:2]) >= 0.5 * np.prod(box[2:] - box[:2])
        counted += int((kinds == 1).sum())
    assert counted > 25


def test_an_audience_is_rows_of_heads_near_each_other(sprites: Sprites, pictures: Pictures) -> None:
    scene = Scene(np.full((256, 256), 128, np.float32))
    _rows(np.random.default_rng(3), scene, sprites, pictures)
    boxes = np.array(scene.boxes)
    assert 4 < len(boxes) <= MOST
    sizes, middles = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)), (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = [np.sort(np.linalg.norm(middles - middle, axis=1))[1] for middle in middles]
    assert np.median(nearest / sizes) < 3
    assert np.corrcoef(middles[:, 1], sizes)[0, 1] > -0.2, "those in front are no smaller"


def test_five_points_are_eyes_nose_and_mouth() -> None:
    points = np.zeros((68, 2))
    points[36:42], points[42:48], points[30], points[48], points[54] = 1, 2, 3, 4, 5
    np.testing.assert_array_equal(five(points)[:, 0], [1, 2, 3, 4, 5])


def test_cells_answer_for_faces_of_their_size() -> None:
    small, large = (10.0, 10.0, 30.0, 34.0), (60.0, 60.0, 200.0, 220.0)
    middle = cells(32, 32, 8)
    owner, asked = assign(faces(small, large), middle, 8, 0, (256, 256))
    assert set(owner[0].tolist()) == {-1, 0}, "the large face is not this level's"
    near = (middle[owner[0] == 0] - torch.tensor([20.0, 22.0])).abs()
    assert (near < 8).all()
    assert not asked[0][(owner[0] < 0) & ((middle - torch.tensor([20.0, 22.0])).abs().amax(1) < 12)].any()
    owner, _ = assign(faces(small, large), cells(8, 8, 32), 32, 2, (256, 256))
    assert set(owner[0].tolist()) == {-1, 1}


def test_a_face_cut_by_the_border_is_answered_for_from_inside() -> None:
    owner, _ = assign(faces((-60.0, 100.0, 40.0, 200.0)), cells(8, 8, 32), 32, 2, (256, 256))
    middle = cells(8, 8, 32)[owner[0] == 0]
    assert len(middle)
    assert (middle > 0).all()


def test_places_that_are_not_asked_cost_nothing() -> None:
    box = (40.0, 40.0, 90.0, 90.0)
    outputs = [torch.randn(1, 15, 256 // stride, 256 // stride) for stride in STRIDES]
    before, _ = loss(outputs, faces(box, kind=-1), (256, 256))
    for output, stride in zip(outputs, STRIDES, strict=True):
        place = (cells(256 // stride, 256 // stride, stride) - 65.0).abs().amax(1) < 25
        output[0, 0].view(-1)[place] = 9.0
    after, _ = loss(outputs, faces(box, kind=-1), (256, 256))
    torch.testing.assert_close(before, after)
    asked, _ = loss(outputs, faces((0.0, 0.0, 1.0, 1.0), kind=0), (256, 256))
    assert asked > after + 1


def test_the_right_answer_costs_little() -> None:
    box = torch.tensor([100.0, 90.0, 130.0, 126.0])
    wanted = faces(tuple(box.tolist()))
    wanted.points[:] = torch.tensor([[110.0, 100], [120, 100], [115, 108], [111, 116], [119, 116]])
    outputs = []
    for stride in STRIDES:
        side = 256 // stride
        middle = cells(side, side, stride)
        output = torch.full((1, 15, side, side), -9.0)
        reach = torch.cat([middle - box[:2], box[2:] - middle], 1).clamp(min=1e-3) / stride
        output[0, 1:5] = reach.log().T.reshape(4, side, side)
        off = (wanted.points[0] - middle[:, None]) / stride
        output[0, 5:] = off.reshape(-1, 10).T.reshape(10, side, side)
        outputs.append(output)
    owner, _ = assign(wanted, cells(32, 32, 8), 8, 0, (256, 256))
    outputs[0][0, 0].view(-1)[owner[0] == 0] = 9.0
    owner, _ = assign(wanted, cells(16, 16, 16), 16, 1, (256, 256))
    outputs[1][0, 0].view(-1)[owner[0] == 0] = 9.0
    total, parts = loss(outputs, wanted, (256, 256))
    assert parts["overlap"] > 0.999
    assert total < 0.01


def test_resuming_is_exact(sprites: Sprites, pictures: Pictures, tmp_path: Path) -> None:
    recipe = Recipe(steps=2, batch=2, size=64)
    whole = Trainer(recipe, tmp_path / "whole")
    whole.train(sprites, pictures, every=1)

    class Killed(Exception):
        pass

    broken = Trainer(recipe, tmp_path / "broken")
    save = broken.save

    def save_and_die() -> None:
        save()
        raise Killed

    broken.save = save_and_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        broken.train(sprites, pictures, every=1)
    again = Trainer(recipe, tmp_path / "broken")
    assert again.step == 1
    again.train(sprites, pictures, every=1)
    for a, b in zip(whole.averaged.state_dict().values(), again.averaged.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(InvalidInput, match="another folder"):
        Trainer(Recipe(steps=5, batch=2, size=64), tmp_path / "broken")


def test_a_batch_depends_on_seed_and_step_alone(sprites: Sprites, pictures: Pictures) -> None:
    recipe = Recipe(batch=2, size=64, seed=4)
    images, same, other = (make_batch(sprites, pictures, recipe, step)[0] for step in (7, 7, 8))
    assert torch.equal(images, same)
    assert not torch.equal(images, other)


def test_the_exported_file_answers_as_the_network_does() -> None:
    torch.manual_seed(0)
    net = DetectorNet().train()
    for _ in range(3):
        net(torch.rand(2, 1, 64, 64) * 255)
    net.eval()
    model = to_onnx(net, {"recipe": {"steps": 1}})
    assert len(model.SerializeToString()) < 1_000_000
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 96, 160), np.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = net(torch.from_numpy(image).float())
    for found, output in zip(session.run(None, {"grey": image}), expected, strict=True):
        np.testing.assert_allclose(found, output.numpy(), rtol=0.02, atol=0.02)  # weights are stored as fp16
    with torch.inference_mode():
        for less, output in zip(lowered(net, 0.5)(torch.from_numpy(image).float()), expected, strict=True):
            torch.testing.assert_close(less[:, 0], output[:, 0] - 0.5)
            torch.testing.assert_close(less[:, 1:], output[:, 1:])


def test_decoding_gives_pixels() -> None:
    output = torch.zeros(1, 15, 2, 3)
    output[0, 1:5] = torch.log(torch.tensor([1.0, 2.0, 3.0, 4.0]))[:, None, None]
    _, boxes, points = decode(output, 8)
    assert boxes[0, 4].tolist() == pytest.approx([12 - 8, 12 - 16, 12 + 24, 12 + 32])
    assert points[0, 5].tolist() == [[20.0, 12.0]] * 5


def test_folders_without_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="pictures"):
        Pictures.read(tmp_path)
    with pytest.raises(SourceNotFound, match="--render"):
        Sprites.read(tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), np.full((50, 80, 3), 9, np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((50, 80, 4), 200, np.uint8))
    (tmp_path / "c.png").write_bytes(b"no picture")
    read = Pictures.read(tmp_path)
    assert (len(read.backgrounds), len(read.things)) == (1, 1)
    assert read.things[0][0].max() <= 200 * 200 // 255
