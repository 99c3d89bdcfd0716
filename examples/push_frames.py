"""Frames of a loop of your own: ``python push_frames.py video.mp4``. Here OpenCV reads them; a robot has its own."""

from __future__ import annotations

import sys

import cv2

import dfer_edge


def main(video: str) -> None:
    recognizer = dfer_edge.Recognizer("slowr50_sa")
    capture = cv2.VideoCapture(video)
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    with recognizer.session(window=2, hop=0.2) as session:
        number = 0
        while True:
            there, bgr = capture.read()
            if not there:
                break
            frame = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # RGB, always
            for seen in session.push(frame, number / rate):
                print(seen)
            number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
