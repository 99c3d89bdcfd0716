"""From a module in torch to labels: ``python own_weights.py video.mp4 mine.safetensors``."""

from __future__ import annotations

import sys

import dfer_edge


def main(video: str, path: str) -> None:
    # Training form: train it with your own loop, or with `dfer-edge train`.
    module = dfer_edge.models.create_model("slowr50")
    # Here: what ships. A public backbone instead: weights.import_backbone(module, state_dict).
    dfer_edge.weights.load_into(module, dfer_edge.weights.resolve("slowr50", "default"))
    # Crops, labels and size travel in the file; notes are yours.
    dfer_edge.weights.save(path, module, data="what it was trained on")
    recognizer = dfer_edge.Recognizer("slowr50", weights=path)
    print(recognizer)
    print(recognizer.predict(video))


if __name__ == "__main__":
    main(*sys.argv[1:])
