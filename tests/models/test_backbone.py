"""`import_backbone` for every family: a public state goes in, the backbone computes the same."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dfer_edge.inference import registry
from dfer_edge.models import scenic
from dfer_edge.models.simplified import state_arrays
from dfer_edge.weights import file as weights

# Name -> how a small one is made, and inputs for its features.
SMALL = {
    "slowr50_sa": ({}, (1, 3, 2, 33, 33)),
    "r2plus1d_sta": ({}, (1, 3, 4, 17, 17)),
    "vgg16_fer": ({"size": 32}, (1, 3, 32, 32)),
    "keypoint_tsa": ({}, (1, 3, 112, 112)),
    "smate": ({"size": 32, "options": {"spatial_depth": 1, "temporal_depth": 1}}, (1, 3, 25, 32, 32)),
}


def small(name: str) -> torch.nn.Module:
    changes = dict(SMALL[name][0])
    entry = registry.find(name)
    spec = entry.spec.with_options(**changes.pop("options", {}))
    return entry.training().create(dataclasses.replace(spec, **changes)).eval()


def features(name: str, module: torch.nn.Module) -> torch.Tensor:
    x = torch.randn(SMALL[name][1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return (
            module.backbone(x)
            if name == "keypoint_tsa"
            else (module.trunk(x) if name == "r2plus1d_sta" else module.forward_features(x))
        )


@pytest.mark.parametrize("name", SMALL)
def test_public_state_gives_the_same_features(name: str) -> None:
    torch.manual_seed(1)
    source = small(name)
    for key, value in source.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
    torch.manual_seed(2)
    target = small(name)
    assert not torch.equal(features(name, source), features(name, target))
    family, own = registry.find(name).training(), source.state_dict()
    present = {mine: public for mine, public in family.public_keys().items() if mine in own}
    public = {public: own[mine] for mine, public in present.items()}
    if name == "smate":
        public = scenic.to_public(state_arrays(source))
    report = weights.import_backbone(target, public)
    assert set(report.matched) == set(present)
    assert not report.skipped
    if name == "smate":
        # What Scenic has no counterpart for stays fresh; the spatial encoder is imported whole.
        return
    torch.testing.assert_close(features(name, target), features(name, source), rtol=0, atol=0)
