"""The child process of :mod:`dfer_edge.synthesis.workers`."""

from __future__ import annotations

import json
import os
import sys

import cv2

from dfer_edge.synthesis.dataset import SyntheticClips
from dfer_edge.synthesis.workers import blocks, write


def main() -> None:
    """Render one worker's share of a set: the job as JSON on stdin, clips on stdout."""
    cv2.setNumThreads(1)
    job = json.load(sys.stdin)
    indices = blocks(*(job.pop(name) for name in ("start", "stop", "width", "part", "parts")))
    clips = SyntheticClips(**job)
    try:
        for index in indices:
            write(sys.stdout.buffer, clips[index])
    except BrokenPipeError:  # the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
