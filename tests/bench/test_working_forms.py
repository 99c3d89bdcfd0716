"""Pairs of printed and working forms: alike but for the part under test, and judged by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from bench.studies.working_forms import fit as training
from bench.studies.working_forms.fit import directions, either_way, fit, judged
from bench.studies.working_forms.pairs import CLASSES, Narrow, OnFeatures
from bench.studies.working_forms.seen import Seen
from bench.studies.working_forms.table import table
from dfer_edge.models.vgg import AGGate, ResidualGate


def seen(count: int = 64) -> Seen:
    """Clips of 4 frames of 6 numbers: their size tells class 0 from 1, their first frame the direction."""
    torch.manual_seed(5)
    labels = torch.arange(count) % 2
    inputs = torch.rand(count, 4, 6) * 0.1 + labels.view(-1, 1, 1)
    inputs[:, 0] += 3
    return Seen(inputs, labels, ("renders",) * count)


def test_figures_are_means_over_sets_and_lost_faces_are_wrong() -> None:
    said = torch.full((3, CLASSES), 0.0, dtype=torch.float64)
    said[0, 0], said[1, 1], said[2, 1] = 1, 1, 1
    truth = Seen(torch.zeros(3, 1), torch.tensor([0, 1, 1]), ("a", "a", "b"), (("b", 1),))
    assert judged(said, truth)["uar"] == pytest.approx((100 + 50) / 2)


def test_one_seed_is_one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCH", 16)

    def make() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(24, 8), nn.Dropout(0.5), nn.Linear(8, 2 * CLASSES))

    nets = [fit(make, seen(), seed, 6, 0.05, either_way) for seed in (0, 0, 1)]
    states = [torch.cat([value.flatten() for value in net.state_dict().values()]) for net in nets]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    figures = directions(nets[0], seen())
    assert (figures["uar"], figures["direction"]) == (100, 100)


@pytest.mark.parametrize("mode", ["add", "vector"])
def test_the_printed_code_cannot_tell_a_clip_from_its_reverse(mode: str) -> None:
    torch.manual_seed(0)
    network = OnFeatures(mode).eval()
    if mode == "vector":
        nn.init.normal_(network.temporal_vector, std=3.0)
    clips = torch.randn(2, 8, 2048)
    with torch.no_grad():
        apart = float((network(clips) - network(clips.flip(1))).abs().max())
    assert (apart > 1e-3) == (mode == "vector")


def test_forms_of_a_pair_start_equal() -> None:
    made: list[dict[str, torch.Tensor]] = []
    for gate in (AGGate, ResidualGate):
        torch.manual_seed(3)
        made.append(dict(Narrow(gate, 48).state_dict()))
    assert made[0].keys() == made[1].keys()
    differ = [name for name, value in made[0].items() if not torch.equal(value, made[1][name])]
    assert [name.split(".", 2)[2] for name in differ] == ["spatial2.weight"] * 3


def test_the_table_sets_ours_beside_the_printed_form_seed_by_seed() -> None:
    run: Callable[[float, float], dict[str, object]] = lambda a, b: {  # noqa: E731
        "printed": {"renders": {"uar": a}},
        "ours": {"renders": {"uar": b}},
    }
    lines = table({"pairs": [{"paper": "000", "seeds": [run(40, 43), run(50, 49)]}]}).splitlines()
    assert lines[2:] == [
        "| 000 | printed | renders | uar | 45.0 | - |",
        "| 000 | ours | renders | uar | 46.0 | +3.0, -1.0 |",
    ]
