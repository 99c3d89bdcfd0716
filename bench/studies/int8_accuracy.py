"""What int8 costs one network: agreement, probabilities, recalls, noise by layer, what layers in float would buy back.

dfer-edge synth --count 256 --frames 12 --seed 1608637542 --out USED
dfer-edge synth --count 490 --frames 12 --seed 424242 --out HELD
python -m bench.studies.int8_accuracy slowr50_sa \
    --used USED --held HELD --out bench/results/CPU/int8_accuracy_slowr50_sa.json

Clips of HELD are never calibrated on: the seeds of the two sets have to differ. Weights are the shipped ones where
there are any, else random, and the file says so: then labels mean nothing, and agreement is between two sets of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from dfer_edge.bench.measure import timing

CORES = timing.pin(1)

from bench.studies.clips import varied_clip_set  # noqa: E402
from dfer_edge import engines  # noqa: E402
from dfer_edge.bench.measure.provenance import collect  # noqa: E402
from dfer_edge.calibration import ClipSet, RangeTable, calibrate, correct_bias, from_folder, quantize  # noqa: E402
from dfer_edge.calibration.graph import GraphIndex, read  # noqa: E402
from dfer_edge.calibration.placement import plan  # noqa: E402
from dfer_edge.calibration.qdq import SCHEMES  # noqa: E402
from dfer_edge.calibration.report import FloatArray, compare, layer_snr, probabilities  # noqa: E402
from dfer_edge.calibration.sensitivity import sensitivity  # noqa: E402
from dfer_edge.engines.openvino_engine import precisions  # noqa: E402
from dfer_edge.errors import InvalidInput  # noqa: E402
from dfer_edge.export import onnx_file as export  # noqa: E402
from dfer_edge.synthesis.storage import read_manifest  # noqa: E402
from dfer_edge.weights import file as weights  # noqa: E402
from dfer_edge.weights.file import Weights  # noqa: E402

SNR_CLIPS = 4


class Bench:
    """One network with its clips; each method is a section of the report."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        name = arguments.name
        self.given, self.folder = arguments, folder
        self.engine = "onnxruntime" if precisions()["int8"] else "openvino"
        self.source: Weights = weights.resolve(name, "default" if weights.shipped(name) else "random")
        self.path = export.export_onnx(name, folder / "fp32.onnx", self.source.name)
        spec = self.source.spec
        self.used = self.clips(arguments.used, arguments.calibration_clips)
        self.held = {"rendered": self.clips(arguments.held, arguments.clips)}
        if arguments.media is not None:
            self.held["real people, varied"] = varied_clip_set(arguments.media, spec, arguments.clips, seed=2)
        with self.load(self.path, "fp32") as engine:
            self.exact = {key: probabilities(engine, clips) for key, clips in self.held.items()}

    def clips(self, folder: Path, count: int) -> ClipSet:
        return from_folder(folder, self.source.spec, count)

    def load(self, path: Path, precision: str) -> engines.Engine:
        return engines.load_engine(path, self.engine, precision, threads=1)

    def ranges(self) -> tuple[RangeTable, dict[str, Any]]:
        shipped = weights.ranges_beside(self.source.spec.name, self.source.name)
        if shipped is not None and not self.given.calibrate:
            table = RangeTable.load(shipped)
            return table, {"ranges": "shipped", "method": table.method, "clips": table.clips}
        begin = time.perf_counter()
        table = calibrate(self.path, self.used, self.given.method, threads=1)
        seconds, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        cost = {"seconds": seconds, "peak_process_gb": peak, "method": table.method, "clips": table.clips}
        return correct_bias(self.path, table, self.used, 1), cost

    def accuracy(self, path: Path, precision: str) -> dict[str, Any]:
        """Against fp32 of the same engine, on every set; recalls against true classes too where weights are trained."""
        found: dict[str, Any] = {}
        with self.load(path, precision) as engine:
            for key, clips in self.held.items():
                found[key] = self.compared(key, probabilities(engine, clips), clips)
        return found

    def compared(self, key: str, found: FloatArray, clips: ClipSet) -> dict[str, Any]:
        labels, exact = self.source.spec.labels, self.exact[key]
        result = dataclasses.asdict(compare(exact, found, labels))
        del result["worst"]
        if clips.truth is not None and not self.source.is_random:
            true = compare(exact, found, labels, clips.truth)
            result["against_true_classes"] = {"recall_delta": true.recall_delta, "uar_delta": true.uar_delta}
        return result

    def variants(self, table: RangeTable) -> dict[str, tuple[Path, str]]:
        """Name -> file and precision: both schemes, and without what corrects them."""
        plain = dataclasses.replace(table, logit_shift=())
        files = {f"int8, {scheme}": (self.quantised(table, scheme), "int8") for scheme in SCHEMES}
        files["int8, unsigned, no bias correction"] = (self.quantised(plain, "unsigned", "plain"), "int8")
        return files if precisions()["bf16"] else {"bf16": (self.path, "bf16"), **files}

    def quantised(self, table: RangeTable, scheme: Any, name: str = "") -> Path:
        return quantize(self.path, table, self.folder / f"{name or scheme}.onnx", scheme)

    def search(self, table: RangeTable) -> dict[str, Any]:
        found = sensitivity(self.path, table, self.held["rendered"], self.given.max_drop, threads=1)
        return {"max_drop": self.given.max_drop, "within": found.within, "layers": found.layers, "curve": found.curve}

    def run(self) -> dict[str, Any]:
        """The whole report."""
        table, cost = self.ranges()
        rows = plan(GraphIndex(read(self.path)), table.exclude).rows()
        variants = self.variants(table)
        found: dict[str, Any] = {"calibration": cost, "excluded": table.exclude}
        found["layers"] = {kind: sum(row["kind"] == kind for row in rows) for kind in ("int8", "weights", "float")}
        found["accuracy_against_fp32"] = {name: self.accuracy(*file) for name, file in variants.items()}
        few = list(self.held["rendered"].pick(range(SNR_CLIPS)))
        found["snr_db"] = layer_snr(self.path, variants["int8, unsigned"][0], few, 1)
        if self.given.search:
            found["sensitivity"] = self.search(table)
        return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--used", type=Path, required=True, help="rendered set to calibrate on")
    parser.add_argument("--held", type=Path, required=True, help="rendered set to compare on")
    parser.add_argument("--media", type=Path, help="folder with video/ and stills/validation/: clips of real people")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--calibration-clips", type=int, default=256)
    parser.add_argument("--clips", type=int, default=330)
    parser.add_argument("--method", default="entropy")
    parser.add_argument("--calibrate", action="store_true", help="do not take the shipped ranges")
    parser.add_argument("--search", action="store_true", help="also what each layer in float would buy back")
    parser.add_argument("--max-drop", type=float, default=0.5)
    return parser


def main() -> None:
    """Measure and write."""
    given = _parser().parse_args()
    seeds = [read_manifest(folder)["job"]["seed"] for folder in (given.used, given.held)]
    if seeds[0] == seeds[1]:
        raise InvalidInput(f"expected two sets of different seeds, both have {seeds[0]}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(given, Path(folder))
        found = bench.run()
    labels = "random: labels mean nothing" if bench.source.is_random else f"default, {bench.source.sha256[:12]}"
    flags = [f"--{flag}" for flag in ("calibrate", "search") if getattr(given, flag)]
    command = f"python -m bench.studies.int8_accuracy {given.name} --used USED --held HELD --out FILE "
    command += f"--method {given.method} "
    command += f"--calibration-clips {given.calibration_clips} --clips {given.clips} {' '.join(flags)}".strip()
    provenance = collect(CORES, command) | {
        "model": given.name,
        "weights": labels,
        "engine": "onnxruntime, int8 simulated" if bench.engine == "onnxruntime" else bench.engine,
        "seeds": {"used": seeds[0], "held": seeds[1]},
    }
    result = {"provenance": provenance, **found}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
