"""A video to a server: ``dfer-edge serve --port 8000`` in one terminal, ``python ask_server.py video.mp4`` in another.

The standard library alone: any language can do the same.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path


def main(video: str, address: str = "http://127.0.0.1:8000") -> None:
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(f"{address}/v1/predict", Path(video).read_bytes(), headers)
    with urllib.request.urlopen(request) as answer:
        prediction = json.load(answer)["prediction"]
    print(prediction["label"], round(prediction["confidence"], 2))


if __name__ == "__main__":
    main(*sys.argv[1:])
