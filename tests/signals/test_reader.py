"""Signals over time: the person's own neutral, stretches, people that come and go, the rule, the real flow."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import Recognizer, WeightsNotFound
from dfer_edge.cli.main import main
from dfer_edge.flow.pipeline import WholeFrame
from dfer_edge.live import Options, Session
from dfer_edge.live.tracking import Watching
from dfer_edge.signals import Listening, SignalReader, signals_of
from dfer_edge.signals import reader as reader_module
from dfer_edge.sinks import write_csv, write_plot
from dfer_edge.types import Frame, TrackedFace
from tests.live.fakes import HERE, Script, image, network
from tests.signals.test_fit import BASIS, face


def points(seed: int, units: dict[str, float]) -> np.ndarray:
    """One person by seed; points that are not fitted lie anywhere."""
    return np.nan_to_num(face(np.random.default_rng(seed), units, 0.0, 0.3)).astype(np.float32)


def test_the_rule() -> None:
    none = signals_of(dict.fromkeys(BASIS.reported, 0.0), 3)
    assert (none.intensity, none.valence, none.arousal, none.frames) == (0, 0, 0, 3)
    happy = signals_of({"AU6": 1.0, "AU12": 1.0}, 1)
    assert happy.intensity == 1
    assert happy.valence == 1
    assert signals_of({"AU12": 0.5}, 1).valence == 0.5
    assert signals_of({"AU4": 0.5}, 1).valence == pytest.approx(-0.4)
    assert signals_of({"AU9": 1.0, "AU4": 1.0}, 1).valence == -1
    assert signals_of({"AU43": 1.0}, 1).arousal == -1
    assert signals_of({"AU5": 0.5, "AU26": 0.3}, 1).arousal == pytest.approx(0.75)
    assert json.loads(json.dumps(happy.to_dict()))["units"] == {"AU6": 1.0, "AU12": 1.0}


def test_signals_of_stretches() -> None:
    reader = SignalReader()
    for number in range(60):
        reader.see(0, number / 10, points(5, {"AU12": 0.9} if number >= 30 else {}))
    calm, smile = reader.signals(0, 0.0, 2.95), reader.signals(0, 3.0, 6.0)
    assert calm.frames == 30
    assert smile.units["AU12"] > calm.units["AU12"] + 0.5
    assert smile.valence > calm.valence + 0.3
    assert set(smile.units) == set(BASIS.reported)
    assert reader.signals(0, 7.0, 9.0) is None
    assert reader.signals(1, 0.0, 9.0) is None


def test_the_resting_face_is_taken_away() -> None:
    reader = SignalReader()
    for number in range(200):
        reader.see(0, number / 10, points(8, {"AU4": 0.25}))
    first = reader.signals(0, 0.0, 0.0)
    for start in range(20):
        last = reader.signals(0, start, start + 0.99)
    assert first.units["AU4"] > 0.1, "one frame knows no rest"
    assert last.units["AU4"] < 0.4 * first.units["AU4"]


def test_faces_without_landmarks_and_crowds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_MOST_PEOPLE", 2)
    reader = SignalReader()
    reader.see(0, 0.0, None)
    reader.see(0, 0.0, np.full((68, 2), np.nan, np.float32))
    assert reader.signals(0, 0, 1) is None
    for track, time_s in ((1, 0.0), (2, 0.1), (1, 0.2), (3, 0.3)):
        reader.see(track, time_s, points(track, {}))
    assert [reader.signals(track, 0, 1) is not None for track in (1, 2, 3)] == [True, False, True]


def test_long_stretches_cost_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SignalReader()
    for number in range(300):
        reader.see(0, number / 30, points(1, {}))
    assert reader.signals(0, 0, 10).frames == 32


def test_a_frame_is_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    real = reader_module.fit
    monkeypatch.setattr(reader_module, "fit", lambda points, *rest: counts.append(len(points)) or real(points, *rest))
    reader = SignalReader()
    for number in range(20):
        reader.see(0, number / 10, points(1, {}))
        if number >= 9:
            assert reader.signals(0, number / 10 - 1.01, number / 10).frames == min(11, number + 1)
    assert counts == [10] + [1] * 10


def test_given_landmarks_win() -> None:
    reader = SignalReader()
    frames = [Frame(np.zeros((40, 40, 3), np.uint8), index) for index in range(3)]
    given = np.stack([points(4, {"AU26": 1.0})] * 3)
    assert len(list(Listening(WholeFrame(), reader, given).track(frames))) == 3
    assert reader.signals(0, 0, 1).units["AU26"] > 0.4
    silent = SignalReader()
    list(Listening(WholeFrame(), silent).track(frames))
    assert silent.signals(0, 0, 1) is None


@pytest.fixture(scope="module")
def signalling() -> Recognizer:
    return Recognizer("slowr50_sa", weights="random", engine="onnxruntime", detector="haar", signals=True)


def test_predictions_with_and_without(
    recognizer: Recognizer, signalling: Recognizer, astronaut_frames: list[np.ndarray]
) -> None:
    plain, more = recognizer.predict(astronaut_frames[:8]), signalling.predict(astronaut_frames[:8])
    assert plain.signals is None
    assert "signals" not in plain.to_dict()
    assert more.signals.frames > 0
    assert more.signals.units["AU12"] > 0.4, "a broad smile"
    assert more.signals.valence > 0.2
    np.testing.assert_array_equal(plain.probabilities, more.probabilities)
    assert json.loads(json.dumps(more.to_dict()))["signals"]["units"]["AU12"] == more.signals.units["AU12"]
    (batch,) = signalling.predict_batch([astronaut_frames[:8]])
    assert batch.signals == more.signals
    left, top, right, bottom = (max(0, round(edge)) for edge in more.box)
    crops = [np.ascontiguousarray(frame[top:bottom, left:right]) for frame in astronaut_frames[:8]]
    assert signalling.predict(crops, faces="cropped").signals is not None


def test_signals_need_landmarks() -> None:
    with pytest.raises(WeightsNotFound, match="signals are read from landmarks"):
        Recognizer("slowr50_sa", weights="random", engine="onnxruntime", landmark_detector=None, signals=True)


def test_sinks(signalling: Recognizer, astronaut_frames: list[np.ndarray], tmp_path: Path) -> None:
    single = signalling.timeline(astronaut_frames[:8])
    (first,) = single.observations
    silent = dataclasses.replace(first, prediction=dataclasses.replace(first.prediction, signals=None))
    plain = dataclasses.replace(single, observations=(silent,))
    later = dataclasses.replace(silent, start_s=first.time_s, time_s=first.time_s + 1)
    several = dataclasses.replace(single, observations=(first, later))
    write_csv(tmp_path / "a.csv", several)
    write_csv(tmp_path / "b.csv", plain)
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["AU12"]) == pytest.approx(first.prediction.signals.units["AU12"], abs=1e-4)
    assert rows[1]["AU12"] == rows[1]["valence"] == ""
    assert {"intensity", "valence", "arousal"} <= set(rows[0])
    assert "AU12" not in (tmp_path / "b.csv").read_text()
    pytest.importorskip("matplotlib")
    for name, shown in (("a", single), ("b", plain), ("c", several)):
        write_plot(tmp_path / f"{name}.png", shown, "title")
    heights = {name: int.from_bytes((tmp_path / f"{name}.png").read_bytes()[20:24], "big") for name in "abc"}
    assert heights["a"] == heights["c"] > heights["b"]


def test_the_command_line(astronaut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(astronaut), "--weights", "random", "--engine", "onnxruntime", "--detector", "haar"]
    assert main([*words, "--signals"]) == 0
    assert "signals: AU12" in capsys.readouterr().out


def test_the_smile_of_a_real_video(media: Path, yunet: Path) -> None:
    """README of the data: neutral 0-16, smile 20-69, neutral 71."""
    from dfer_edge.faces import FaceFinder, FaceFollower, make_detector, make_landmark_detector
    from dfer_edge.sources.opening import open_source

    reader = SignalReader()
    finder = FaceFinder(make_detector(yunet), make_landmark_detector())
    for _ in Listening(FaceFollower(finder), reader).track(open_source(media / "video" / "single_face.mp4")):
        pass
    calm, smile = reader.signals(0, 0.0, 16 / 30 + 0.01), reader.signals(0, 20 / 30 - 0.01, 69 / 30)
    assert calm.units["AU12"] < 0.25
    assert smile.units["AU12"] > 0.5
    assert smile.valence > calm.valence + 0.25


def test_streams_carry_signals() -> None:
    people = {0: lambda index: HERE}

    class Seen(Script):
        """The script's face smiles from the thirtieth frame on."""

        def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
            for frame, faces in super().track(frames):
                marks = points(5, {"AU12": 0.9} if frame.index >= 30 else {})
                yield frame, tuple(dataclasses.replace(face, landmarks=marks) for face in faces)

    watching = Watching(Seen(people), SignalReader())
    made = dataclasses.replace(network(), watching=lambda faces: watching)
    session = Session(made, Options(hop_s=0, window_s=0.4))
    found = [observation for index in range(60) for observation in session.push(image(index), index / 25)]
    smiles = [observation.prediction.signals.units["AU12"] for observation in found]
    assert smiles[-1] > smiles[29] + 0.5
    assert found[-1].prediction.signals.frames == 11
    assert "signals" in found[-1].to_dict()["prediction"]
