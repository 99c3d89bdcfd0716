"""The ablations of paper 003 as options: exact folds, sizes, what is in a spec and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.keypoint_options import Options
from dfer_edge.models import create_model, simplify
from dfer_edge.models.backbone import import_backbone
from dfer_edge.models.complexity import count_parameters
from dfer_edge.spec import Option
from tests.inference.agreement import assert_onnx_equals_torch
from tests.inference.keypoint_cases import FEW, SMALL, SPEC, faces, trained_like

# Tables 9 to 12, and the sentence about the kept layer.
VARIANTS: dict[str, dict[str, Option]] = {
    "A": {"fusion": "none", "temporal": "mean"},
    "B": {"temporal": "mean"},
    "C": {"temporal": "lstm"},
    "D": {"fusion": "none"},
    "fusion mean": {"fusion": "mean"},
    "fusion LSTM": {"fusion": "lstm"},
    "6 heads": {"heads": 6},
    "12 heads, 2 deep": {"heads": 12, "depth": 2},
    "kept layer": {"kept_fc": True},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_the_fold_is_exact(options: dict[str, Option]) -> None:
    module = trained_like(**options).double()
    clip, points = torch.randn(2, 3, FEW, SMALL, SMALL, dtype=torch.float64), faces(2, FEW, SMALL)
    logits = module(clip, points)
    assert float(logits.detach().std()) > 1e-2, "logits that do not move prove nothing"
    torch.testing.assert_close(simplify(module)(clip, points), logits, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["C", "fusion LSTM", "A"])
def test_onnx_says_the_same(name: str, tmp_path: Path) -> None:
    spec = trained_like(**VARIANTS[name]).spec
    assert_onnx_equals_torch(spec, "3d", tmp_path / "v.onnx", lambda batch: faces(batch, FEW, SMALL).float())


def test_an_lstm_remembers_the_order_and_a_mean_does_not() -> None:
    features = torch.randn(2, FEW, 512, generator=torch.Generator().manual_seed(0))
    for name, remembers in (("B", False), ("C", True)):
        head = trained_like(**VARIANTS[name]).forward_head
        assert torch.allclose(head(features), head(features.flip(1)), atol=1e-5) != remembers


def test_without_a_graph_landmarks_say_nothing() -> None:
    module, clip = trained_like(**VARIANTS["D"]), torch.randn(1, 3, FEW, SMALL, SMALL)
    same = [module(clip, faces(1, FEW, SMALL, seed).float()) for seed in (1, 2)]
    assert torch.equal(*same)


def test_sizes() -> None:
    """By hand: a head more is 4 x 64 x 512 weights a block; the kept layer is 512 x 1000, and widens the next."""
    full = 17_824_762
    assert count_parameters(create_model("keypoint_tsa", heads=9)) == full + 3 * 4 * 64 * 512
    block = 512 * 1536 + 512 * 512 + 512 + 2 * 512 * 1024 + 1024 + 512 + 4 * 512
    assert count_parameters(create_model("keypoint_tsa", depth=5)) == full + 2 * block
    kept = (512 + 1) * 1000 + (1000 + 1) * 128
    assert count_parameters(create_model("keypoint_tsa", kept_fc=True)) == full + kept
    graph, lstm = 512 * 512 + 512 * 128 + 128, 4 * (2 * 512 * 512 + 2 * 512)
    tables = 17 * 512 + 512
    assert count_parameters(create_model("keypoint_tsa", **VARIANTS["A"])) == full - graph - 3 * block - tables
    assert count_parameters(create_model("keypoint_tsa", **VARIANTS["C"])) == full + lstm - 3 * block - tables


def test_the_kept_layer_starts_from_imagenet_s() -> None:
    module = create_model("keypoint_tsa", kept_fc=True)
    public = {"fc.weight": torch.full((1000, 512), 0.25), "fc.bias": torch.ones(1000)}
    public |= {"conv1.weight": torch.ones(64, 3, 7, 7)}
    assert "regions.kept_fc.weight" in import_backbone(module, public).matched
    assert float(module.regions.kept_fc.weight.mean()) == 0.25


def test_a_plain_spec_names_no_variant() -> None:
    """Else the hashes of weights that exist would change."""
    assert create_model("keypoint_tsa").spec == SPEC
    assert Options.of(SPEC) == Options.of(SPEC.with_options(fusion="structure", heads=8, depth=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "sum"}, "expected fusion to be one of structure, mean, lstm, none, got 'sum'"),
        ({"temporal": "gru"}, "expected temporal to be one of attention, mean, lstm"),
        ({"heads": 0}, "expected heads to be an integer of at least 1, got 0"),
        ({"kept_fc": 1}, "expected kept_fc to be True or False"),
        ({"gcn": False}, "got gcn"),
    ],
)
def test_options_that_there_are_not(options: dict[str, Option], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        create_model("keypoint_tsa", **options)


def test_the_spec_travels() -> None:
    spec = trained_like(heads=10).spec
    assert type(spec).from_json(spec.to_json()) == dataclasses.replace(spec)
