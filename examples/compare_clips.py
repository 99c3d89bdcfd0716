"""Cosine similarities of clips, as the network sees them: ``python compare_clips.py a.mp4 b.mp4 [c.mp4 ...]``."""

from __future__ import annotations

import sys

import numpy as np

import dfer_edge


def main(*videos: str) -> None:
    recognizer = dfer_edge.Recognizer("slowr50_sa")
    vectors = np.stack([recognizer.embed(video) for video in videos])  # [N, 512]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.printoptions(precision=3, suppress=True):
        print(vectors @ vectors.T)


if __name__ == "__main__":
    main(*sys.argv[1:])
