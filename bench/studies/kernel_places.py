"""Networks with fused kernels inside against the same without, an engine at a time: in turns, one thread.

python -m bench.studies.kernel_places --out bench/results/DEVICE/kernel_places.json

The table goes beside it. What wins by a margin is what ``kernels="auto"`` takes (dfer_edge.engines.base.FASTER). Parity
first: a pair whose logits differ by more than 1e-4 (fp32) is not timed.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from dfer_edge.bench.measure import timing

CORES = timing.pin(1)

import numpy as np  # noqa: E402

from dfer_edge.bench.measure.provenance import collect  # noqa: E402
from dfer_edge.engines import BEST_FORM, Engine, EngineOptions, load_engine, placed, precision_reasons, reasons  # noqa: E402
from dfer_edge.engines.external import header  # noqa: E402
from dfer_edge.engines.tensorrt.gate import gate_feed  # noqa: E402
from dfer_edge.export import artifacts  # noqa: E402
from dfer_edge.flow.preprocess import in_pixels_of  # noqa: E402
from dfer_edge.inference import record  # noqa: E402
from dfer_edge.inference.kernel_places import NUMPY_KERNELS, PLACES  # noqa: E402
from dfer_edge.kernels import use_backend  # noqa: E402
from dfer_edge.spec import ModelSpec  # noqa: E402
from dfer_edge.system.onnx_session import cpu_session  # noqa: E402
from dfer_edge.weights import file as weights  # noqa: E402

Calls = dict[str, Callable[[], Any]]

HOW: tuple[Literal["none", "auto", "all"], ...] = ("none", "auto", "all")
"""Without, what the engine takes by itself, and with all that have a place."""
LBP = "smate"
"""The network whose paper reads local binary patterns."""
_BAR = {"fp32": 1e-4, "bf16": 0.2, "fp16": 2e-2}


@dataclasses.dataclass(frozen=True)
class Wish:
    """How to measure: rounds, seconds a row, device."""

    rounds: int
    budget_s: float
    device: str

    def time(self, calls: Calls) -> dict[str, list[float]]:
        """Milliseconds, in turns; of the process on the CPU, where others run too."""
        clock = time.perf_counter if self.device == "cuda" else time.process_time
        return timing.interleaved(calls, self.rounds, self.budget_s, warm_up_s=0.2, clock=clock)


def rows_of(name: str, engine: str, precision: str, wish: Wish) -> Iterator[dict[str, Any]]:
    """A row a kernel: with it, and with the others alone."""
    source = weights.resolve(name, "default" if weights.shipped(name) else "random")
    path = artifacts.prepare(source, BEST_FORM[engine])
    engines = {how: load_engine(path, engine, precision, wish.device, 1, how) for how in HOW}
    runs = {how: frozenset(one.kernels) for how, one in engines.items()}
    # A single image, or a clip: what a stream asks for.
    feed = gate_feed(engines["none"].input_shapes, 1)
    logits = {how: one.infer(feed)["logits"] for how, one in engines.items()}
    distance = max(float(np.abs(logits[how] - logits["none"]).max()) for how in HOW)
    distinct = {runs[how]: how for how in reversed(HOW)}
    calls: Calls = {how: _call(engines[how], feed) for how in distinct.values()}
    times = wish.time(calls) if distance <= _BAR[precision] else {}
    for kernel in engines["all"].kernels:
        row: dict[str, Any] = {
            "model": name,
            "weights": source.name,
            "engine": engine,
            "precision": precision,
            "kernel": kernel,
        }
        row |= {"difference": distance, "auto": kernel in runs["auto"]}
        pair = next(
            ((with_, how) for with_, how in distinct.items() if kernel in with_ and with_ - {kernel} in distinct)
        )
        if engine in _LOADERS:
            row["alone"] = alone(path, engine, precision, feed, wish)
        if times:
            row |= _compared(times[pair[1]], times[distinct[pair[0] - {kernel}]])
        yield row
    for one in engines.values():
        one.close()


def _call(engine: Engine, feed: Any) -> Callable[[], Any]:
    return lambda: engine.infer(feed)


def _compared(with_: list[float], without: list[float]) -> dict[str, Any]:
    ratio = statistics.median(x / y for x, y in zip(with_, without, strict=True))
    found = {"with": timing.summary(with_), "without": timing.summary(without), "ratio_p50": ratio}
    return found | {"ratio_of_minima": min(with_) / min(without)}


def alone(path: Path, engine: str, precision: str, feed: Any, wish: Wish) -> dict[str, float]:
    """Milliseconds of the places themselves: their operations as a network of their own, and the kernels."""
    model, found = header(path), {"operations": 0.0, "kernel": 0.0}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    places = record(ModelSpec.from_json(metadata["dfer_edge.spec"]), BEST_FORM[engine])[0].places
    for place, (kernel, weights_of, arrays) in zip(places, _seen(path, engine, feed), strict=True):
        names = [value.name for value in place.inputs]
        shapes = {name: (-1, *array.shape[1:]) for name, array in zip(names, arrays, strict=True)}
        piece, _ = placed.piece_of(model, [place.output.name], shapes, path.parent)
        calls: Calls = {
            "operations": functools.partial(
                _LOADERS[engine](piece.SerializeToString(), precision), dict(zip(names, arrays, strict=True))
            ),
            "kernel": functools.partial(kernel, weights_of, *arrays, **place.options),
        }
        times = dataclasses.replace(wish, budget_s=wish.budget_s / 4).time(calls)
        found = {how: total + min(times[how]) for how, total in found.items()}
    return found


def _seen(path: Path, engine: str, feed: Any) -> list[tuple[Callable[..., Any], Any, list[Any]]]:
    """What the kernels of a network are called with."""
    seen: list[tuple[Callable[..., Any], Any, list[Any]]] = []
    kept = dict(NUMPY_KERNELS)

    def watched(kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(of: Any, *arrays: Any, **options: Any) -> Any:
            seen.append((kernel, of, [np.array(array) for array in arrays]))
            return kernel(of, *arrays, **options)

        return call

    NUMPY_KERNELS.update({name: watched(kernel) for name, kernel in kept.items()})
    try:
        with load_engine(path, engine, "fp32", threads=1, kernels="all") as network:
            network.infer(feed)
    finally:
        NUMPY_KERNELS.update(kept)
    return seen


def _onnxruntime(model: bytes, _: str) -> Callable[[Any], Any]:
    session = cpu_session(model, "a piece", 1)
    return lambda feed: session.run(None, feed)


def _openvino(model: bytes, precision: str) -> Callable[[Any], Any]:
    from dfer_edge.engines.openvino_engine import config_of, core

    config = config_of(EngineOptions(precision, threads=1))
    request = core().compile_model(core().read_model(model), "CPU", config).create_infer_request()
    return lambda feed: request.infer(feed, share_inputs=True)


_LOADERS: dict[str, Callable[[bytes, str], Callable[[Any], Any]]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}


def patterns(engine: str, precision: str, wish: Wish) -> dict[str, Any]:
    """The row of lbp: crops to patterns, then the network, by the kernel and by the definition in numpy."""
    source = weights.random(LBP)
    spec = dataclasses.replace(source.spec, pixels="lbp")
    crops = np.random.default_rng(0).integers(0, 256, (spec.frames, spec.size, spec.size, 3), np.uint8)

    def defined() -> Any:
        with use_backend("reference"):
            return in_pixels_of(crops, spec)

    same = bool((defined() == in_pixels_of(crops, spec)).all())
    with load_engine(artifacts.prepare(source, BEST_FORM[engine]), engine, precision, wish.device, 1) as network:
        feed = gate_feed(network.input_shapes, 1)
        times = wish.time(
            {"patterns": lambda: in_pixels_of(crops, spec), "defined": defined, "network": _call(network, feed)}
        )
    with_, without = (
        [x + y for x, y in zip(times[how], times["network"], strict=True)] for how in ("patterns", "defined")
    )
    row = {"model": LBP, "weights": source.name, "engine": engine, "precision": precision, "kernel": "lbp"}
    return row | {"difference": 0.0 if same else 1.0, "auto": True} | _compared(with_, without)


def table(result: dict[str, Any]) -> str:
    """Markdown: a row a network, engine, precision and kernel."""
    lines = [
        "# Fused kernels inside networks, with and without",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, {result['processor']}, one thread, "
        f"{result['clock']}, load before {result['load_before'][0]:.0f}. One clip or image.",
        "",
        *_NOTES,
        "",
        "| network | weights | kernel | engine | without, ms | with, ms | ratio | of minima | the place alone: operations, kernel | difference | auto |",  # noqa: E501
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    return "\n".join([*lines, *map(_line, result["rows"]), ""])


_NOTES = (
    "Milliseconds are minima, the ratio is the median of neighbouring pairs. OpenVINO and ONNX Runtime run the file in",
    "pieces around the kernel, torch calls it in place. *The place alone*: what the kernel stands for as a network of",
    "its own in that engine, and the kernel on the same arrays: the first is all that a kernel could spare. *auto* is",
    "what an engine takes by itself: what won by more than the noise. `lbp` is counted with the network that reads it.",
    "TensorRT, TensorRT-RTX and ONNX Runtime's GPU providers run networks whole: no GPU was there to measure a cut on.",
)


def _line(row: dict[str, Any]) -> str:
    cells = [f"`{row['model']}`", row["weights"], f"`{row['kernel']}`", f"{row['engine']}/{row['precision']}"]
    own = row.get("alone")
    place = f"{own['operations']:.2f}, {own['kernel']:.2f}" if own else "-"
    if "with" not in row:
        cells += ["-", "-", "-", "-", place, f"{row['difference']:.0e}", "no: logits differ"]
    else:
        cells += [f"{row[how]['min']:.1f}" for how in ("without", "with")]
        cells += [f"**{row['ratio_p50']:.2f}**", f"{row['ratio_of_minima']:.2f}", place, f"{row['difference']:.0e}"]
        cells.append("runs it" if row["auto"] else "does not")
    return f"| {' | '.join(cells)} |"


def measure(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All rows that were asked for and that this machine has."""
    wish = Wish(arguments.rounds, arguments.budget, arguments.device)
    for engine in ["torch"] if arguments.device == "cuda" else arguments.engines:
        if reasons(engine):
            continue
        lacks = precision_reasons(engine)
        for precision in [one for one in arguments.precisions if not lacks[one]]:
            for name in arguments.models:
                if name == LBP:
                    yield patterns(engine, precision, wish)
                else:
                    yield from rows_of(name, engine, precision, wish)


def main() -> None:
    """Time, write; after each row, so that an end that comes early loses one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=[*PLACES, LBP], default=[*PLACES, LBP])
    parser.add_argument("--engines", nargs="+", default=["onnxruntime", "openvino", "torch"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", type=float, default=60.0, metavar="SECONDS", help="a row")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--append", action="store_true", help="keep the rows that --out has of others")
    arguments = parser.parse_args()
    clock = "wall clock" if arguments.device == "cuda" else "process time"
    result: dict[str, Any] = collect(CORES, "python -m bench.studies.kernel_places") | {"threads": 1, "clock": clock}
    result["rows"] = json.loads(arguments.out.read_text())["rows"] if arguments.append else []
    for row in measure(arguments):
        result["rows"].append(row)
        print(json.dumps(row), flush=True)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(result, indent=2) + "\n")
            arguments.out.with_suffix(".md").write_text(table(result))


if __name__ == "__main__":
    main()
