"""The claims themselves, A1 to E3: each with the count that checks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dfer_edge.bench.claims.counting import c3d_macs, printed, r3d_18_macs, training_graph_macs
from dfer_edge.bench.claims.verdict import (
    NOT_REPRODUCIBLE,
    REFUTED,
    REPRODUCED,
    Answer,
    Claim,
    Rows,
    best_row,
    near,
    systems,
)
from dfer_edge.inference import registry

_SA, _SMATE, _CBAM, _KEYPOINT, _R2PLUS1D = "slowr50_sa", "smate", "cbamfer", "keypoint_tsa", "r2plus1d_sta"
# Clips of the data sets' protocols, from their papers: with seven labels, training and test together.
_DFEW, _FERV39K, _OULU_IMAGES = 11_697, 38_935, 9_299
_NOT_HERE = "needs the paper's GPU and data set"


def _counted(claims: list[float], counts: list[float], text: str, note: str = "") -> Answer:
    return Answer(text, near(claims, counts), note)


def _a1() -> Answer:
    with_sa, without = printed(_SA)[0], printed("slowr50")[0]
    return _counted([49.47e6, 31.65e6], [with_sa, without], f"{with_sa:,} / {without:,}")


def _a2() -> Answer:
    more = [a - b for a, b in zip(printed(_SA), printed("slowr50"), strict=True)]
    note = "40 MFLOPs is the difference of two rounded totals, 71.92 and 71.88 G; the layers themselves cost 35.6 M"
    # The parameters are exact, and two totals rounded to 10 M cannot contradict a difference of 35.6 M.
    rounded = REPRODUCED if abs(40e6 - 2 * more[1]) <= 10e6 and near([17.82e6], [more[0]]) == REPRODUCED else REFUTED
    return Answer(f"{more[0]:,}, {2 * more[1] / 1e6:.1f} MFLOPs", rounded, note)


def _a3() -> Answer:
    flops = [2 * printed(name)[1] for name in (_SA, "slowr50")]
    note = "products alone; the paper's counter adds 0.8 % for norms, activations and pooling"
    return _counted([71.92e9, 71.88e9], [float(f) for f in flops], " / ".join(f"{f / 1e9:.3f} G" for f in flops), note)


def _a4() -> Answer:
    rates = (_DFEW / 450, _FERV39K / 1500)
    note = f"{_NOT_HERE}; the two times agree with each other: {rates[0]:.1f} and {rates[1]:.1f} clips/s"
    return Answer(f"{rates[0]:.1f} / {rates[1]:.1f} clips/s", NOT_REPRODUCIBLE, note)


def _a5() -> Answer:
    spec = registry.find(_SA).spec
    shape = f"{spec.frames} of {spec.size} x {spec.size}"
    return Answer(shape, REPRODUCED if shape == "8 of 196 x 196" else REFUTED)


def _b1() -> Answer:
    parameters, macs = printed(_SMATE)
    note = "what the paper calls FLOPs are multiply-accumulates"
    return _counted([171.45e6, 213.93e9], [parameters, macs], f"{parameters:,}; {macs / 1e9:.2f} GMACs", note)


def _b2() -> Answer:
    sizes, claims = (64, 128, 224, 320), [12.5, 46.3, 142.6, 301.8]
    macs = [printed(_SMATE, size=size, frames=16)[1] / 1e9 for size in sizes]
    return _counted(claims, macs, " / ".join(f"{value:.2f}" for value in macs) + " GMACs")


def _b3() -> Answer:
    grows = printed(_SMATE, size=320, frames=16)[1] / printed(_SMATE, size=64, frames=16)[1]
    note = (
        f"the batch is not printed; the printed speeds fall {23.5 / 17.3:.2f} times where arithmetic grows "
        f"{grows:.0f} times, so the input was the limit"
    )
    return Answer(f"{grows:.1f} times the MACs from 64 to 320 pixels", NOT_REPRODUCIBLE, note)


def _c1() -> Answer:
    original, trained = printed("vgg16_fer", 1000, keep_pool5=True)[0], printed("vgg16_fer")[0]
    note = (
        "138 M is the original VGG16 of 1000 classes; without pool5, as the paper describes its networks, fc6 alone "
        "has 411 M. 41 layers is MATLAB's count of the original"
    )
    return Answer(f"{trained:,} as trained; {original:,} the original", near([138e6], [trained]), note)


def _c2() -> Answer:
    def share(**options: Any) -> float:
        return 100 * (printed(_CBAM, **options)[0] / printed("agfer", **options)[0] - 1)

    shares = [share(reduction=2), share(reduction=16), share(reduction=4, keep_pool5=True)]
    verdict = REPRODUCED if f"{shares[0]:.1f}" == "0.1" else REFUTED
    text = f"+{shares[0]:.3f} % at R = 2, +{shares[1]:.4f} % at R = 16; with pool5 +{shares[2]:.3f} % at R = 4"
    note = (
        "R is not printed, and this does not tell it: R = 2, or with pool5 R = 4 or 8, print so; the usual 16 does not"
    )
    return Answer(text, verdict, note)


def _c3() -> Answer:
    sites = 3
    counts = [41 + sites * extra for extra in (13, 17)]
    note = "the paper's own figures added up, in MATLAB's count of layers; no network is counted"
    return Answer(f"41 + 3 x 13 = {counts[0]}; 41 + 3 x 17 = {counts[1]}", near([80, 92], counts, 0), note)


def _c4() -> Answer:
    macs = printed(_CBAM)[1] / printed("agfer")[1] - 1
    note = (
        f"{_NOT_HERE}; the printed ratio of 1.2 cannot be arithmetic, since the MACs differ by {abs(macs):.3%}: it is "
        "that of launches, 92 to 80 layers"
    )
    return Answer(f"MACs differ by {macs:.3%}", NOT_REPRODUCIBLE, note)


def _c5() -> Answer:
    rates = [0.8 * _OULU_IMAGES * 100 / seconds for seconds in (155 * 60, 181 * 60)]
    return Answer(" / ".join(f"{rate:.1f} images/s" for rate in rates), NOT_REPRODUCIBLE, _NOT_HERE)


def _c6() -> Answer:
    return Answer("-", NOT_REPRODUCIBLE, "a convergence test on OULU-CASIA, which is for research only")


def _d1() -> Answer:
    parameters = printed(_KEYPOINT)[0]
    note = (
        "rounds to 18 M; 17 by cutting the decimals off, or at other widths that the paper leaves open: 768 in the "
        "encoder gives 17.04 M"
    )
    return Answer(f"{parameters:,}", REPRODUCED if round(parameters / 1e6) == 17 else REFUTED, note)


def _d2() -> Answer:
    macs = printed(_KEYPOINT)[1]
    text = f"52 a second are {52 * macs / 1e12:.2f} TMAC/s at {macs / 1e9:.2f} GMACs a clip"
    return Answer(text, NOT_REPRODUCIBLE, "of another GPU; the detector of landmarks is not in it unless stated")


def _d3() -> Answer:
    return Answer(f"{0.8 * _DFEW * 80 / (6 * 3600):.1f} clips/s", NOT_REPRODUCIBLE, _NOT_HERE)


def _d4() -> Answer:
    share, less, parameters = 100 * (17 / 43 - 1), 17 - 19, printed(_KEYPOINT)[0]
    verdict = REPRODUCED if (f"{share:.1f}", less) == ("-60.5", -2) else REFUTED
    note = f"from the printed 17, 43 and 19 M; {parameters / 1e6:.2f} M gives {100 * (parameters / 43e6 - 1):.1f} %"
    return Answer(f"{share:.1f} % / {less} M", verdict, note)


def _e1() -> Answer:
    inference, training = printed(_R2PLUS1D)[1], training_graph_macs(_R2PLUS1D)
    note = (
        f"printed for the inference, which is {1 - inference / 38.66e9:.1%} below; the training graph comes close by "
        "a width of its first layer that we chose, which proves nothing"
    )
    text = f"{inference / 1e9:.3f} inference, {training / 1e9:.3f} training graph"
    return _counted([38.66e9], [float(inference)], text, note)


def _e2() -> Answer:
    flops = 2 * printed(_R2PLUS1D)[1] / 1e9
    return Answer(f"{flops:.2f} GFLOPs", REFUTED, "47 fits no reading; the paper's own 38.66 GMACs are 77.3 GFLOPs")


def _e3() -> Answer:
    ours, others = printed(_R2PLUS1D)[1], (c3d_macs(), r3d_18_macs())
    apart = [(ours - other) / 1e9 for other in others]
    text = (
        f"{apart[0]:+.1f} G to C3D's {others[0] / 1e9:.1f}, {apart[1]:+.1f} G to 3D ResNet-18's {others[1] / 1e9:.1f}"
    )
    note = (
        "at 16 frames of 112 x 112; by the print C3D would have 327 G and 3D ResNet-18 6.7. The table that it refers "
        "to is not in the paper, and the inputs of the other two are not printed: they are not counted"
    )
    return Answer(text, near([-288.0, 32.0], apart), note)


def _time_ratio(first: str, second: str) -> Callable[[Rows], str]:
    """Time of one network to another's: printed in torch, and both on the engine and precision that is fastest."""

    def measure(rows: Rows) -> str:
        eager, other = (rows.get(f"network/{name}/torch-eager") for name in (first, second))
        pairs = {"torch eager": (eager, other)} if eager and other else {}
        ours, theirs = systems(rows, first), systems(rows, second)
        if both := [name for name in ours if name in theirs]:
            best = min(both, key=lambda name: ours[name].latency_ms["p50"])
            pairs[best] = (ours[best], theirs[best])
        parts = [f"{what} {a.latency_ms['p50'] / b.latency_ms['p50']:.2f}" for what, (a, b) in pairs.items()]
        return f"time of {first} to {second}: {', '.join(parts)}" if parts else ""

    return measure


