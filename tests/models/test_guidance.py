"""Training-only parts of paper 002: guidance mask, dropout, class weights (models.md sections 3 and 9)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import registry
from dfer_edge.models import vgg
from dfer_edge.models.guidance import class_weights, guide, hull_mask, template_mask

SIZE = 32
OULU_IMAGES = 9_299
OULU_WEIGHTS = (1.0102, 1.1117, 0.8839, 0.8844, 1.0898, 1.1070, 0.9732)


def network(**options: object) -> vgg.VGG:
    torch.manual_seed(0)
    return vgg.create(dataclasses.replace(registry.find("vgg16_fer").spec, size=SIZE), **options)


def seen_by_first_layer(module: vgg.VGG, *inputs: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = module.stages[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    module(*inputs)
    handle.remove()
    return seen[0]


def face() -> np.ndarray:
    """68 points of a drawn face in a crop of 100 pixels: jaw, nose on the midline, and boxes for the features."""
    points = np.zeros((68, 2))
    points[:17] = [(50 + 45 * np.cos(t), 50 + 45 * np.sin(t)) for t in np.linspace(np.pi, 0, 17)]
    points[17:22] = [(x, 25) for x in np.linspace(20, 40, 5)]
    points[22:27] = [(x, 25) for x in np.linspace(60, 80, 5)]
    points[27:36] = [(50, y) for y in np.linspace(40, 60, 9)]
    points[36:42] = [(26, 37), (29, 35), (32, 35), (35, 37), (32, 39), (29, 39)]
    points[42:48] = points[36:42] + np.array([39, 0])
    points[48:60] = [(50 + 15 * np.cos(t), 75 + 6 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 12, endpoint=False)]
    points[60:] = (50, 75)
    return points


# -- masks ------------------------------------------------------------------------------------------------------


def test_factor_is_1_125_inside_and_0_125_outside() -> None:
    mask = torch.from_numpy(template_mask(64))
    factors = guide(torch.ones(2, 3, 64, 64), mask)
    assert torch.equal(factors[:, :, mask == 1].unique(), torch.tensor([1.125]))
    assert torch.equal(factors[:, :, mask == 0].unique(), torch.tensor([0.125]))
    assert 0.1 < mask.mean() < 0.4


def test_template_covers_brows_eyes_and_mouth_and_mirrors_onto_itself() -> None:
    mask = template_mask(224)
    assert mask.dtype == np.float32
    assert np.array_equal(mask, mask[:, ::-1])
    assert np.array_equal(np.unique(mask), [0, 1])

    def at(x: float, y: float) -> float:
        return float(mask[int(y * 224), int(x * 224)])

    brow, eye, mouth = (0.30, 0.28), (0.335, 0.38), (0.49, 0.74)
    assert at(*brow) == at(*eye) == at(*mouth) == 1
    forehead, nose, cheek, chin, between_the_eyes = (0.5, 0.1), (0.5, 0.55), (0.2, 0.6), (0.5, 0.93), (0.5, 0.38)
    assert at(*forehead) == at(*nose) == at(*cheek) == at(*chin) == at(*between_the_eyes) == 0


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_hulls_hold_their_landmarks_and_no_others(margin: float) -> None:
    points = face()
    mask = hull_mask(points, 100, margin)
    columns, rows = np.rint(points).astype(int).T
    inside = mask[rows, columns] == 1
    assert inside[17:27].all()
    assert inside[36:].all()
    assert not inside[:17].any()
    assert not inside[27:36].any()


def test_hulls_are_convex_filled_and_grow_by_the_margin() -> None:
    points = face()
    # A mouth that caves in is filled; its 31 x 13 pixels are known.
    points[48:60] = [(35, 69), (65, 69), (65, 81), (35, 81), *[(50, 75)] * 8]
    plain, grown = hull_mask(points, 100, 0), hull_mask(points, 100, 0.03)
    assert plain[60:].sum() == 31 * 13
    assert plain[69:82, 35:66].all()
    assert grown[66, 50] == grown[84, 50] == grown[75, 32] == grown[75, 68] == 1
    assert grown[64, 50] == grown[86, 50] == grown[75, 30] == grown[75, 70] == 0
    assert (grown >= plain).all()


def test_points_outside_of_the_crop_are_clipped() -> None:
    points = face() - (30, 0)
    assert np.array_equal(hull_mask(points, 100)[:, :60], hull_mask(face(), 100)[:, 30:90])


@pytest.mark.parametrize("points", [np.zeros((66, 2)), np.zeros((68, 3)), np.full((68, 2), np.nan)])
def test_other_landmarks_are_refused(points: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="68 finite points"):
        hull_mask(points, 100)


# -- in the network ---------------------------------------------------------------------------------------------


def test_template_acts_in_training_only() -> None:
    module, image = network(), torch.full((2, 3, SIZE, SIZE), 2.0)
    expected = 2 * (torch.from_numpy(template_mask(SIZE)) + 0.125).expand(2, 3, SIZE, SIZE)
    assert torch.equal(seen_by_first_layer(module.train(), image), expected)
    assert torch.equal(seen_by_first_layer(module.eval(), image), image)


def test_own_mask_replaces_the_template_in_training_only() -> None:
    module, image = network(), torch.ones(2, 3, SIZE, SIZE)
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[1, :, 3:7] = 1
    seen = seen_by_first_layer(module.train(), image, mask)
    assert torch.equal(seen, (mask + 0.125).expand(2, 3, SIZE, SIZE))
    assert torch.equal(seen_by_first_layer(module.eval(), image, mask), image)


def test_guidance_can_be_turned_off() -> None:
    module, image = network(guidance="none").train(), torch.ones(1, 3, SIZE, SIZE)
    assert torch.equal(seen_by_first_layer(module, image), image)
    assert seen_by_first_layer(module, image, torch.zeros(1, 1, SIZE, SIZE)).max() == 0.125


def test_the_mask_is_not_in_the_weights_file() -> None:
    module = network()
    assert set(module.state_dict()) == {key for key, _ in module.named_parameters()}


def test_dropout_halves_fc6_and_fc7_in_training_only() -> None:
    module, image = network(), torch.randn(4, 3, SIZE, SIZE)
    dropped: list[float] = []

    def record_share(_: object, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        alive = inputs[0] > 0
        dropped.append((output[alive] == 0).float().mean().item())

    module.head.dropout.register_forward_hook(record_share)
    with torch.no_grad():
        module.train()(image)
        assert len(dropped) == 2
        assert dropped == pytest.approx([0.5, 0.5], abs=0.05)
        assert torch.equal(module.eval()(image), module(image))
    assert dropped[2:] == [0, 0, 0, 0]


# -- class weights ----------------------------------------------------------------------------------------------


def test_class_weights_of_oulu_casia_are_the_printed_ones() -> None:
    """The only whole numbers of images that the seven printed weights allow add up to the printed 9,299."""
    counts = [round(OULU_IMAGES / (7 * weight)) for weight in OULU_WEIGHTS]
    assert sum(counts) == OULU_IMAGES
    assert np.array_equal(np.round(class_weights(counts), 4), OULU_WEIGHTS)


def test_class_weights_give_every_class_the_same_total() -> None:
    counts = [3, 50, 7]
    totals = class_weights(counts) * counts
    assert np.allclose(totals, 60 / 3, rtol=1e-15)
    assert np.array_equal(class_weights([5, 5]), [1, 1])


@pytest.mark.parametrize("counts", [[], [4], [3, 0, 5], [3, -1]])
def test_class_without_images_is_refused(counts: list[int]) -> None:
    with pytest.raises(InvalidInput, match="at least one image"):
        class_weights(counts)
