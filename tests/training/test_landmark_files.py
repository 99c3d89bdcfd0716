"""What the files of both landmark networks say of themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from dfer_edge.training.landmarks import export, network
from dfer_edge.training.landmarks.fitted import export as fitted_export
from dfer_edge.training.landmarks.fitted import network as fitted_network


@pytest.mark.parametrize(
    "model",
    [
        lambda: export.to_onnx(network.LandmarkNet().eval(), {"data": {"images": 3}}),
        lambda: fitted_export.to_onnx(fitted_network.LandmarkNet().eval(), {"data": {"images": 3}}),
    ],
    ids=["rendered", "fitted"],
)
def test_what_the_file_says_of_itself(model: Callable[[], onnx.ModelProto]) -> None:
    made = model()
    facts = {entry.key: entry.value for entry in made.metadata_props}
    assert {"spec", "data", "weights_sha256", "licence"} <= set(facts)
    assert len(made.SerializeToString()) < 3_000_000
    stored = {t.name: t for t in made.graph.initializer}
    large = [t for t in stored.values() if np.prod(t.dims) > 1000]
    assert large
    assert {t.data_type for t in large} == {onnx.TensorProto.FLOAT16}
