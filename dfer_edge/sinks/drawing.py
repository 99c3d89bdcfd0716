"""A frame with everyone's box and caption, and beside it what each person expresses, in figures."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from dfer_edge.types import Box, Image, Prediction

Colour = tuple[int, int, int]

# Okabe and Ito's colours, told apart by most eyes: one a person, by number; the blue is lighter, to be read on.
PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (127, 168, 255),
    (220, 220, 220),
)
_GOLDEN = 0.618034
_INK, _PAPER, _TRACK, _SOFT = (18, 18, 18), (238, 238, 238), (62, 62, 66), (24, 24, 27)
_FONT = cv2.FONT_HERSHEY_DUPLEX
_READABLE_HEIGHT = 360
# In 360ths of the picture's height: the panel's width, a line, a bar's row, the text's size.
_PANEL, _LINE, _ROW, _SIZE = 190, 20, 15, 0.40


class Figure(NamedTuple):
    """A person in a frame; ``prediction`` is None while there is none yet."""

    track_id: int
    box: Box
    prediction: Prediction | None


def colour_of(track_id: int) -> Colour:
    """The colour of a person, RGB; beyond the palette hues that lie apart, by the golden angle."""
    if track_id < len(PALETTE):
        return PALETTE[track_id]
    red, green, blue = (round(255 * share) for share in colorsys.hls_to_rgb(track_id * _GOLDEN % 1, 0.7, 0.7))
    return red, green, blue


def draw(image: Image, figures: Sequence[Figure], time_s: float, note: str = "") -> Image:
    """A picture of its own: the frame, enlarged if it is small, the panel to the right, the note below.

    Parameters
    ----------
    image
        uint8 RGB [H, W, 3].
    figures
        Everyone in it, boxes in its pixels.
    time_s
        Shown in the panel.
    note
        A line at the bottom.
    """
    scale = max(1, -(-_READABLE_HEIGHT // len(image)))
    canvas = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
    unit, width = canvas.shape[0] / 360, canvas.shape[1]
    # Bars stand beside the picture: over it they hide faces.
    panel = np.full((canvas.shape[0], round(_PANEL * unit), 3), _SOFT, np.uint8)
    boxes = {figure.track_id: Box(*(edge * scale for edge in figure.box)) for figure in figures}
    taken = list(boxes.values())
    for figure in figures:
        _draw_person(canvas, figure, boxes[figure.track_id], taken, unit)
    _draw_panel(panel, sorted(figures, key=lambda figure: figure.track_id), time_s, unit)
    if note:
        _chip(canvas, note, (round(6 * unit), canvas.shape[0] - round(6 * unit)), unit, _PAPER)
    whole = np.concatenate([canvas, panel], axis=1)
    assert whole.shape[1] > width  # noqa: S101 - the panel is never lost
    return whole


def _draw_person(canvas: Image, figure: Figure, box: Box, taken: list[Box], unit: float) -> None:
    left, top, right, bottom = (round(edge) for edge in box)
    colour = colour_of(figure.track_id)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, max(1, round(2 * unit)), cv2.LINE_AA)
    text = f"#{figure.track_id}"
    if figure.prediction is not None:
        text += f" {figure.prediction.label} {figure.prediction.confidence:.2f}"
    place = _free_place(canvas, text, box, taken, unit)
    if place is not None:
        taken.append(place)
        _chip(canvas, text, (round(place.left), round(place.bottom)), unit, colour)


def _free_place(canvas: Image, text: str, box: Box, taken: Sequence[Box], unit: float) -> Box | None:
    """Where a caption covers neither a face nor another caption: above, below, right or left of its face."""
    (wide, high), gap = _chip_size(text, unit), 3 * unit
    height, width = canvas.shape[:2]
    left = min(max(0.0, box.left), max(0.0, width - wide))
    corners = [
        (left, box.top - gap),
        (left, box.bottom + gap + high),
        (box.right + gap, max(high, box.top + high)),
        (box.left - gap - wide, max(high, box.top + high)),
    ]
    for x, bottom in corners:
        place = Box(x, bottom - high, x + wide, bottom)
        inside = place.left >= 0 and place.top >= 0 and place.right <= width and place.bottom <= height
        if inside and not any(_overlaps(place, other) for other in taken):
            return place
    return None


def _overlaps(one: Box, other: Box) -> bool:
    across = min(one.right, other.right) - max(one.left, other.left)
    return across > 0 and min(one.bottom, other.bottom) - max(one.top, other.top) > 0


def _draw_panel(panel: Image, figures: Sequence[Figure], time_s: float, unit: float) -> None:
    y = round(_LINE * unit)
    _text(panel, f"{time_s:.2f} s", (round(10 * unit), y), unit, _PAPER)
    for position, figure in enumerate(figures):
        y += round((_LINE + 2) * unit)
        left = panel.shape[0] - y
        prediction = figure.prediction
        others = (len(figures) - position - 1) * round((_LINE + 2) * unit)
        if left < 0:
            return
        name = f"#{figure.track_id}"
        _chip(panel, name, (round(8 * unit), y + round(4 * unit)), unit, colour_of(figure.track_id))
        if prediction is None:
            continue
        says = f"{prediction.label} {prediction.confidence:.2f}"
        _text(panel, says, (round(14 * unit) + _chip_size(name, unit)[0], y), unit, _PAPER)
        rows = len(prediction.labels)
        if left - others >= (rows + 1) * round(_ROW * unit):
            y = _draw_bars(panel, prediction, colour_of(figure.track_id), y, unit)


def _draw_bars(panel: Image, prediction: Prediction, colour: Colour, y: int, unit: float) -> int:
    begin, longest = round(76 * unit), round(76 * unit)
    for label, score in prediction.scores.items():
        y += round(_ROW * unit)
        top, bottom = y - round(8 * unit), y
        shade = colour if label == prediction.label else _PAPER
        _text(panel, label, (round(10 * unit), y), unit * 0.85, shade)
        cv2.rectangle(panel, (begin, top), (begin + longest, bottom), _TRACK, -1)
        cv2.rectangle(panel, (begin, top), (begin + round(longest * score), bottom), shade, -1)
        _text(panel, f"{score:.2f}", (begin + longest + round(5 * unit), y), unit * 0.85, shade)
    return y


def _chip_size(text: str, unit: float) -> tuple[int, int]:
    (wide, high), _ = cv2.getTextSize(text, _FONT, _SIZE * unit, max(1, round(unit * 0.8)))
    return wide + round(8 * unit), high + round(8 * unit)


def _chip(canvas: Image, text: str, corner: tuple[int, int], unit: float, colour: Colour) -> None:
    """Dark text on a plate of the person's colour; ``corner`` is its lower left."""
    wide, high = _chip_size(text, unit)
    left, bottom = corner
    cv2.rectangle(canvas, (left, bottom - high), (left + wide, bottom), colour, -1)
    _text(canvas, text, (left + round(4 * unit), bottom - round(4 * unit)), unit, _INK)


def _text(canvas: Image, text: str, at: tuple[int, int], unit: float, colour: Colour) -> None:
    cv2.putText(canvas, text, at, _FONT, _SIZE * unit, colour, max(1, round(unit * 0.8)), cv2.LINE_AA)
