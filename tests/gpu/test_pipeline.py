"""SlowR50-SA from frames to probabilities in one CUDA graph, replayed with other frames and boxes."""

from __future__ import annotations

import pytest

from dfer_edge import kernels

torch = pytest.importorskip("torch")


def test_one_graph_from_frames_to_probabilities(device: str, backend: str) -> None:
    if reason := kernels.backends("clip_to_tensor")[backend]:
        pytest.skip(f"{backend}: {reason}")
    from bench.studies.gpu_pipeline import Pipeline, check

    pipeline = Pipeline()
    with kernels.use_backend(backend):
        check(pipeline, *pipeline.graphs()["whole"])


def test_the_ends_neither_wait_for_the_device_nor_allocate_on_it(device: str, backend: str) -> None:
    if reason := kernels.backends("clip_to_tensor")[backend]:
        pytest.skip(f"{backend}: {reason}")
    from bench.studies.gpu_pipeline import Pipeline

    pipeline = Pipeline()
    with kernels.use_backend(backend):
        pipeline.before()
        torch.cuda.synchronize()
        before = torch.cuda.memory_stats()["allocation.all.allocated"]
        torch.cuda.set_sync_debug_mode("error")
        try:
            pipeline.before()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
