"""Frames pushed in, observations out."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest

from dfer_edge import InvalidInput
from dfer_edge.live import Options, Session
from dfer_edge.live.options import make_options
from tests.live.fakes import HERE, SPEC, Scorer, image, network


def pushed(session: Session, times_s: list[float], **options: object) -> list[list]:
    return [session.push(image(k), time_s, **options) for k, time_s in enumerate(times_s)]


def test_an_observation_every_hop_from_the_first_frame_on() -> None:
    times = [k / 25 for k in range(50)]
    found = pushed(Session(network(), Options(hop_s=0.1)), times)
    spoken = [times[k] for k, observations in enumerate(found) if observations]
    assert spoken[0] == 0
    # 0.1 s is no whole number of frames: the first frame at or after each moment.
    np.testing.assert_allclose(spoken[:6], [0, 0.12, 0.2, 0.32, 0.4, 0.52], atol=1e-6)
    assert len(spoken) == 20
    every = pushed(Session(network(), Options(hop_s=0)), times)
    assert all(len(observations) == 1 for observations in every)


def test_what_an_observation_says() -> None:
    session = Session(network(), Options(hop_s=0, window_s=0.4, frames=True))
    for k in range(12):
        (found,) = session.push(image(k), 10 + k / 25, "left")
    assert (found.source, found.track_id, found.box, found.frame_index) == ("left", 0, HERE, 11)
    assert found.time_s == pytest.approx(10.44)
    assert found.start_s == pytest.approx(found.time_s - 0.3, abs=0.03), "three of four segments back"
    assert found.prediction.frame_indices[-1] == 11
    assert found.raw.label == SPEC.labels[11 % 7]
    assert found.raw.probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert abs(found.captured_s - time.time()) < 5
    assert 0 <= found.age_ms < 5000
    assert found.seen == 1.0
    assert found.has_face
    np.testing.assert_array_equal(found.frame, image(11))
    assert json.loads(json.dumps(found.to_dict()))["source"] == "left"


def test_age_counts_from_the_capture_that_is_told() -> None:
    session = Session(network(), Options(hop_s=0))
    (found,) = session.push(image(0), captured_s=time.time() - 2.0)
    assert 1990 < found.age_ms < 5000
    assert found.captured_s == pytest.approx(time.time() - 2.0, abs=2)


def test_nobody_is_said_and_a_label_never_outlives_a_face() -> None:
    people = {0: lambda index: HERE if 5 <= index < 10 else None}
    found = pushed(Session(network(people), Options(hop_s=0)), [k / 10 for k in range(20)])
    faces = [observations[0].has_face for observations in found]
    assert faces == [5 <= k < 10 for k in range(20)]
    nobody = found[0][0]
    assert (nobody.prediction.label, nobody.track_id, nobody.prediction.confidence) == ("no face", -1, 0.0)
    assert nobody.prediction.probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert found[7][0].seen == pytest.approx(3 / 8)
    quiet = pushed(Session(network(people), Options(hop_s=0, no_face=False)), [k / 10 for k in range(20)])
    assert [len(observations) for observations in quiet] == [int(5 <= k < 10) for k in range(20)]


def test_cameras_do_not_mix_and_people_that_left_are_forgotten() -> None:
    scorer = Scorer()
    session = Session(network(scorer=scorer), Options(hop_s=0, window_s=1.0))
    for k in range(10):
        session.push(image(k), k / 10, "a")
    session.push(image(0), 0.0, "b")
    assert scorer.calls[-1] == [(0, 0, 0, 0)]
    assert len(session._observer) == 2
    gone = Session(
        network({k: lambda index, k=k: HERE if index == k else None for k in range(50)}), Options(window_s=0.5)
    )
    pushed(gone, [k / 10 for k in range(50)])
    assert len(gone._observer) <= 6


def test_the_clock_may_jump(caplog: pytest.LogCaptureFixture) -> None:
    times = [0.0, 0.1, 0.2, 0.19, 0.3, -500.0, -499.9, -499.8, 90.0]
    found = [observation.time_s for (observation,) in pushed(Session(network(), Options(hop_s=0)), times)]
    assert all(b > a for a, b in itertools.pairwise(found))
    assert found[5] - found[4] < 0.2
    assert found[7] - found[6] == pytest.approx(0.1)
    assert caplog.text.count("went back") == 1


def test_only_the_largest_of_a_crowd_are_scored() -> None:
    crowd = {k: lambda index, k=k: HERE._replace(right=45 + k) for k in range(100)}
    scorer = Scorer()
    found = Session(network(crowd, scorer), Options(hop_s=0, max_people=5)).push(image(0), 0.0)
    assert sorted(o.track_id for o in found) == [95, 96, 97, 98, 99]
    assert len(scorer.calls) == 1, "everyone in one call"


def test_a_closed_session_says_so() -> None:
    with Session(network(), Options()) as session:
        session.push(image(0))
    with pytest.raises(InvalidInput, match="closed"):
        session.push(image(0))
    session.close()


@pytest.mark.parametrize("frame", [np.zeros((4, 4, 3), np.uint8), np.zeros((64, 64), np.uint8), "frame", None])
def test_bad_frames(frame: object) -> None:
    with pytest.raises(InvalidInput, match="expected the frame"):
        Session(network(), Options()).push(frame)


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), "1"])
@pytest.mark.parametrize("name", ["time_s", "captured_s"])
def test_times_that_are_none_are_refused(name: str, moment: object) -> None:
    with pytest.raises(InvalidInput, match="expected a time in seconds"):
        Session(network(), Options()).push(image(0), **{name: moment})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": -1}, "hop of at least"),
        ({"window": float("nan")}, "window of at least"),
        ({"hop": 1, "hop_s": 1}, "got both"),
        ({"deadline_ms": 0}, "deadline_ms of at least"),
        ({"smoothing": "kalman"}, "exponential, hmm, off"),
        ({"queue": 0}, "queue as a whole number"),
        ({"unknown_below": 2}, "unknown_below of 0 to 1"),
        ({"windows": 1}, "expected options out of .*window_s.*got windows"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make_options(**options)
