"""The teacher read from its files, and its blocks in the layers of SlowR50, exactly."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from dfer_edge.errors import CorruptArtifact, InvalidInput, SourceNotFound
from dfer_edge.labels import DFEW
from dfer_edge.models import create_model, simplify
from dfer_edge.training.data.shards import ArrayClips
from dfer_edge.training.recipes import Crop, Pixels
from dfer_edge.training.transplant import clips, data, exact, fit, people, r2plus1d, resnet18
from dfer_edge.training.transplant.equalise import equalise
from dfer_edge.training.transplant.images import ImageSlowR50
from dfer_edge.training.transplant.muon import orthogonal
from dfer_edge.training.transplant.silent import silence
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
    images = ImageSlowR50(people.slowr50("slowr50_sa"))
    # No cutting: the proof is of the construction.
    found = {name: value * 4 + 8 for name, value in exact.offsets(teacher, pixels, (0.0, 0.0)).items()}
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
        mine = [exact.map_of(found, block, x) for block, x in enumerate((first, *rest[:2]), start=1)]
    for actual, expected in zip(mine, seen.maps[1:], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(rest[-1][:, : WIDTHS[3]].mean((2, 3)), seen.pooled, rtol=1e-3, atol=1e-3)


def test_both_networks_compute_what_was_planted(planted: tuple[ImageSlowR50, exact.Offsets, torch.Tensor]) -> None:
    images, _, pixels = planted
    classifier = torch.nn.Linear(WIDTHS[-1], 7)
    logits = []
    for name in ("slowr50_sa", "slowr50"):
        network = people.finish_slowr50(images, classifier, name, apex=0.7)
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
    images.requires_grad_(False)
    low = [images.stem, images.stages[0]]
    kept = images.stages[1][0].b.weight.clone()

    def maps(x: torch.Tensor) -> dict[int, torch.Tensor]:
        return {1: exact.map_of(found, 1, images.first(x))}

    fit.match(low, maps, teacher, same, 30, 0.01, lambda step, terms: errors.append(terms["map1"]))
    assert errors[-1] < 0.6 * errors[0]
    torch.testing.assert_close(images.stages[1][0].b.weight, kept, rtol=0, atol=0)


def test_steps_of_muon_are_as_long_in_every_direction() -> None:
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.logspace(0, 2, 40))
    for one in (matrix, matrix.T):
        values = torch.linalg.svdvals(orthogonal(one))
        assert values.min() > 0.5
        assert values.max() < 1.5
        # Along the directions of the matrix, not across them.
        assert (orthogonal(one) * one).sum() > 0


def test_equal_channels_change_nothing(
    teacher: Teacher, planted: tuple[ImageSlowR50, exact.Offsets, torch.Tensor]
) -> None:
    images, found, pixels = planted
    exact.write(images, teacher, found)
    x = fit.network_input(pixels)
    first = images.blocks(0)[0]
    assert first.shortcut is not None
    with torch.no_grad():
        # Five channels of the stem fifty times as loud, and read as much more softly.
        for parameter in (images.stem.weight, images.stem.bias):
            parameter[:5] *= 50
        for reader in (first.a, first.shortcut):
            reader.weight[:, :5] /= 50
        before, loud = images(x), torch.relu(images.stem(x)).amax((0, 2, 3))
        weights = images.stem.weight.clone()
        equalise(images, x)
        torch.testing.assert_close(images(x), before, rtol=1e-3, atol=1e-3)
        quiet = torch.relu(images.stem(x)).amax((0, 2, 3))
    assert loud[:5].min() > 10 * loud[5:].median()
    assert quiet[:5].max() < 3 * quiet[5:].median()
    # Factors are powers of two, which no float format rounds.
    factors = torch.log2(images.stem.weight / weights)[weights != 0]
    torch.testing.assert_close(factors, factors.round(), rtol=0, atol=1e-5)


def test_what_nothing_hears_is_zero(teacher: Teacher) -> None:
    pixels = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(3)) * 255
    images = ImageSlowR50(people.slowr50("slowr50_sa"))
    exact.write(images, teacher, exact.offsets(teacher, pixels))
    x, width = fit.network_input(pixels), WIDTHS[-1]

    def features() -> torch.Tensor:
        return images.rest(images.first(x))[-1].mean((2, 3))[:, :width]

    with torch.no_grad():
        before = features()
        silence(images, width)
        torch.testing.assert_close(features(), before, rtol=1e-4, atol=1e-4)
    # The last two blocks of res4 add nothing, res5 has one block of 256 channels out of 2,048.
    for block in images.blocks(2)[4:]:
        assert not any(conv.weight.any() for conv in (block.a, block.b, block.c))
    kept = sum(int((p != 0).sum()) for p in images.parameters()) / sum(p.numel() for p in images.parameters())
    assert kept < 0.2


def test_two_blocks_are_exact_in_r2plus1d(teacher: Teacher) -> None:
    pixels = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 255
    teacher.rescale(pixels)
    found = {name: value * 4 + 8 for name, value in exact.offsets(teacher, pixels, (0.0, 0.0)).items()}
    images = r2plus1d.ImageR2Plus1D(people.r2plus1d())
    r2plus1d.write_exact(images, teacher, found)
    x = fit.network_input(pixels)
    with torch.no_grad():
        torch.testing.assert_close(images.first(x)[:, WIDTHS[1] :], teacher(pixels).maps[1], rtol=1e-3, atol=1e-3)


def test_r2plus1d_weighs_frames_by_their_distance_from_neutral() -> None:
    torch.manual_seed(0)
    images = r2plus1d.ImageR2Plus1D(people.r2plus1d())
    with torch.no_grad():
        for parameter in images.get_submodule("stages.1.0.shortcut").parameters():
            parameter.zero_()  # as write_exact leaves it: it would read the earlier of two frames
    classifier = torch.nn.Linear(WIDTHS[-1], 7)
    torch.nn.init.normal_(classifier.weight, std=2.0)
    network = people.finish_r2plus1d(images, classifier, apex=0.7)
    x = fit.network_input(torch.rand(4, 3, 112, 112) * 255)
    with torch.no_grad():
        each = images(x)
        # Frames 1, 5, 9 and 13 of 16 are read.
        clip = torch.zeros(1, 3, 16, 112, 112)
        clip[0, :, [1, 5, 9, 13]] = x.transpose(0, 1)
        said = clips.apex(each[None], DFEW.index("neutral"), 0.7)
        gamma = r2plus1d.GAMMA
        expected = (gamma * said + each.mean(0)) / (1 + gamma)
        torch.testing.assert_close(network(clip), expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(InvalidInput, match="att_share"):
        images.write(create_model("r2plus1d_sta"), 0.7)


def test_the_last_block_is_exact_in_resnet18(teacher: Teacher) -> None:
    pixels = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(2)) * 255
    teacher.rescale(pixels)
    found = {name: value * 4 + 8 for name, value in exact.offsets(teacher, pixels, (0.0, 0.0)).items()}
    network = people.keypoint()
    images = resnet18.ImageResNet18(network.backbone, 7)
    resnet18.write_exact(images, teacher, found)
    images.write(network.backbone)
    x = fit.network_input(pixels)
    with torch.no_grad():
        maps = teacher(pixels).maps
        torch.testing.assert_close(images.last(maps[2])[:, : WIDTHS[3]], maps[3], rtol=1e-3, atol=2e-3)
        torch.testing.assert_close(network.backbone(x), images.last(images.first(x)[1]), rtol=1e-4, atol=1e-4)
    with pytest.raises(InvalidInput, match="last_strides"):
        resnet18.write_exact(resnet18.ImageResNet18(create_model("keypoint_tsa").backbone, 7), teacher, found)


def test_clips_of_single_images_teach_the_key_points_head() -> None:
    torch.manual_seed(0)
    classes = torch.arange(70) % 7
    whole = 4 * F.one_hot(classes, 512).float() + 0.1 * torch.rand(70, 512)
    rows = clips.Rows(whole[:, None].expand(-1, 18, -1), whole, classes, 5 * F.one_hot(classes, 7).float())
    index, shown = rows.clips(50, 16, DFEW.index("neutral"), torch.Generator().manual_seed(0))
    seen = classes[index]
    assert ((seen == shown[:, None]) | (seen == DFEW.index("neutral"))).all()
    assert (seen == shown[:, None]).sum(1).min() >= 2
    network = people.keypoint().train()
    clips.prepare(network, whole)
    gated = network.triplet(torch.rand(1, 512, 7, 7))
    kept = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    losses = []
    clips.train(network, rows, 40, lambda step, terms: losses.append(terms["label"]), batch=8, rate=2e-3)
    assert min(losses[-5:]) < 0.8 * losses[0]
    assert gated.max() > 0.99
    for name, value in network.backbone.state_dict().items():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=0)


def test_rendered_clips_stay_together_and_keep_their_class() -> None:
    singles, frames = 14, 16
    classes = torch.cat([torch.arange(singles) % 7, torch.tensor([3] * frames + [5] * frames)])
    whole = torch.zeros(len(classes), 512)
    rows = clips.Rows(whole[:, None], whole, classes, torch.zeros(len(classes), 7), singles=singles)
    index, shown = rows.clips(60, frames, DFEW.index("neutral"), torch.Generator().manual_seed(1))
    filmed = index[:, 0] >= singles
    assert 0.3 < filmed.float().mean() < 0.7
    assert set(index[filmed, 0].tolist()) == {singles, singles + frames}
    assert (index[filmed].diff(dim=1) == 1).all()
    assert (shown[filmed] == classes[index[filmed, 0]]).all()
    assert (index[~filmed] < singles).all(), "calm is of single images"


def test_frames_of_clips_come_one_after_another_with_their_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame i of a clip is as bright as i and the class say, and its mouth is i times three pixels open."""
    frames, labels = 4, np.arange(6) % 2
    values = 20 + 20 * np.arange(frames) + 100 * labels[:, None]
    face = np.repeat(np.random.default_rng(1).uniform(40, 80, (1, 68, 2)), frames, 0)
    face[:, 66] = face[:, 62] + [(0, 3 * i) for i in range(frames)]
    part = {"frames": np.broadcast_to(values[..., None, None, None], (6, frames, 120, 120, 3)).astype(np.uint8)}
    part |= {"labels": labels, "persons": np.arange(6), "landmarks": np.stack([face.astype(np.float32)] * 6)}
    monkeypatch.setattr(data, "open_shards", lambda folder: ArrayClips("clips", ("happy", "sad"), [part]))
    stream = data.with_landmarks([Path()], 0, 3, crop=Crop(around="landmarks"), look=Pixels(), frames=frames)
    pixels, points, shown = next(stream)
    assert (pixels.shape, points.shape, shown.shape) == ((12, 3, 112, 112), (12, 68, 2), (3,))
    expected = 20 + 20 * torch.arange(frames) + 100 * shown[:, None]
    assert (pixels[:, 0, 56, 56].view(3, frames) == expected).all()
    opened = (points[:, 66, 1] - points[:, 62, 1]).view(3, frames)
    assert (opened.diff(dim=1) > 0.5).all(), opened
    single, _, one = next(data.with_landmarks([Path()], 0, 3, crop=Crop(around="landmarks"), look=Pixels()))
    assert len(single) == len(one) == 3


