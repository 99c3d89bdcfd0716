"""A live signal: ``python watch_camera.py 0``, ``rtsp://host/stream`` or a file; Ctrl-C ends it."""

from __future__ import annotations

import sys

import dfer_edge


def main(source: str) -> None:
    recognizer = dfer_edge.Recognizer("slowr50_sa")
    camera = int(source) if source.isdecimal() else source
    with recognizer.stream(camera, window=2, hop=0.2) as stream:
        for seen in stream:
            if not seen.has_face:
                print(f"{seen.time_s:7.2f} s  nobody")
                continue
            change = f"  {seen.event}" if seen.event else ""
            print(f"{seen.time_s:7.2f} s  person {seen.track_id}: {seen.prediction.label}{change}")
        print(stream.stats())


if __name__ == "__main__":
    main(*sys.argv[1:])
