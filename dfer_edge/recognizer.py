"""`Recognizer`: a network on an engine, from frames to labels."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dfer_edge.confidence import Confidence
from dfer_edge.engines import DeviceName, EngineName, PrecisionName
from dfer_edge.engines.base import LOGITS, Engine, FloatArray
from dfer_edge.errors import DferError, InvalidInput, NoFaceFound, WeightsNotFound
from dfer_edge.export.loading import Request, load, load_embedding, require_whole
from dfer_edge.faces import Detector, LandmarkDetector, for_network, make_detector
from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.prepared import FaceStore
from dfer_edge.flow import preprocess
from dfer_edge.flow.call_checks import bounded, checked_plan
from dfer_edge.flow.clips import WINDOW_S
from dfer_edge.flow.pipeline import Window, WindowPlan
from dfer_edge.flow.postprocess import to_prediction
from dfer_edge.flow.summary import Recorder, summarise
from dfer_edge.inference.parts import EMBEDDING
from dfer_edge.inference.registry import ModelName, find, resolve
from dfer_edge.live.batching import Network
from dfer_edge.live.capture import open_feeds
from dfer_edge.live.framing import Framing
from dfer_edge.live.networks import load_network
from dfer_edge.live.options import make_options
from dfer_edge.live.session import Session
from dfer_edge.live.stages import OnFrame
from dfer_edge.live.stream import LiveStream
from dfer_edge.signals import SignalReader
from dfer_edge.sources.frames import Source
from dfer_edge.system.call_lock import CallLock
from dfer_edge.system.stopwatch import Stopwatch
from dfer_edge.types import (
    Clip,
    Faces,
    Observation,
    Points,
    Prediction,
    Signals,
    Timeline,
)

Progress = Callable[[int, int | None], None]

# Samples of one engine call: bounds memory with many faces.
_MAX_BATCH = 8


class Recognizer:
    """Recognises the facial expression of people over time.

    Threads may share one: decoding and cropping run side by side, calls of the detector and of the engine take turns.
    A stream or session is one thread's own. What a fork and pickling do to it is in ``docs/threads.md``.

    Parameters
    ----------
    name
        One of :func:`dfer_edge.list_models`, or ``"auto"``: the one that reads real people best for its cost, as
        measured (README); ``dfer-edge doctor`` names it.
    weights
        ``"default"`` (shipped), ``"random"`` (seeded, for speed work; every result says so), a ``.safetensors`` file,
        or an ``.onnx`` file written by :func:`dfer_edge.export.export_onnx`.
    engine
        ``auto``, ``openvino``, ``onnxruntime``, ``torch`` or ``tensorrt``.
    precision
        ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``. A request that cannot be met is an error. ``auto`` takes
        bf16 where processor and engine have it, else fp32; where there are ranges for int8, all that can run is
        measured once and the fastest within the accuracy budget is taken (:mod:`dfer_edge.engines.planner`).
    device
        ``cpu``, ``cuda``, or ``auto``: the CPU, also where there is a GPU, but ``cuda`` for engine ``tensorrt``.
    detector
        ``auto`` (the shipped detector), ``haar``, ``yunet`` (after a fetch), an ONNX file, or an object that has
        ``detect`` (see :func:`dfer_edge.faces.make_detector`).
    threads
        CPU threads of the engine; all cores of this process if None.
    landmark_detector
        Follows faces between searches, lays face boxes where the network wants that, and gives landmarks to networks
        that take them: ``auto`` (the file that ``DFER_EDGE_LANDMARKS`` names, else the shipped network), a file, an
        object that has ``detect`` (see :func:`dfer_edge.faces.make_landmark_detector`). With None the detector runs on
        each frame, boxes are its own, and landmarks are given with each call.
    calibration
        Ranges for int8, written by ``dfer-edge calibrate``; if None, ``X.ranges.json`` beside the weights
        ``X.safetensors``, if there.
    signals
        Fill ``Prediction.signals`` too: action units, intensity, valence and arousal from the landmarks of all frames
        (:mod:`dfer_edge.signals`); about half a millisecond a face and frame. Needs a landmark detector.
    unknown_risk
        The label is ``"unknown"`` where the network is less sure than it was on labelled data when at most this share
        (0 to 1) of its labels was wrong (:mod:`dfer_edge.confidence`); the probabilities stay. Weights have to state
        risk against confidence.
    prepared
        Folder where the faces found in files are kept, as ``dfer-edge prepare`` does, so that they are found once; None
        finds them each time.

    Raises
    ------
    InvalidInput, WeightsNotFound, EngineUnavailable, PrecisionUnavailable, CorruptArtifact, CalibrationError
    """

    def __init__(
        self,
        name: ModelName | Literal["auto"],
        weights: Literal["default", "random"] | str | Path = "default",
        engine: EngineName = "auto",
        precision: PrecisionName = "auto",
        device: DeviceName = "auto",
        detector: str | Path | Detector = "auto",
        threads: int | None = None,
        landmark_detector: str | Path | LandmarkDetector | None = "auto",
        calibration: str | Path | None = None,
        signals: bool = False,
        unknown_risk: float | None = None,
        prepared: str | Path | None = None,
    ) -> None:
        self._arguments = {key: value for key, value in locals().items() if key != "self"}
        if not isinstance(weights, (str, os.PathLike)) or not str(weights):
            raise InvalidInput(f'expected weights "default", "random" or a path, got {weights!r}')
        network = resolve(name)
        find(network)
        detector = make_detector(detector)
        self._request = Request(network, weights, engine, precision, device, threads, calibration)
        loaded = load(self._request)
        self._engine, self._lost = loaded.engine, dict(loaded.lost)
        if Path(weights).suffix == ".onnx":
            require_whole(self._engine, network)
        self.spec = self._engine.spec
        # Weights say whether boxes are laid by landmarks, and what their confidence is worth.
        try:
            self._confidence = Confidence.of(self._engine.metadata)
            self._least = 0.0 if unknown_risk is None else self._confidence.least(unknown_risk)
            found = for_network(self.spec, detector, landmark_detector, threads)
            store = None if prepared is None else FaceStore(prepared, found[0])
        except DferError:
            self._engine.close()
            raise
        self._detector, self._landmark_detector = found
        self._framing = Framing(self.spec, *found, signals, store)
        if signals and self._detector.landmarks is None:
            self._engine.close()
            what = "signals are read from landmarks: expected a landmark detector, got none"
            raise WeightsNotFound(what, faces_landmarks.CHOICES)
        keys = ("weights", "weights_sha256")
        label, digest = (self._engine.metadata[f"dfer_edge.{key}"] for key in keys)
        self._weights = {"name": label, "sha256": digest}
        self._loading = CallLock()

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        # By its arguments: the other process chooses and loads an engine of its own.
        return functools.partial(type(self), **self._arguments), ()

    def __repr__(self) -> str:
        engine = f"{self._engine.name} {self._engine.options.precision} on {self._engine.options.device}"
        return f"<Recognizer {self.spec.name}, weights {self._weights['name']}, {engine}>"

    # -- public ---------------------------------------------------------------------------------------------

    def predict(self, source: Any, faces: Faces = "detect", landmarks: Points | None = None) -> Prediction:
        """The expression of the person seen longest.

        Parameters
        ----------
        source
            A path to a video, image or image folder; a uint8 RGB array [T, H, W, 3]; or a sequence of [H, W, 3] arrays.
            Arrays and folders are one clip; videos longer than four seconds are cut in windows, whose mean is returned.
        faces
            ``"detect"``, or ``"cropped"`` if the frames are face crops already: upright, one face each, from brows and
            mouth up to twice the face. Weights whose crops landmarks lay (``info()["face_box"]``) have them laid within
            each frame; others read all of it, or its middle (``spec.crop_share``), and expect the crop that they were
            trained on: ``spec.face_margin`` times the longer side of a detector's box, square.
        landmarks
            float32 [T, 68, 2] in pixels of the frames, x then y, for networks that take them, and with
            ``faces="cropped"`` for those whose crops they lay; they win over those of the landmark detector. NaN, a
            frame with all points in one place (a failed detector) or all outside the frame is an error.

        Raises
        ------
        InvalidInput
            If the source is not what the call takes; the message says what came.
        NoFaceFound
            If no face is in any frame.
        WeightsNotFound
            If the network takes landmarks and there are neither landmarks nor a landmark detector.
        """
        plan = WindowPlan(WINDOW_S, WINDOW_S, longest_only=True)
        return self._timeline(source, faces, landmarks, plan, None).prediction

    def timeline(
        self,
        source: Any,
        faces: Faces = "detect",
        landmarks: Points | None = None,
        window_s: float = WINDOW_S,
        progress: Progress | None = None,
    ) -> Timeline:
        """Everything that :meth:`predict` sums up: each window of each person.

        Parameters
        ----------
        source, faces, landmarks
            As in :meth:`predict`.
        window_s
            Length of a window in seconds, at least 0.01, infinite for one window of all (sampled as in :meth:`clip`);
            the last window overlaps the one before, so that all are whole.
        progress
            Called with the frames done and the frames that the source declares (or None).

        Raises
        ------
        InvalidInput, NoFaceFound
        """
        return self._timeline(source, faces, landmarks, WindowPlan(window_s, window_s), progress)

    def predict_batch(self, sources: Sequence[Any], faces: Faces = "detect") -> list[Prediction]:
        """One prediction a source, each taken as a single clip, from one engine call for many clips.

        Long videos and folders are sampled as in :meth:`clip`.

        Raises
        ------
        InvalidInput
            For an empty list, or as in :meth:`predict`.
        NoFaceFound
            If a source has no face; the message names it.
        """
        if isinstance(sources, (str, bytes)) or not isinstance(sources, (Sequence, np.ndarray)) or not len(sources):
            raise InvalidInput(f"expected a list of at least one source, got {str(sources)[:80]!r}")
        watch = Stopwatch()
        clips: dict[int, Clip] = {}
        signals: dict[int, Signals | None] = {}
        for number, source in enumerate(sources):
            opened = bounded(source)
            found = self._only_clip(opened, faces, None, watch)
            if found is None:
                raise NoFaceFound(f"no face in any frame of source {number} ({opened.name})")
            clips[number], signals[number] = found
        return list(self._classify(clips, watch, signals).values())

    def clip(self, source: Any, faces: Faces = "detect", landmarks: Points | None = None) -> Clip:
        """What the network sees of ``source`` taken as a single clip: the sampled face crops of one person.

        For what looks inside a network: features, activations, calibration. Memory does not grow with the length of
        ``source``. Up to 64 frames of a person for each frame of the clip sampling is exact; beyond, every second one
        is dropped, again and again, and a sampled frame lies within a 32nd of a segment of the exact one (at a constant
        frame rate). Arrays, which are in memory anyway, are sampled exactly.

        Raises
        ------
        InvalidInput
            As in :meth:`predict`.
        NoFaceFound
            If no face is in any frame.
        """
        opened = bounded(source)
        found = self._only_clip(opened, faces, landmarks, Stopwatch())
        if found is None:
            raise NoFaceFound(f"no face in any frame of {opened.name}")
        return found[0]

    def embed(self, source: Any, faces: Faces = "detect", landmarks: Points | None = None) -> FloatArray:
        """What the classifier reads of ``source`` taken as a single clip: float32 [D], the person seen longest.

        For search, clustering and classifiers of one's own. D is the width of the network's last layer (512 of
        ``slowr50_sa``, 2048 of ``slowr50``); networks that classify frames give the mean over the clip's frames. Its
        first call loads the network once more, up to its classifier, on the same engine and precision.

        Raises
        ------
        InvalidInput
            As in :meth:`predict`, and for a recogniser of an ``.onnx`` file, which ends in logits.
        NoFaceFound
        """
        clip, embedder = self.clip(source, faces, landmarks), self._embedder
        rows: FloatArray = embedder.infer(preprocess.to_feed([clip], self.spec, embedder.takes_pixels))[EMBEDDING]
        return np.asarray(rows.reshape(-1, rows.shape[-1]).mean(0), np.float32)

    def stream(
        self,
        source: Any,
        faces: Faces = "detect",
        window_s: float | None = None,
        hop_s: float | None = None,
        on_frame: OnFrame | None = None,
        **options: Any,
    ) -> LiveStream:
        """Observations of everyone on the newest frame, as frames come in, from the first one on.

        Of live sources the newest frame is taken and others are dropped and counted (:meth:`LiveStream.stats`); of
        files, arrays and iterators every frame is looked at. Features of frames that windows share are computed once,
        exactly, where the network has parts (not in int8, on a GPU and from ``.onnx`` files; the log says so once).

        Parameters
        ----------
        source
            A camera index or ``"/dev/video0"``, an address (rtsp, http), a GStreamer pipeline, a ``cv2.VideoCapture``,
            a file, folder or array, an iterator of frames or of (frame, time_s) pairs; a list of sources or a mapping
            from names to sources, of which all faces go through the engine together.
        faces
            As in :meth:`predict`.
        window_s, hop_s
            Seconds looked back and between observations, also spelt ``window`` and ``hop``: 4 and 0.1 s if None. A hop
            of 0 is every frame.
        on_frame
            Called from the stream's thread with each frame that was looked at: source, frame, faces.
        options
            Fields of :class:`dfer_edge.live.Options`, e.g. ``deadline_ms=50``.

        Raises
        ------
        InvalidInput, SourceNotFound
        """
        chosen = make_options(window_s=window_s, hop_s=hop_s, **options)
        return LiveStream(self._network, open_feeds(source, chosen.stall_s, chosen.rate), chosen, faces, on_frame)

    def session(self, faces: Faces = "detect", **options: Any) -> Session:
        """A stream whose frames the caller pushes: ``session.push(frame, time_s)`` gives observations.

        ``faces`` and ``options`` are those of :meth:`stream`.

        Raises
        ------
        InvalidInput
        """
        return Session(self._network, make_options(**options), faces)

    def info(self) -> dict[str, Any]:
        """What runs: model, weights, engine, precision, device, threads, input spec, simplifications, detectors.

        ``not_taken`` has the engines and precisions that were measured against it, and why they lost.
        """
        landmarks = self._detector.landmarks
        return {
            "model": self.spec.name,
            "weights": {**self._weights, "compact": self._engine.metadata.get("dfer_edge.weights_compact", "")},
            **self._engine.info(),
            "input": {name: list(shape) for name, shape in self._engine.input_shapes.items()},
            "labels": list(self.spec.labels),
            "simplifications": self._engine.metadata.get("dfer_edge.simplifications", ""),
            "conv_form": self._engine.metadata.get("dfer_edge.form", ""),
            "detector": self._detector.name,
            "face_box": "landmarks" if self._detector.aligns else "detector",
            "landmark_detector": landmarks.name if landmarks else None,
            "temperature": self._confidence.temperature,
            "unknown_below": self._least,
            "not_taken": dict(self._lost),
        }

    # -- inside ---------------------------------------------------------------------------------------------

    def _timeline(
        self, source: Any, faces: str, landmarks: Points | None, plan: WindowPlan, progress: Progress | None
    ) -> Timeline:
        watch, opened = Stopwatch(), bounded(source)
        windower = self._framing.windower(checked_plan(plan, opened), watch, opened, faces, landmarks)
        tracker, reader = self._framing.tracker(opened, faces, landmarks)
        recorder = Recorder(tracker, progress, opened.length_hint)
        observations, seen = [], []
        for window in windower.windows(opened, recorder):
            for observation in self._observe(window, watch, reader):
                observations.append(observation)
                seen.append(window.seen[observation.track_id])
        if not observations:
            frames = f"any of the {recorder.frame_count} frames" if recorder.frame_count > 1 else "the one frame"
            raise NoFaceFound(f"no face in {frames} of {opened.name}")
        timeline = summarise(observations, seen, recorder, watch, self._least)
        return dataclasses.replace(timeline, frames_lost=opened.frames_lost)

    def _only_clip(
        self, opened: Source, faces: str, landmarks: Points | None, watch: Stopwatch
    ) -> tuple[Clip, Signals | None] | None:
        windower = self._framing.windower(
            WindowPlan(math.inf, math.inf, longest_only=True), watch, opened, faces, landmarks
        )
        tracker, reader = self._framing.tracker(opened, faces, landmarks)
        window = next(windower.windows(opened, tracker), None)
        if window is None or not window.clips:
            return None
        track_id, clip = next(iter(window.clips.items()))
        return clip, reader.signals(track_id, -math.inf, math.inf) if reader else None

    def _observe(self, window: Window, watch: Stopwatch, reader: SignalReader | None) -> list[Observation]:
        signals: dict[int, Signals | None] = {}
        if reader is not None:
            with watch.stage("signals"):
                signals = {track: reader.signals(track, window.start_s, window.end_s) for track in window.clips}
        predictions = self._classify(window.clips, watch, signals)
        return [
            Observation(window.end_s, window.frame_index, track_id, prediction.box, prediction, window.start_s)
            for track_id, prediction in predictions.items()
        ]

    def _classify(
        self, clips: Mapping[int, Clip], watch: Stopwatch, signals: Mapping[int, Signals | None]
    ) -> dict[int, Prediction]:
        """Predictions by the same keys."""
        # Image networks score frames; a clip's probabilities are their mean.
        probabilities = [self._confidence.probabilities(np.atleast_2d(p)).mean(0) for p in self._score(clips, watch)]
        times = watch.lap()
        return {
            key: to_prediction(
                p, self.spec.labels, clip.frame_indices, clip.box, times, self._weights, signals.get(key), self._least
            )
            for (key, clip), p in zip(clips.items(), probabilities, strict=True)
        }

    def _score(self, clips: Mapping[int, Clip], watch: Stopwatch) -> list[FloatArray]:
        """Logits of the whole network, from as few engine calls as memory allows."""
        logits: list[FloatArray] = []
        batch = list(clips.values())
        for start in range(0, len(batch), _MAX_BATCH):
            part = batch[start : start + _MAX_BATCH]
            with watch.stage("preprocess"):
                feed = preprocess.to_feed(part, self.spec, self._engine.takes_pixels)
            with watch.stage("engine"):
                rows = self._engine.infer(feed)[LOGITS]
            logits.extend(rows.reshape(len(part), -1, self.spec.num_classes))
        return logits

    @functools.cached_property
    def _embedder(self) -> Engine:
        with self._loading:
            if "_embedder" not in self.__dict__:  # as in `_network`
                self.__dict__["_embedder"] = load_embedding(self._request, self._engine)
            made: Engine = self.__dict__["_embedder"]
            return made

    @functools.cached_property
    def _network(self) -> Network:
        with self._loading:
            # From Python 3.12 on the property has no lock: another thread may have made it while this one waited.
            if "_network" not in self.__dict__:
                rest = (self._confidence, self._least, self._landmark_detector, self._framing.watching)
                self.__dict__["_network"] = load_network(self._request, self._engine, self._weights, *rest)
            made: Network = self.__dict__["_network"]
            return made