def test_pictures_replace_a_share_and_have_no_label(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "stripes.png"), np.tile(np.array([0, 255], np.uint8), (200, 100)))
    pixels, labels = torch.full((200, 3, 112, 112), 7, dtype=torch.uint8), torch.zeros(200, dtype=torch.long)
    data._Pictures(tmp_path, 0).replace(pixels, labels)
    replaced = labels == -1
    assert 0.1 < replaced.float().mean() < 0.3
    assert (pixels[~replaced] == 7).all()
    assert (pixels[replaced].flatten(1).float().std(1) > 0).all()
    with pytest.raises(SourceNotFound, match="jpg"):
        data._Pictures(tmp_path / "none", 0)


def test_the_classifier_learns_labels_and_opinions() -> None:
    torch.manual_seed(0)
    classes = torch.arange(700) % 7
    features = F.one_hot(classes, WIDTHS[-1]).float() + 0.1 * torch.rand(700, WIDTHS[-1])
    opinions = torch.zeros(700, 7)
    linear = fit.fit_classifier(features, classes, opinions, labels=1.0)
    assert (linear(features).argmax(1) == classes).float().mean() > 0.99
    expected = fit.target(classes[:1], opinions[:1], 0.0)
    torch.testing.assert_close(expected, torch.full((1, 7), 1 / 7))
    # A picture has no label: only the opinion counts.
    opinions[0, 3] = 4.0
    unlabelled = fit.target(torch.tensor([-1]), opinions[:1], 1.0)
    torch.testing.assert_close(unlabelled, torch.softmax(opinions[:1] / fit.LOGIT_SCALE, 1))
