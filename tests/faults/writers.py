"""Everything that is written to a disk and read again, each with small content that tells its version.

:mod:`tests.faults.kill` ends processes while these write, :mod:`tests.faults.full_disk` refuses them the disk.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge import DferError
from dfer_edge.types import Box, Observation, Prediction, Timeline

# Written in several system calls.
SIZE = 60_000


@dataclasses.dataclass(frozen=True)
class Writer:
    """A kind of file: ``write(folder, version)``, and ``read(folder)``, the version that is there, or an error."""

    write: Callable[[Path, int], object]
    read: Callable[[Path], int]


def _numbers(version: int) -> np.ndarray:
    return np.full(SIZE // 4, version, np.float32)


def _same(values: np.ndarray) -> int:
    assert (values == values.flat[0]).all(), "a mixture of two versions"
    return int(values.flat[0])


def _cache() -> Writer:
    from dfer_edge.cache import store

    def key(folder: Path) -> store.Key:
        os.environ["DFER_EDGE_CACHE"] = str(folder / "cache")
        return store.Key("networks", "net", {"of": "this"})

    def build(folder: Path, version: int) -> None:
        for name in ("model.onnx", "model.onnx.data"):
            (folder / name).write_bytes(_numbers(version).tobytes())

    def read(folder: Path) -> int:
        found = store.find(key(folder))
        if found is None:
            # Between the old entry's end and the new one's begin; it is built again.
            raise Absent("no entry")
        return _same(np.stack([np.fromfile(found / name, np.float32) for name in ("model.onnx", "model.onnx.data")]))

    return Writer(lambda folder, version: store.put(key(folder), lambda inner: build(inner, version)), read)


def _checkpoint() -> Writer:
    import torch

    from dfer_edge.training import checkpoint, journal

    def write(folder: Path, version: int) -> None:
        checkpoint.sweep(folder)
        state = {"identity": {"seed": 0}, "version": version}
        tensors = {"w": torch.from_numpy(_numbers(version))}
        checkpoint.save(folder / "last.safetensors", checkpoint.Checkpoint(tensors, state))
        journal.write_table(folder / "log.csv", [{"version": version}] * 500)

    def read(folder: Path) -> int:
        found = checkpoint.load(folder / "last.safetensors", {"seed": 0})
        assert found.state["version"] == _same(found.tensors["w"].numpy())
        # Logs are written after the checkpoint, which a resumed run writes again.
        assert len({row["version"] for row in csv.DictReader((folder / "log.csv").open())}) == 1
        return int(found.state["version"])

    return Writer(write, read)


def _weights() -> Writer:
    from dfer_edge.weights import file

    plain = file.random("slowr50")

    def write(folder: Path, version: int) -> None:
        file.write(folder / "w.safetensors", dataclasses.replace(plain, state={"a": _numbers(version)}))

    return Writer(write, lambda folder: _same(np.asarray((file.load(folder / "w.safetensors").state or {})["a"])))


def _ranges() -> Writer:
    from dfer_edge.calibration.table import Range, RangeTable

    def write(folder: Path, version: int) -> None:
        ranges = {f"layer{k}": Range(0.0, float(version), 1.0) for k in range(400)}
        RangeTable("m", "0", "w", "0", version, "max", ranges).save(folder / "r.json")

    def read(folder: Path) -> int:
        found = RangeTable.load(folder / "r.json")
        assert {entry.high for entry in found.ranges.values()} == {found.clips}
        return found.clips

    return Writer(write, read)


def _evaluation() -> Writer:
    from dfer_edge.evaluation import document
    from dfer_edge.system.whole_files import write_text

    def write(folder: Path, version: int) -> None:
        document.write_json(folder / "evaluation.json", {"schema": document.SCHEMA, "all": [version] * 9000})
        write_text(folder / "report.html", f"<html>{str(version) * 9000}</html>")

    def read(folder: Path) -> int:
        assert (folder / "report.html").read_text().endswith("</html>")
        return _same(np.array(document.read_json(folder / "evaluation.json")["all"]))

    return Writer(write, read)


def _labels() -> Writer:
    import pyarrow.parquet as parquet

    from dfer_edge.label.rows import EDGES
    from dfer_edge.label.table import Parts

    def parts(folder: Path) -> Any:
        return Parts(folder / "t.parquet", ("happy", "sad"), "setup")

    def write(folder: Path, version: int) -> None:
        nothing = dict.fromkeys(("track_id", "start_s", "end_s", "label", "confidence", *EDGES))
        for file in ("a", "b", "c"):
            row = {"file": file, "bytes": 1, "modified_ns": version, "status": "no face", "reason": "x", **nothing}
            parts(folder).add([{**row, "frames_seen": version, "probabilities": None}] * 50)
        parts(folder).merge(["a", "b", "c"])

    def read(folder: Path) -> int:
        table = parquet.read_table(folder / "t.parquet")
        assert table.num_rows == 150
        assert all(parquet.read_table(path).num_rows == 50 for path in (folder / "t.parquet.parts").glob("*.parquet"))
        return _same(table["frames_seen"].to_numpy())

    return Writer(write, read)


def _reproduction() -> Writer:
    from dfer_edge.reproduce import report, runs
    from dfer_edge.reproduce.papers import find_paper
    from dfer_edge.training.checkpoint import publish

    job = runs.Job(find_paper("000"), {"*": "renders"}, Path())

    def write(folder: Path, version: int) -> None:
        result = {"identity": "i", "version": [version] * 5000}
        publish(folder / "result.json", lambda scratch: scratch.write_text(json.dumps(result, indent=1)))
        report.write(dataclasses.replace(job, out=folder), [])

    def read(folder: Path) -> int:
        assert json.loads((folder / "reproduction.json").read_text())["schema"]
        assert (folder / "reproduction.html").read_text().endswith("</html>\n")
        found = runs._kept(folder / "result.json", "i")
        assert found is not None
        return _same(np.array(found["version"]))

    return Writer(write, read)


def timeline(version: int) -> Timeline:
    """A timeline with a number in every place."""
    probabilities = np.array([0.75, 0.25], np.float32)
    prediction = Prediction(
        label="happy",
        confidence=0.75,
        labels=("happy", "sad"),
        probabilities=probabilities,
        frame_indices=(0, 1),
        box=Box(0, 0, 1, 1),
        timings_ms={},
        weights={"name": "w", "sha256": "0"},
    )
    each = tuple(Observation(float(k), k, version, Box(0, 0, 1, 1), prediction) for k in range(200))
    return Timeline(prediction, version, each, (), 2, 1.0)


def _outputs() -> Writer:
    from dfer_edge.sinks import write_json

    def read(folder: Path) -> int:
        found = json.loads((folder / "o.json").read_text())
        return _same(np.array([one["track_id"] for one in found["observations"]]))

    return Writer(lambda folder, version: write_json(folder / "o.json", timeline(version), {"n": version}), read)


def _overlay() -> Writer:
    import av

    from dfer_edge.sinks.video import VideoSink

    def write(folder: Path, version: int) -> None:
        with VideoSink(folder / "o.mp4", 25) as sink:
            for _ in range(6):
                sink.write(np.full((64, 64, 3), 16 * (version % 10) + 40, np.uint8))

    def read(folder: Path) -> int:
        with av.open(str(folder / "o.mp4")) as container:
            frames = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
        assert len(frames) == 6
        return round((float(np.mean(frames)) - 40) / 16)

    return Writer(write, read)


def _onnx() -> Writer:
    import onnx
    from onnx import numpy_helper

    from dfer_edge.export.onnx_file import publish

    def fill(path: Path, version: int) -> None:
        data = _numbers(version).tobytes()
        path.with_name(f"{path.name}.data").write_bytes(data)
        tensor = numpy_helper.from_array(_numbers(version), "w")
        proto = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor]))
        onnx.helper.set_model_props(proto, {"data_sha256": hashlib.sha256(data).hexdigest()})
        path.write_bytes(proto.SerializeToString())

    def read(folder: Path) -> int:
        model = onnx.load(str(folder / "m.onnx"))
        found = _same(numpy_helper.to_array(model.graph.initializer[0]))
        digest = hashlib.sha256((folder / "m.onnx.data").read_bytes()).hexdigest()
        if digest != model.metadata_props[0].value:
            # Between two renames: refused when it is loaded, as tampered weights are.
            raise Absent(f"the tensors of another version than {found}")
        return found

    return Writer(lambda folder, version: publish(folder / "m.onnx", lambda path: fill(path, version)), read)


class Absent(DferError):
    """Nothing that would be loaded: what is there is seen not to be whole, or of two versions."""


def writers(names: Collection[str] | None = None) -> dict[str, Writer]:
    """The kinds named, or all; those whose packages are here."""
    found = {}
    kinds = (_cache, _checkpoint, _weights, _ranges, _evaluation, _labels, _reproduction, _outputs, _overlay, _onnx)
    for make in kinds:
        name = make.__name__.lstrip("_")
        if names is None or name in names:
            with contextlib.suppress(ImportError):
                found[name] = make()
    return found
