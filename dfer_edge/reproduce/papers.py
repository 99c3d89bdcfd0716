"""What the papers print, row by row, as data: which network, which changes of its recipe, on which data set.

Numbers are per cent: ``war`` is accuracy, ``uar`` the mean of the recalls. Rows of one table that differ in the network
alone share a recipe, seeds and clips: they are paired.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence

from dfer_edge.errors import InvalidInput

Printed = Mapping[str, float]

OURS = "ours"
"""In place of a table: a working form of what is printed but does nothing, on the clips and seeds of its pair."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table on one data set.

    Attributes
    ----------
    name
        Of the variant; the same name on several data sets is the same variant.
    model
        Of :func:`dfer_edge.list_models`.
    data
        Layout of :data:`dfer_edge.training.data.LAYOUTS` that the row is on.
    table
        Where it is printed.
    printed
        Numbers of the paper, per cent; empty for rows that it does not have.
    changes
        Fields of the recipe -> JSON, as ``dfer-edge train --set`` takes them.
    note
        What the reader must know.
    """

    name: str
    model: str
    data: str
    table: str
    printed: Printed = dataclasses.field(default_factory=dict)
    changes: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Paper:
    """A source paper.

    Attributes
    ----------
    number, title
        ``"000"`` to ``"004"`` and the reference.
    rows
        Of all its tables that a training run fills.
    open
        What is not reproduced, and why.
    """

    number: str
    title: str
    rows: tuple[Row, ...]
    open: tuple[str, ...] = ()


def find_paper(number: str) -> Paper:
    """The paper ``"000"`` to ``"004"``; InvalidInput names those that there are."""
    if number not in PAPERS:
        raise InvalidInput(f"expected a paper out of {', '.join(PAPERS)}; got {number!r}")
    return PAPERS[number]


def chosen_rows(paper: Paper, variants: Sequence[str]) -> tuple[Row, ...]:
    """Rows of the variants, all if none is named.

    Raises
    ------
    InvalidInput
        For a variant that the paper does not have; the closest are named.
    """
    names = list(dict.fromkeys(row.name for row in paper.rows))
    for variant in variants:
        if variant not in names:
            close = difflib.get_close_matches(variant, names, n=3, cutoff=0.3) or names
            raise InvalidInput(f"expected variants of paper {paper.number}, got {variant!r}", f"{', '.join(close)}?")
    return tuple(row for row in paper.rows if not variants or row.name in variants)


def _smate(table: str, data: str, printed: Mapping[str, float], mode: str, suffix: str) -> list[Row]:
    """The rows of Tables 2 to 4 with one encoding of time, from the bare network to mixed tokens."""
    stride = (("stages.sampling.stride", "2"),) if data == "ck+" else ()
    encoding = (("options", f'[["tpe_mode", "{mode}"], ["tpe_form", "{"v1" if suffix == "tpe-v1" else "v2"}"]]'),)
    more = {
        "original": (("stages.mixed", "[]"), ("stages.crop.flip", "0.0")),
        "lbp": (("stages.mixed", "[]"), ("stages.crop.flip", "0.0"), ("stages.pixels.lbp", "0.5")),
        "augment": (
            ("stages.mixed", "[]"),
            ("stages.pixels.lbp", "0.25"),
            ("stages.crop.rotation_choices", "[2.0, 5.0, 7.0]"),
        ),
        "mix": (),
    }
    return [
        Row(f"{suffix}+{step}", "smate", data, table, {"war": value}, (*encoding, *stride, *more[step]))
        for step, value in printed.items()
    ]


def _options(**options: object) -> tuple[tuple[str, str], ...]:
    """The change of a recipe that sets options of the network."""
    return (("options", json.dumps([[name, value] for name, value in options.items()])),)


_KEYPOINT: dict[str, dict[str, object]] = {
    "model-A": {"fusion": "none", "temporal": "mean"},
    "model-B": {"temporal": "mean"},
    "model-C": {"temporal": "lstm"},
    "model-D": {"fusion": "none"},
    "fusion-mean": {"fusion": "mean"},
    "fusion-lstm": {"fusion": "lstm"},
    **{f"heads-{count}": {"heads": count} for count in (6, 10, 12)},
    **{f"depth-{count}": {"depth": count} for count in (2, 4, 5, 6)},
    "kept-fc": {"kept_fc": True},
}


def _keypoint(table: str, printed: Mapping[str, float | None]) -> list[Row]:
    """Rows on DFEW with options of the network; a WAR of None is one that our reading of the paper did not keep."""
    return [
        Row(name, "keypoint_tsa", "dfew", table, {} if war is None else {"war": war}, _options(**_KEYPOINT[name]))
        for name, war in printed.items()
    ]


_FER = {"agfer": 89.19, "vgg16_fer": 19.76, "sefer": 88.73, "cbamfer": 89.77}
_POOL5 = (("options", '[["keep_pool5", true]]'),)
_FER_32 = {"agfer": 86.81, "sefer": 86.00, "cbamfer": 86.84}

PAPERS = {
    "000": Paper(
        "000",
        "Neshov et al., Electronics 2024, 13, 1606",
        (
            Row("slowr50", "slowr50", "dfew", "Table 2", {"uar": 56.78, "war": 69.40}),
            Row("slowr50-sa", "slowr50_sa", "dfew", "Tables 1, 2", {"uar": 57.09, "war": 69.87}),
            Row("slowr50-sa", "slowr50_sa", "ferv39k", "Table 1", {"uar": 39.48, "war": 49.34}),
            Row(
                "attention-frames", "slowr50_sa", "dfew", OURS, {}, _options(attention_tokens="frames"),
                "the attention reads a token a frame, not one; pairs with slowr50-sa",
            ),
        ),
    ),
    "001": Paper(
        "001",
        "Kim, Cho, Bae, Sensors 2022, 22, 5753",
        (
            *_smate(
                "Table 3", "ck+", {"original": 42.42, "lbp": 54.95, "augment": 91.97, "mix": 98.39}, "learned", "bert"
            ),
            *_smate("Table 2", "ck+", {"original": 43.18}, "add", "tpe-v1"),
            *_smate(
                "Tables 2, 4", "ck+", {"original": 43.93, "lbp": 63.35, "augment": 95.38, "mix": 99.19}, "add", "tpe-v2"
            ),
            *_smate(
                "Table 3", "afew", {"original": 34.99, "lbp": 37.22, "augment": 38.33, "mix": 38.88}, "learned", "bert"
            ),
            *_smate("Table 2", "afew", {"original": 36.66}, "add", "tpe-v1"),
            *_smate(
                "Table 4", "afew", {"original": 37.22, "lbp": 39.71, "augment": 40.83, "mix": 41.38}, "add", "tpe-v2"
            ),
            Row(
                "position-vector", "smate", "ck+", OURS, {},
                (*_options(tpe_mode="vector", tpe_form="v2"), ("stages.sampling.stride", "2")),
                "the position code times a learned vector, which acts; pairs with tpe-v2+mix",
            ),
        ),
        (
            "the literal position code does nothing (proven): rows of tpe-v1 and tpe-v2 are the same network",
            "Fig. 1, 2 are of EfficientNet, which is not here; start points of ours: dfer-edge evaluate smate --starts",
            "AFEW's 130 balanced clips are not reproducible: the whole validation part stands",
        ),
    ),
    "002": Paper(
        "002",
        "Arabian et al., Appl. Sci. 2023, 13, 10179",
        (
            *(Row(m, m, "oulu-casia-images", "Fig. 7", {"war": value}) for m, value in _FER.items()),
            *(
                Row(f"{m}-stride32", m, "oulu-casia-images", "Table 4", {"war": value}, _POOL5)
                for m, value in _FER_32.items()
            ),
            Row(
                "vgg16_fer-450", "vgg16_fer", "oulu-casia-images", "text", {}, (("stages.epochs", "450"),),
                "the base needs 450 epochs to match",
            ),
            Row(
                "agfer-r16", "agfer", "oulu-casia-images", "text", {}, _options(reduction=16),
                "no R is printed: the 16 usual for SE and CBAM in place of 2",
            ),
        ),
        (
            "Table 2, FACES by age group: dfer-edge evaluate agfer --data faces:FOLDER with the weights of a run",
            "the adversarial perturbation has no printed method; one step of FGSM: dfer-edge evaluate agfer --perturb",
            "folds are drawn over images, as printed: frames of one person are on both sides",
        ),
    ),
    "003": Paper(
        "003",
        "Huang et al., Engineering Applications of Artificial Intelligence 2024, 108535",
        (
            Row("full", "keypoint_tsa", "dfew", "comparison", {"uar": 55.85, "war": 68.73}),
            Row("full", "keypoint_tsa", "ferv39k", "comparison", {"uar": 35.16, "war": 47.80}),
            Row("full", "keypoint_tsa", "mafw", "comparison", {"uar": 33.39, "war": 47.44}),
            Row("full", "keypoint_tsa", "afew", "comparison", {"uar": 50.14, "war": 55.00}, (), "from DFEW: --init"),
            *(
                Row(
                    f"lambda-{share}", "keypoint_tsa", "dfew", "Fig. 8", {},
                    (("losses.auxiliary", f"[{share}, {round(1 - share, 1)}]"),),
                )
                for share in (0.0, 0.4, 0.6)
            ),
            *_keypoint("Table 9", {"model-A": 64.80, "model-B": 65.48, "model-C": 66.72, "model-D": 67.30}),
            *_keypoint("Table 10", {"fusion-mean": 67.07, "fusion-lstm": 67.02}),
            *_keypoint("Table 11", dict.fromkeys(("heads-6", "heads-10", "heads-12"))),
            *_keypoint("Table 12", dict.fromkeys(("depth-2", "depth-4", "depth-5", "depth-6"))),
            *_keypoint("text", dict.fromkeys(("kept-fc",))),
        ),
        ("Fig. 5, 6 are confusion matrices of the paper's own weights: ours stand in the report instead",),
    ),
    "004": Paper(
        "004",
        "Singh et al., 3D-CNN deep features discrimination, doi 10.5281/zenodo.777609",
        (
            Row("r2plus1d-scl", "r2plus1d_sta", "dfew", "Table 1", {"uar": 48.35, "war": 59.28}),
            Row("r2plus1d-scl", "r2plus1d_sta", "afew-folds", "comparison", {"war": 59.63}),
            Row("r2plus1d-scl", "r2plus1d_sta", "daisee-folds", "Table 4", {"war": 58.62}),
            Row(
                "without-centre-loss", "r2plus1d_sta", "dfew", "none", {},
                (("losses.sparse_centre", "0.0"), ("options", "[]")), "the loss branch is 98 % of the weights",
            ),
            Row(
                "centre-loss-0.01", "r2plus1d_sta", "dfew", "none", {}, (("losses.sparse_centre", "0.01"),),
                "the weight of DACL",
            ),
            Row(
                "centre-loss-f", "r2plus1d_sta", "dfew", "none", {}, _options(loss_branch=True, centre_reads="f"),
                "the other reading: features before the attention",
            ),
            Row(
                "loss-pooled", "r2plus1d_sta", "dfew", OURS, {}, _options(loss_branch=True, loss_input="pooled"),
                "the loss branch reads pooled features: 2 % of its weights; pairs with r2plus1d-scl",
            ),
        ),
        ("12,059 clips are printed, the official lists hold 11,697",),
    ),
}  # fmt: skip
