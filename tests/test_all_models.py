"""Every network on every engine, on a real video. Minutes and gigabytes: `make test-slow`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfer_edge import Recognizer, list_models
from dfer_edge.engines import BEST_FORM, reasons
from dfer_edge.inference import registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("name", list_models())
def test_three_engines_agree(name: str, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The cache of one network goes before the next comes: the four image networks take 1.8 GB each, twice.
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path))
    for engine in ("openvino", "onnxruntime", "torch"):
        if reason := reasons(engine):
            pytest.skip(reason)
    landmarks = media / "onnx" / "face_landmark68_faceapi.onnx" if registry.find(name).spec.landmarks else "auto"
    predictions = {}
    for engine in BEST_FORM:
        if not reasons(engine):
            recognizer = Recognizer(
                name,
                weights="random",
                engine=engine,
                precision="fp32",
                detector="haar",
                landmark_detector=landmarks,
                threads=2,
            )
            predictions[engine] = recognizer.predict(media / "video" / "single_face.mp4")
    first, *others = predictions.values()
    for other in others:
        assert other.frame_indices == first.frame_indices
        assert np.abs(other.probabilities - first.probabilities).max() <= 1e-3
