"""A video to labels over time, an annotated copy and a plot: ``python predict_file.py video.mp4 out/``."""

from __future__ import annotations

import sys
from pathlib import Path

import dfer_edge
from dfer_edge import sinks


def main(video: str, out: str) -> None:
    recognizer = dfer_edge.Recognizer("slowr50_sa")
    timeline = recognizer.timeline(video, window_s=1.0)
    print(timeline)
    for seen in timeline.primary:
        found = seen.prediction
        print(f"{seen.start_s:5.2f} to {seen.time_s:5.2f} s  {found.label:9} {found.confidence:.2f}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    sinks.write_json(folder / "timeline.json", timeline, recognizer.info())
    sinks.write_csv(folder / "timeline.csv", timeline)
    sinks.write_plot(folder / "timeline.png", timeline, Path(video).name)
    sinks.write_overlay(folder / "overlay.mp4", video, timeline)


if __name__ == "__main__":
    main(*sys.argv[1:])