def _speeds(unit: str, *names: str) -> Callable[[Rows], str]:
    """Samples a second of networks, printed in torch -> on the best engine."""

    def measure(rows: Rows) -> str:
        parts = []
        for name in names:
            eager, best = rows.get(f"network/{name}/torch-eager"), best_row(rows, name)
            if eager and best and eager.samples_per_s and best.samples_per_s:
                parts.append(f"{name} {eager.samples_per_s:.3g} -> {best.samples_per_s:.3g}")
        return f"{', '.join(parts)} {unit} on this device" if parts else ""

    return measure


def _c4_measured(rows: Rows) -> str:
    parts = (_speeds("images/s", "agfer", _CBAM)(rows), _time_ratio(_CBAM, "agfer")(rows))
    return "; ".join(part for part in parts if part)


CLAIMS = (
    Claim("A1", _SA, "parameters with / without self-attention", "49.47 / 31.65 M", _a1),
    Claim("A2", _SA, "self-attention adds", "17.82 M, 40 MFLOPs", _a2, _time_ratio(_SA, "slowr50")),
    Claim("A3", _SA, "FLOPs with / without", "71.92 / 71.88 G", _a3, _speeds("clips/s", _SA, "slowr50")),
    Claim("A4", _SA, "an epoch of training and test, RTX 2080 Ti", "450 s DFEW, 1500 s FERV39k", _a4),
    Claim("A5", _SA, "frames", "8 of 196 x 196", _a5),
    Claim("B1", _SMATE, "ViViT-B/16x2 FE, 25 frames", "171.45 M, 213.93 G", _b1, _speeds("clips/s", _SMATE)),
    Claim("B2", _SMATE, "GFLOPs at 64 / 128 / 224 / 320 pixels", "12.5 / 46.3 / 142.6 / 301.8", _b2),
    Claim("B3", _SMATE, "training steps a minute, the same, RTX A6000", "23.5 / 22.6 / 20.3 / 17.3", _b3),
    Claim("C1", _CBAM, "base: parameters, layers", "138 M, 41", _c1),
    Claim("C2", _CBAM, "CBAMFER has more parameters than AGFER", "+0.1 %", _c2),
    Claim("C3", _CBAM, "layers of AGFER / CBAMFER", "80 / 92", _c3),
    Claim("C4", _CBAM, "images a second, AGFER / CBAMFER, RTX A6000", "30 / 25 Hz", _c4, _c4_measured),
    Claim("C5", _CBAM, "training, 100 epochs of 80 % of 9,299 images", "2 h 35 / 3 h 01", _c5),
    Claim("C6", _CBAM, "the base needs 450 epochs to match", "3 times the training time", _c6),
    Claim("D1", _KEYPOINT, "parameters", "17 M", _d1),
    Claim("D2", _KEYPOINT, "speed, RTX 3090, 16 frames each", "52 samples/s", _d2, _speeds("clips/s", _KEYPOINT)),
    Claim("D3", _KEYPOINT, "training, 80 epochs, DFEW fold 1", "6 h", _d3),
    Claim("D4", _KEYPOINT, "parameters against EST / NR-DFERNet", "-60.5 % / -2 M", _d4),
    Claim("E1", _R2PLUS1D, "MACs", "38.66 G", _e1, _speeds("clips/s", _R2PLUS1D)),
    Claim("E2", _R2PLUS1D, "FLOPs", "47 G", _e2),
    Claim("E3", _R2PLUS1D, "against C3D / VGG11+LSTM / 3D ResNet-18 / CEFLNet", "-288 / -244 / +32 / -25.14 G", _e3),
)
