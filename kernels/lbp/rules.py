"""Bit orders and borders by name."""

from __future__ import annotations

# Value of each neighbour, the neighbours counted clockwise from the top left.
BIT_ORDERS = {
    "clockwise": (1, 2, 4, 8, 16, 32, 64, 128),
    "clockwise_msb": (128, 64, 32, 16, 8, 4, 2, 1),
    # From the right neighbour, counter-clockwise.
    "skimage": (8, 4, 2, 1, 128, 64, 32, 16),
}
BORDERS = ("replicate", "zero")
