"""The follower in a scripted world, and on real videos."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import InvalidInput
from dfer_edge.faces import FaceFinder, FaceFollower, FaceTracker, make_landmark_detector
from dfer_edge.faces.detectors import HaarDetector, YuNetDetector
from dfer_edge.faces.matching import match, pairs
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Box, Detection, Frame
from tests.faces.world import World, face_at

RATES = (10, 25, 60)


def identities(world: World, seconds: float, follower: FaceFollower | None = None) -> dict[int, set[int]]:
    """Person -> every identity that they were given."""
    follower, found = follower or world.follower(), defaultdict(set)
    for frame in world.frames(seconds):
        for person, identity in world.who(follower.update(frame)).items():
            found[person].add(identity)
    return dict(found)


@pytest.mark.parametrize("fps", RATES)
def test_a_still_face_costs_a_search_every_second_beat_and_no_look(fps: int) -> None:
    world = World(lambda _: {1: face_at(200, 150)}, fps)
    follower = world.follower()
    for frame in world.frames(2.95):
        (face,) = follower.update(frame)
        assert face.box == pytest.approx(face_at(200, 150), abs=1e-3)
        assert face.landmarks is not None
    assert world.searches == 2, "at 0 and 2 seconds, whatever the rate"
    assert world.looks == 1


@pytest.mark.parametrize("aligns", [True, False])
@pytest.mark.parametrize("fps", RATES)
def test_a_moving_face_is_followed_by_its_landmarks(fps: int, aligns: bool) -> None:
    at = lambda t: face_at(120 + 150 * t, 150, 60 + 10 * t)  # noqa: E731
    world = World(lambda t: {1: at(t)}, fps)
    follower = world.follower(aligns)
    for frame in world.frames(2):
        (face,) = follower.update(frame)
        assert face.track_id == 0
        assert face.box.iou(at(frame.time_s)) > 0.9
    assert world.searches <= 9, "motion calls for three a second at most"
    assert world.looks <= 62, "thirty a second suffice"


@pytest.mark.parametrize("fps", RATES)
def test_half_a_second_out_of_sight_is_the_same_person_and_is_not_shown(fps: int) -> None:
    hidden = lambda t: 1 <= t < 1.5  # noqa: E731
    world = World(lambda t: {} if hidden(t) else {1: face_at(200 + 40 * t, 150)}, fps)
    follower, seen = world.follower(), []
    for frame in world.frames(2.5):
        faces = follower.update(frame)
        assert not faces or not hidden(frame.time_s), "no face is made up"
        seen += [(frame.time_s, face.track_id) for face in faces]
    assert {identity for _, identity in seen} == {0}
    assert min(t for t, _ in seen if t > 1.2) <= 1.5 + 0.1 + 1 / fps, "found again within a tenth of a second"


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("aligns", [True, False])
def test_two_people_who_cross_keep_their_identities(fps: int, aligns: bool) -> None:
    world = World(lambda t: {1: face_at(120 + 180 * t, 150), 2: face_at(480 - 160 * t, 160, 66)}, fps)
    found = identities(world, 2, world.follower(aligns))
    assert sorted(map(sorted, found.values())) == [[0], [1]]


@pytest.mark.parametrize("fps", RATES)
def test_one_passes_behind_another_who_stands(fps: int) -> None:
    world = World(lambda t: {1: face_at(100 + 140 * t, 150), 2: face_at(320, 155, 90)}, fps)
    found = identities(world, 3.2)
    assert sorted(map(sorted, found.values())) == [[0], [1]]


class Haired(World):
    """The head of person 2, who is in front, is wider than the face by hair; who is behind the face is not seen."""

    def _shows(self, person: int, people: dict[int, Box]) -> bool:
        return person == 2 or people[1].iou(people[2]) == 0

    def frame(self, index: int, time_s: float | None = None) -> Frame:
        frame = super().frame(index, time_s)
        left, top, right, bottom = self._script(frame.clock_s)[2].rounded()
        face = frame.image[top:bottom, left:right].copy()
        frame.image[top - 20 : bottom, left - 20 : right + 20] = (20, 15, 10)
        frame.image[top:bottom, left:right] = face
        return frame


@pytest.mark.parametrize("fps", RATES)
def test_who_comes_out_behind_somebodys_hair_is_not_another(fps: int) -> None:
    world = Haired(lambda t: {1: face_at(120 + 140 * t, 150), 2: face_at(320, 155, 72)}, fps)
    assert sorted(map(sorted, identities(world, 3.2).values())) == [[0], [1]]


def test_people_who_meet_and_turn_back_keep_their_identities() -> None:
    meet = lambda t: 100 * min(t, 3 - t)  # noqa: E731
    world = World(lambda t: {1: face_at(180 + meet(t), 150), 2: face_at(460 - meet(t), 150)}, 25)
    assert sorted(map(sorted, identities(world, 3).values())) == [[0], [1]]


def test_who_comes_back_elsewhere_is_known_by_looks_and_another_is_not() -> None:
    def script(t: float) -> dict[int, Box]:
        if t < 1:
            return {1: face_at(150, 150)}
        if 6 <= t < 7:
            return {1: face_at(480, 200, 72)}
        return {2: face_at(150, 150)} if 12 <= t < 13 else {}

    assert identities(World(script), 13) == {1: {0}, 2: {1}}


def test_a_minute_later_nobody_is_remembered() -> None:
    world = World(lambda t: {1: face_at(150, 150)} if t < 1 or t > 40 else {}, 5)
    assert identities(world, 42) == {1: {0, 1}}


def test_a_cut_to_another_person_at_the_same_place_ends_the_identity_and_the_way_back_finds_it() -> None:
    scenes = [World(lambda _, p=p: {p: face_at(320, 180, 120)}, background=p) for p in (1, 2)]
    follower = scenes[0].follower()
    seen = []
    for index in range(60):
        world = scenes[index // 20 % 2]
        if index % 20 == 0:
            follower._finder = FaceFinder(world, world)
        (face,) = follower.update(world.frame(index))
        seen.append(face.track_id)
    assert seen == [0] * 20 + [1] * 20 + [0] * 20


def test_another_person_at_the_same_place_before_the_same_wall_is_another() -> None:
    """No cut of the picture as a whole: only the face changes."""
    world = World(lambda t: {1 if t < 1 else 2: face_at(320, 180, 50)})
    assert identities(world, 2) == {1: {0}, 2: {1}}


def test_a_newcomer_is_seen_by_the_motion_and_by_the_beat() -> None:
    world = World(lambda t: {1: face_at(150, 150)} | ({2: face_at(450, 150, 80)} if t >= 1.2 else {}), 25)
    follower = world.follower()
    first = min(frame.time_s for frame in world.frames(3) if len(follower.update(frame)) == 2)
    assert first <= 1.5 + 1e-6
    assert world.searches <= 5


@pytest.mark.parametrize(("width", "seen_s"), [(50, 1.0), (12, 2.0)])
def test_a_newcomer_who_hardly_stirs_the_picture_is_seen_by_the_beat(width: int, seen_s: float) -> None:
    """Comes half a second after a search: too small for the motion, for one beat, or for all but two."""
    world = World(lambda t: {1: face_at(150, 150)} | ({2: face_at(450, 150, width)} if t >= 0.5 else {}), 25)
    follower = world.follower()
    first = min(frame.time_s for frame in world.frames(3) if len(follower.update(frame)) == 2)
    assert first == pytest.approx(seen_s, abs=0.05)


def test_pictures_without_a_clock_are_searched_whenever_they_change() -> None:
    """A folder of pictures, a time lapse: who is in one of them alone is found in it."""
    world = World(lambda t: {1: face_at(150, 150)} | ({2: face_at(450, 150, 40)} if round(t * 25) in (5, 9) else {}))
    follower = world.follower()
    seen = [len(follower.update(Frame(world.frame(index).image, index))) for index in range(15)]
    assert [index for index, count in enumerate(seen) if count == 2] == [5, 9]
    assert min(seen) == 1
    assert world.searches <= 6


def test_an_empty_scene_is_not_searched_frame_by_frame() -> None:
    world = World(lambda _: {})
    follower = world.follower()
    assert not any(follower.update(frame) for frame in world.frames(3.9))
    assert world.searches == 4


def test_a_face_that_its_landmarks_do_not_see_is_searched_for() -> None:
    world = World(lambda t: {1: face_at(100 + 100 * t, 150)})
    follower = FaceFollower(FaceFinder(world, Blind()))
    assert [len(follower.update(frame)) for frame in world.frames(1)] == [1] * 25
    plain = World(lambda t: {1: face_at(100, 150)})
    assert [len(FaceFollower(plain).update(frame)) for frame in plain.frames(0.2)] == [1] * 5
    assert plain.searches == 5, "without landmarks there is no following"


@pytest.mark.parametrize(("scored", "last_s"), [(False, 5), (True, 30)])
def test_a_face_that_the_detector_loses_is_followed_for_a_while(scored: bool, last_s: int) -> None:
    """Longer by a landmark network that says whether it sees a face."""
    world = World(lambda _: {1: face_at(200, 150)}, 5)

    class Once:
        name = "once"
        searches = 0

        def detect(self, image: np.ndarray) -> list[Detection]:
            self.searches += 1
            return [Detection(face_at(200, 150), 0.9)] if self.searches == 1 else []

    landmarks = World(lambda _: {1: face_at(200, 150)})
    landmarks.frame(0)
    if scored:
        landmarks.detect_scored = None  # only asked for
    follower = FaceFollower(FaceFinder(Once(), landmarks))
    seen = [frame.time_s for frame in world.frames(33) if follower.update(frame)]
    # The first search that misses it comes after two beats, the others after one each.
    assert seen[-1] == pytest.approx(last_s + 1, abs=0.3)


class Blind:
    """Sees no face."""

    name = "blind"

    def detect(self, image: np.ndarray, box: Box) -> None:
        return None


def test_clocks_that_go_back_or_leap_are_new_scenes_without_an_error() -> None:
    world = World(lambda _: {1: face_at(200, 150)})
    follower = world.follower()
    for index, time_s in enumerate([0, 0.04, 0.02, 0.08]):
        assert [face.track_id for face in follower.update(world.frame(index, time_s))] == [0]
    assert follower.last != "cut", "stamps may jitter"
    for index, time_s in enumerate([9, 9.04, 0, 0.04, 9, float("nan")]):
        assert [face.track_id for face in follower.update(world.frame(index, time_s))] == [0], "known by looks"
        assert (follower.last == "cut") == (index in (0, 2, 4)), index


def test_frames_of_another_size_are_a_new_scene() -> None:
    follower = None
    for width in (640, 320, 641):
        world = World(lambda _: {1: face_at(160, 120)}, size=(width, 240))
        follower = follower or world.follower()
        follower._finder = FaceFinder(world, world)
        assert len(follower.update(world.frame(0))) == 1
        assert follower.last == "cut"


@pytest.mark.parametrize("shape", [(1, 1), (16, 1000), (1000, 16), (4320, 7680)])
def test_odd_frames(shape: tuple[int, int]) -> None:
    for find in (HaarDetector(), Everywhere()):
        follower = FaceFollower(FaceFinder(find, make_landmark_detector("auto", 1)))
        for index in range(3):
            image = np.full((*shape, 3), 40 * index, np.uint8)
            follower.update(Frame(image, index, index * 0.5))


class Everywhere:
    """A face larger than the frame, one of a pixel and one outside."""

    name = "everywhere"

    def detect(self, image: np.ndarray) -> list[Detection]:
        height, width = image.shape[:2]
        edges = [(-width, -height, 2 * width, 2 * height), (0, 0, 1, 1), (width + 5, 0, width + 50, 40)]
        return [Detection(Box(*box), 0.9) for box in edges]


def test_a_hundred_faces_keep_their_identities() -> None:
    places = [(40 + 110 * (n % 10), 40 + 90 * (n // 10)) for n in range(100)]
    world = World(lambda t: {n: face_at(x + 12 * t, y, 40) for n, (x, y) in enumerate(places)}, size=(1200, 960))
    found = identities(world, 0.6)
    assert sorted(map(sorted, found.values())) == [[n] for n in range(100)]


@pytest.mark.parametrize("answer", [Box(float("nan"), 0, 9, 9), Box(0, 0, float("inf"), 9)])
def test_boxes_that_are_no_numbers_are_refused(answer: Box) -> None:
    class Broken:
        name = "broken"

        def detect(self, image: np.ndarray) -> list[Detection]:
            return [Detection(answer, 0.9)]

    with pytest.raises(InvalidInput, match="expected finite face boxes from broken"):
        FaceFollower(Broken()).update(World(lambda _: {}).frame(0))


def test_scores_that_are_no_numbers_are_refused() -> None:
    class Broken:
        name = "broken"

        def detect(self, image: np.ndarray) -> list[Detection]:
            return [Detection(face_at(100, 100), float("nan"))]

    with pytest.raises(InvalidInput, match="expected finite scores from broken, got nan"):
        FaceFollower(Broken()).update(World(lambda _: {}).frame(0))


@pytest.mark.parametrize("answer", [None, 3, [(0, 0, 9, 9)]])
def test_answers_that_are_no_detections_are_refused(answer: object) -> None:
    class Broken:
        name = "broken"

        def detect(self, image: np.ndarray) -> object:
            return answer

    with pytest.raises(InvalidInput, match="expected a list of Detection from broken, got"):
        FaceFollower(Broken()).update(World(lambda _: {}).frame(0))  # type: ignore[arg-type]


def test_landmarks_that_are_no_numbers_are_refused() -> None:
    class Broken:
        name = "broken"

        def detect(self, image: np.ndarray, box: Box) -> np.ndarray:
            return np.full((68, 2), np.nan, np.float32)

    world = World(lambda _: {1: face_at(100, 100)})
    with pytest.raises(InvalidInput, match="expected 68 finite points"):
        FaceFollower(FaceFinder(world, Broken())).update(world.frame(0))


def test_greedy_pairs_are_the_optimal_ones_among_faces(rng: np.random.Generator) -> None:
    """Faces that moved by up to a third of their size, in crowds: three pairs in two hundred may differ."""
    assign = pytest.importorskip("scipy.optimize").linear_sum_assignment
    same = total = 0
    for _ in range(200):
        old = [face_at(*rng.uniform(0, 400, 2), rng.uniform(40, 80)) for _ in range(12)]
        moves = rng.normal(0, 8, (12, 2))
        new = [Box(b.left + x, b.top + y, b.right + x, b.bottom + y) for b, (x, y) in zip(old, moves, strict=True)]
        shared = np.asarray([[a.iou(b) for b in new] for a in old])
        best = {(i, j) for i, j in zip(*assign(-shared), strict=True) if shared[i, j] >= 0.3}
        same, total = same + len(best & set(match(old, new, 0.3))), total + len(best)
    assert same >= 0.985 * total


def test_matching_takes_the_best_first_and_leaves_the_impossible() -> None:
    boxes = [Box(x, 0, x + 100, 100) for x in (0, 60, 50, 300)]
    assert match(boxes[:2], boxes[2:], 0.2) == [(1, 0)]
    assert pairs(np.asarray([[np.inf, 1.0], [np.inf, 0.5]])) == [(1, 1)]
    assert match([], boxes, 0.2) == match(boxes, [], 0.2) == []


@pytest.fixture(scope="module")
def finder(yunet: Path) -> FaceFinder:
    return FaceFinder(YuNetDetector(yunet), make_landmark_detector("auto", 1))


def test_face_that_vanishes_is_followed_to_its_last_frame(media: Path, finder: FaceFinder) -> None:
    source = open_source(media / "video" / "face_then_none.mov")
    seen = [(frame.index, face.track_id) for frame, faces in FaceFollower(finder).track(source) for face in faces]
    assert seen == [(index, 0) for index in range(72)]


@pytest.mark.parametrize(("name", "people"), [("two_people_head_pose.gif", 2), ("three_people_walking.gif", 3)])
def test_people_keep_their_identity(media: Path, finder: FaceFinder, yunet: Path, name: str, people: int) -> None:
    raw, shared, ids = YuNetDetector(yunet), [], []
    for frame, faces in FaceFollower(FaceFinder(raw, finder.landmarks, False)).track(
        open_source(media / "video" / name)
    ):
        ids.append({face.track_id for face in faces})
        if frame.index % 4 == 0:
            shared += [max(face.box.iou(truth.box) for face in faces) for truth in raw.detect(frame.image)]
    assert all(found == set(range(people)) for found in ids)
    assert np.mean(shared) >= 0.8


@pytest.mark.parametrize("rate", [5, 30, 60])
def test_the_tracker_of_the_first_release_follows_in_seconds(rate: int) -> None:
    """A face in sight, out of sight for half a second and back is one person, whatever the rate; frames between looks
    are looked at as well."""
    seen = [1] * rate + [0] * (rate // 2) + [1] * rate

    class Seen:
        name = "seen"

        def detect(self, image: np.ndarray) -> list[Detection]:
            return [Detection(Box(5, 5, 25, 30), 1.0)] if image[0, 0, 0] else []

    frames = [Frame(np.full((64, 64, 3), 90 * s, np.uint8), k, k / rate) for k, s in enumerate(seen)]
    found = [faces for _, faces in FaceTracker(Seen(), stride=8, max_gap=30).track(frames)]
    assert [len(faces) for faces in found] == seen
    assert {face.track_id for faces in found for face in faces} == {0}
