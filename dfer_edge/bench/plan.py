"""What a run measures: the catalogue of cases, and how long each may take."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import shlex
from pathlib import Path

from dfer_edge.engines import ENGINES
from dfer_edge.errors import InvalidInput
from dfer_edge.kernels.dispatch import OPERATIONS
from dfer_edge.models import list_models

# Engine -> precisions that it may have somewhere; what this machine lacks is a row that says so.
PRECISIONS = {
    "openvino": ("fp32", "bf16", "int8"),
    "onnxruntime": ("fp32",),
    "torch": ("fp32", "bf16", "fp16"),
    "tensorrt": ("fp32", "fp16", "int8"),
    "tensorrt-rtx": ("fp32", "fp16"),
    "onnxruntime-cuda": ("fp32", "fp16"),
    "onnxruntime-tensorrt": ("fp32", "fp16"),
}
STREAMED = ("slowr50_sa", "keypoint_tsa", "smate")
SHIPPED = "slowr50_sa:default"
"""A network's key is its name, with random weights at the printed size, or NAME:WEIGHTS."""

_SCENARIO_NETWORKS = (SHIPPED, "slowr50_sa", "keypoint_tsa", "agfer")
_SCENARIOS = ("Offline", "MultiStream", "Server")
_QUICK_NETWORKS = (SHIPPED, "slowr50_sa")
# One face on every engine; by faces, and with a deadline, on the fastest that is as right as the printed network.
_GLASS = (
    *(f"{name}/f1" for name in ("torch/fp32", "onnxruntime/fp32", "openvino/fp32", "openvino/bf16", "openvino/int8")),
    *(f"openvino/bf16/f{faces}" for faces in range(2, 7)),
    *(f"openvino/{precision}/f6" for precision in ("fp32", "int8")),
    *(f"openvino/bf16/f{faces}-hop100" for faces in (1, 6)),
    "openvino/bf16/deadline50",
)
_LONG_INT8 = ("slowr50", "smate", "sefer", "cbamfer", "vgg16_fer")
_EXTRA_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run.

    Attributes
    ----------
    threads
        CPU threads, pinned.
    quick
        Fewer networks and samples: under two minutes; good for ratios of 2, not of 1.1.
    only
        Patterns of case names; all of the catalogue if empty.
    batches
        Of every engine; 1, and 8 for the shipped network, if empty.
    video
        A video with a face, for the end-to-end and live cases.
    pipelines
        ``package.module:factory`` of per-frame pipelines, see :mod:`dfer_edge.bench.cases.per_frame_peers`.
    calibration
        Ranges for int8 of the shipped network; those beside its weights if None.
    data
        Labelled stills or clips (as ``dfer-edge evaluate --data``) for accuracy beside speed.
    loadgen
        Ask the load generator for a second opinion.
    samples, budget_s
        At most so many samples a case, and so many seconds for the cases that are timed in turns.
    bound_ms
        Of the Server scenario's p99.
    rate, seconds
        Frames a second of the live and glass cases, and how long one of the latter takes.
    """

    threads: int
    quick: bool = False
    only: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    video: Path | None = None
    pipelines: tuple[str, ...] = ()
    calibration: Path | None = None
    data: str | None = None
    loadgen: bool = False
    samples: int = 200
    budget_s: float = 16.0
    bound_ms: float = 100.0
    rate: float = 25.0
    seconds: float = 10.0

    def __post_init__(self) -> None:
        known = catalogue(self)
        for pattern in self.only:
            if not fnmatch.filter(known, pattern):
                near = difflib.get_close_matches(pattern, known, 3, 0.4)
                hint = f"did you mean {' or '.join(near)}? " if near else ""
                raise InvalidInput(
                    f"expected the name of a case or a pattern of it, got {pattern!r}",
                    f"{hint}dfer-edge bench --list shows all",
                )

    def selected(self) -> list[str]:
        """Names of the cases to run, in order."""
        known = catalogue(self)
        if not self.only:
            return [name for name in known if (_is_quick(name, self.batches) if self.quick else _is_default(name))]
        return [name for name in known if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.only)]

    def command(self, case: str) -> str:
        """What a shell runs to measure one case again."""
        words = ["dfer-edge", "bench", "--only", case, "--threads", str(self.threads)]
        for option, value in (("video", self.video), ("calibration", self.calibration), ("data", self.data)):
            words += (
                [f"--{option}", portable(str(value))]
                if value is not None and case.split("/")[0] in _USES[option]
                else []
            )
        if case.startswith("pipeline/"):
            words += ["--pipeline", *self.pipelines]
        words += ["--batches", *map(str, self.batches)] if self.batches and case.startswith("engine/") else []
        words += ["--bound-ms", f"{self.bound_ms:g}"] if case.endswith("/Server") else []
        words += ["--rate", f"{self.rate:g}"] if case.startswith(("live/", "glass/")) else []
        words += ["--seconds", f"{self.seconds:g}"] if case.startswith("glass/") else []
        words += (
            ["--loadgen"]
            if self.loadgen and (case.endswith(("/b1", "/MultiStream")) or case.startswith("network/"))
            else []
        )
        return shlex.join(words + (["--quick"] if self.quick else []))


_USES = {"video": ("video", "live", "glass", "pipeline"), "calibration": ("engine",), "data": ("engine",)}


def catalogue(plan: Plan) -> list[str]:
    """Names of all cases, in the order in which they run."""
    keys = [SHIPPED, *list_models()]
    names = ["overhead/harness", *(f"kernel/{op}" for op in OPERATIONS), *(f"kernel-cuda/{op}" for op in OPERATIONS)]
    for key in keys:
        names += [f"network/{key}/torch-eager", f"network/{key}/torch-compile"]
        for engine in ENGINES:
            for batch in plan.batches or ((1, _EXTRA_BATCH) if key == SHIPPED else (1,)):
                names += [f"engine/{key}/{engine}/{precision}/b{batch}" for precision in PRECISIONS[engine]]
        names += [f"scenario/{key}/{name}" for name in _SCENARIOS if key in _SCENARIO_NETWORKS]
    names += [f"step/{model}/{engine}" for model in STREAMED for engine in ("openvino", "torch")]
    names += [f"{kind}/{SHIPPED}/{engine}" for kind in ("video", "live") for engine in ("auto", "onnxruntime")]
    names += [f"glass/{SHIPPED}/{name}" for name in _GLASS]
    return names + [f"pipeline/{name.replace('/', '.')}" for name in plan.pipelines]


def _is_default(name: str) -> bool:
    """Minutes of calibration or compilation that say little new wait until they are asked for with ``--only``."""
    key = name.split("/")[1]
    if name.endswith("/torch-compile"):
        return key == SHIPPED
    if name.endswith(("/MultiStream", "/Server")):
        return key == SHIPPED
    return not ("/int8/b" in name and key in _LONG_INT8)


def _is_quick(name: str, batches: tuple[int, ...]) -> bool:
    kind, key = name.split("/")[:2]
    if kind in ("network", "engine", "scenario"):
        slow = name.endswith("/torch-compile") or kind == "scenario"
        # A batch that was asked for is run.
        extra = not batches and name.endswith(f"/b{_EXTRA_BATCH}")
        return key in _QUICK_NETWORKS and not slow and not extra
    return kind not in ("step", "glass")


def portable(word: str) -> str:
    """A word of a command as results may show it: of a path on one machine, its name."""
    return Path(word).name if Path(word).is_absolute() else word


def split_key(key: str) -> tuple[str, str]:
    """Model and weights of a network's key."""
    model, _, weights = key.partition(":")
    return model, weights or "random"
