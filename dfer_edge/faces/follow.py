"""Following: everybody in the picture, frame by frame, with identities that last; causal, one call a frame.

Between searches the next box comes from the last landmarks: the landmark network looks where the face should be by now,
and says whether one is there. The detector runs when somebody is lost, on a slow beat for newcomers, when the picture
moves where nobody is followed, and after a cut. A face whose pixels have not changed is not looked at again.

Who was out of sight keeps the identity: for two seconds by place and size unless the looks forbid it, for thirty by
looks (:mod:`dfer_edge.faces.appearance`), wherever the face comes back, also after a cut. Of two followed faces that
fall together the one that jumped is taken to be hidden behind the other. All times are seconds of the source's clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dfer_edge.faces.aligned import FaceFinder, Found
from dfer_edge.faces.appearance import OTHER, SAME, SAME_AFTER_CUT, Look, look_of
from dfer_edge.faces.detectors import Detector
from dfer_edge.faces.geometry import box_of
from dfer_edge.faces.matching import match, overlaps, pairs
from dfer_edge.faces.person import Person
from dfer_edge.faces.scene import Patch, Scene
from dfer_edge.types import Box, Detection, Frame, Image, Points, TrackedFace

Faces = tuple[TrackedFace, ...]
# Whom the landmark network was asked about: points and their box, None where it sees no face.
Sights = dict[int, tuple[Points, Box] | None]

BEAT_S = 1.0
"""Seconds between searches in a calm scene; twice as many where nothing but faces that are known has moved."""

_SETTLED = 2

# Seconds between searches while somebody is missing or nobody is there, and while the picture moves.
_MISSING_S, _MOTION_S = 0.1, 0.3
# Share of the picture that must have changed since the last search for another one in these two cases, and where all
# are in sight and a beat has passed (hair and hands of those who are followed stay below).
_STIRRED, _MOVED, _CAME = 0.002, 0.02, 0.01
# Out of sight for longer than this, place means nothing; for longer than that, looks mean nothing.
_PLACE_S, _LOOKS_S = 2.0, 30.0
# People out of sight who are kept.
_MOST_ABSENT = 64
# Looks of the landmark network a second: at one face, and at all of them.
_LOOKS_A_FACE, _LOOKS_A_SECOND = 30.0, 60.0
# A face is where it was if its pixels differ by less than this many grey levels; if they do not even resemble what
# they were, who is there is checked.
_STILL_LEVELS, _ALIKE = 1.0, 0.5
# Least overlap: of a face found with the box in which it was looked for, and with the detector's box.
_PLAUSIBLE_IOU, _MATCH_IOU = 0.3, 0.3
# Two faces that overlap by more are one.
_ONE_IOU = 0.5
# Faces that overlap by less than this do not cover one another.
_CLEAR_IOU = 0.02
# A head is wider than its face's box by hair and ears, and so is the picture by which somebody is known again.
_HEAD = 1.5
# Searches in a row that may miss a face that the landmark network sees: one that answers whatever it is shown, and one
# that says whether it is a face (cascades lose tilted heads for good).
_MOST_MISSES, _MOST_MISSES_SCORED = 5, 30
# A clock may go back by this much; more is another scene.
_JITTER_S = 0.5


class FaceFollower:
    """Gives each frame its faces; see the module for how.

    Parameters
    ----------
    finder
        Shared by any number of followers. Without landmarks (or a plain detector) the detector runs on each frame.
    beat_s
        Seconds between searches in a calm scene; may be set at any time.
    postpones
        A search for others, while somebody is in sight, is left to :meth:`catch_up`: those in sight do not wait for it,
        and newcomers are among the faces of the frame after.

    Attributes
    ----------
    owes
        Whether the last frame is still to be searched.
    last
        What the last call did: ``cut``, ``detected``, ``followed`` (landmarks alone) or ``held`` (nothing moved).
    """

    def __init__(self, finder: FaceFinder | Detector, beat_s: float = BEAT_S, postpones: bool = False) -> None:
        self._finder = finder if isinstance(finder, FaceFinder) else FaceFinder(finder)
        self.beat_s, self.postpones, self.last = beat_s, postpones, "held"
        self._next_id = 0
        self.reset()

    def reset(self) -> None:
        """Forget everybody; numbers go on."""
        self._people: list[Person] = []
        self._scene = Scene()
        self._now_s = self._searched_s = -math.inf
        self._moving: set[int] = set()
        self._clocked = True
        self._owed: Image | None = None

    @property
    def owes(self) -> bool:
        return self._owed is not None

    def catch_up(self) -> None:
        """Search the last frame if that was put off; before the next one."""
        image, self._owed = self._owed, None
        if image is not None:
            self._search(image)

    def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Faces]]:
        """Every frame with its faces, in order, without lag."""
        for frame in frames:
            yield frame, self.update(frame)

    def update(self, frame: Frame) -> Faces:
        """The faces of the next frame, by ``track_id``; who is not in sight is not among them.

        Frames whose clock goes back or leaps, and frames of another size, begin another scene.

        Raises
        ------
        InvalidInput
            If a detector of the user's answers with something else than faces.
        """
        image, step_s = frame.image, self._tick(frame.clock_s)
        # Pictures without a clock may lie hours apart: newcomers are looked for in each that changed.
        self._clocked = frame.time_s is not None
        cut = self._scene.see(image) or not -_JITTER_S <= step_s <= _PLACE_S
        self._moving = set()
        strangers: list[Found] = []
        if cut:
            self._part(step_s)
        lost, self.last = False, "cut" if cut else "held"
        if not cut:
            lost, strangers = self._follow(image, max(0.0, step_s))
        if strangers:
            self._name(image, strangers)
        must, due = cut or lost, self._due()
        waits = not must and self.postpones and self._finder.landmarks is not None
        self._owed = image if due and waits and any(person.visible for person in self._people) else None
        if must or (due and not self.owes):
            self._search(image)
            self.last = "cut" if cut else "detected"
        self._forget()
        visible = sorted((p for p in self._people if p.visible), key=lambda person: person.track_id)
        for person in visible:
            person.seen_s = self._now_s
        return tuple(p.tracked(self._now_s, p.track_id in self._moving) for p in visible)

    def _tick(self, clock_s: float) -> float:
        """Set the clock; seconds since the frame before, infinite for the first."""
        step_s = clock_s - self._now_s
        if -_JITTER_S <= step_s < 0 or math.isnan(clock_s):
            clock_s, step_s = self._now_s, 0.0
        self._now_s = clock_s
        return step_s

    def _part(self, step_s: float) -> None:
        """Another scene: everybody is out of sight, and where they were means nothing."""
        for person in self._people:
            person.visible = person.located = False
            if not step_s >= 0:
                person.seen_s = person.looked_s = self._now_s

    # -- following by landmarks -----------------------------------------------------------------------------

    def _follow(self, image: Image, step_s: float) -> tuple[bool, list[Found]]:
        """Look where faces should be; whether one was lost, and faces of others in the place of somebody known."""
        visible = [person for person in self._people if person.visible]
        due, surprises = self._restless(image, step_s, visible)
        boxes = [person.expected(self._now_s) for person in due]
        found = zip(due, self._finder.look(image, boxes, [person.roll for person in due]), boxes, strict=True)
        sights = {person.track_id: _plausible(points, box) for person, points, box in found}
        if due:
            self.last = "followed"
        for person in due:
            person.visible = sights[person.track_id] is not None
        self._uncollapse(image, visible, sights)
        strangers = []
        for person in due:
            seen = sights[person.track_id]
            if not person.visible or seen is None:
                continue
            points, box = seen
            alone = person.track_id in surprises and self._clear(box, person)
            if alone and person.unlike(look_of(image, points)) > OTHER:
                strangers.append(Found(box, points, person.score))
                person.visible = person.located = False
                continue
            person.follow(points, box, self._now_s, Patch(image, box), self._finder.aligns)
        return any(not person.visible for person in visible) and not strangers, strangers

    def _restless(self, image: Image, step_s: float, visible: Sequence[Person]) -> tuple[list[Person], set[int]]:
        """Whom to look at: who moved, the longest waiting first; and who does not look the same at all."""
        if self._finder.landmarks is None:
            return [], set()
        moved, surprises = [], set()
        for person in visible:
            levels, likeness = person.patch.change(image)
            if levels <= _STILL_LEVELS and likeness >= _ALIKE:
                person.velocity = (0.0, 0.0)
                continue
            if likeness < _ALIKE:
                surprises.add(person.track_id)
            moved.append(person)
        self._moving = {person.track_id for person in moved}
        hasty = surprises | (self._crowded(visible) & self._moving)
        rested = [p for p in moved if p.track_id in hasty or (self._now_s - p.looked_s) * _LOOKS_A_FACE > 0.99]
        rested.sort(key=lambda person: (person.track_id not in hasty, person.looked_s))
        due = rested[: max(1, len(hasty), round(_LOOKS_A_SECOND * step_s))]
        self._moving -= {person.track_id for person in due}
        return due, surprises

    def _crowded(self, visible: Sequence[Person]) -> set[int]:
        """Who may be covered by another."""
        boxes = [person.box for person in visible]
        shared = overlaps(boxes, boxes)
        np.fill_diagonal(shared, 0.0)
        return {person.track_id for person, row in zip(visible, shared, strict=True) if row.max() >= _CLEAR_IOU}

    def _uncollapse(self, image: Image, visible: Sequence[Person], sights: Sights) -> None:
        """Of two people seen in one place, the one that jumped there or looks otherwise is hidden."""
        shown = [person for person in visible if person.visible]
        if len(shown) < 2:
            return
        places = [self._place(person, sights) for person in shown]
        shared = overlaps(places, places)
        for first, second in np.argwhere(np.triu(shared, 1) > _ONE_IOU).tolist():
            rivals = [shown[first], shown[second]]
            if all(person.visible for person in rivals):
                errors = [self._jump(image, person, sights) for person in rivals]
                rivals[int(errors[1] >= errors[0])].visible = False

    def _place(self, person: Person, sights: Sights) -> Box:
        seen = sights.get(person.track_id)
        return person.expected(self._now_s) if seen is None else seen[1]

    def _jump(self, image: Image, person: Person, sights: Sights) -> float:
        seen = sights.get(person.track_id)
        if seen is None:
            return 0.0
        (points, now), was = seen, person.expected(self._now_s)
        far = math.dist(now.centre, was.centre) / max(was.width, was.height, 1e-6)
        return far + person.unlike(look_of(image, points))

    # -- searching by the detector --------------------------------------------------------------------------

    def _due(self) -> bool:
        since_s = self._now_s - self._searched_s + 1e-6
        visible = [person for person in self._people if person.visible]
        boxes = [person.box for person in visible]
        if self._finder.landmarks is None or (not self._clocked and self._scene.moved(boxes) > _STIRRED):
            return True
        missing = any(not p.visible and p.located and self._now_s - p.seen_s <= _PLACE_S for p in self._people)
        # All there, as the last search said: nobody can have come where nothing stirs.
        settled = bool(visible) and not missing and not any(person.misses for person in visible)
        if since_s >= self.beat_s * (_SETTLED if settled else 1):
            return True
        if since_s < _MISSING_S:
            return False
        if missing or not visible:
            return self._scene.moved([]) > _STIRRED
        if since_s < min(_MOTION_S, self.beat_s):
            return False
        return self._scene.moved(boxes) > (_MOVED if since_s < self.beat_s else _CAME)

    def _search(self, image: Image) -> None:
        self._searched_s = self._now_s
        self._scene.searched()
        detections = self._finder.search(image)
        visible = [person for person in self._people if person.visible]
        known = match([p.expected(self._now_s) for p in visible], [d.box for d in detections], _MATCH_IOU)
        partners = {old: detections[new] for old, new in known}
        for position, person in enumerate(visible):
            self._check(image, person, partners.get(position))
        rest = [d for position, d in enumerate(detections) if position not in {new for _, new in known}]
        self._name(image, self._newcomers(image, rest))

    def _check(self, image: Image, person: Person, detection: Detection | None) -> None:
        """Somebody in sight, against what the detector says."""
        if detection is None:
            person.misses += 1
            scored = hasattr(self._finder.landmarks, "detect_scored")
            most = _MOST_MISSES_SCORED if scored else _MOST_MISSES
            person.visible = person.points is not None and person.misses < most
            return
        if person.points is None:
            (found,) = self._finder.place(image, [detection])
            person.confirm(found, self._now_s, Patch(image, found.box))
        else:
            own = person.track_id not in self._moving and not self._finder.aligns
            person.agree(detection.box if own else None, detection.score)
        if person.points is not None and person.looked_s == self._now_s and self._clear(person.box, person):
            person.remember(look_of(image, person.points))

    def _clear(self, box: Box, person: Person | None) -> bool:
        """Whether nobody in sight but ``person`` is in the way."""
        others = [other.box for other in self._people if other.visible and other is not person]
        return not others or float(overlaps([box], others).max()) < _CLEAR_IOU

    def _newcomers(self, image: Image, detections: Sequence[Detection]) -> list[Found]:
        """Faces found that are nobody's in sight."""
        visible = [person.expected(self._now_s) for person in self._people if person.visible]
        found = self._finder.place(image, detections)
        new: list[Found] = []
        for face in found:
            taken = visible + [other.box for other in new]
            if not taken or float(overlaps([face.box], taken).max()) <= _ONE_IOU:
                new.append(face)
        return new

    def _name(self, image: Image, found: Sequence[Found]) -> None:
        """Give faces to people out of sight, or new numbers."""
        absent = [person for person in self._people if not person.visible]
        looks = [self._look(image, face) for face in found]
        cost = np.full((len(absent), len(found)), np.inf)
        for row, person in enumerate(absent):
            for column, (face, look) in enumerate(zip(found, looks, strict=True)):
                cost[row, column] = self._cost(person, face, look)
        owners = {column: absent[row] for row, column in pairs(cost)}
        for column, (face, look) in enumerate(zip(found, looks, strict=True)):
            patch = Patch(image, face.box)
            person = owners.get(column) or self._new(face, patch)
            person.confirm(face, self._now_s, patch)
            if look is not None:
                person.remember(look)

    def _look(self, image: Image, face: Found) -> Look | None:
        """What a face looks like; None where another may cover it."""
        return look_of(image, face.points) if face.points is not None and self._clear(_head(face.box), None) else None

    def _cost(self, person: Person, face: Found, look: Look | None) -> float:
        """How unlikely it is that a face is that of somebody out of sight; infinite if it cannot be."""
        gap_s, unlike = self._now_s - person.seen_s, person.unlike(look)
        was = person.expected(self._now_s)
        far = math.dist(was.centre, face.box.centre) / max(person.reach(self._now_s), 1e-6)
        larger = max(face.box.width, 1e-6) / max(was.width, 1e-6)
        sized = max(larger, 1 / larger) <= 1.5 + gap_s / 2
        if person.located and gap_s <= _PLACE_S and far <= 1 and sized and unlike <= OTHER:
            return unlike + far / 2
        # By looks alone: behind everybody who is near enough.
        known = unlike <= (SAME if person.located else SAME_AFTER_CUT)
        return 10 + unlike if gap_s <= _LOOKS_S and known else math.inf

    def _new(self, face: Found, patch: Patch) -> Person:
        person = Person(self._next_id, face.box, face.points, face.score, self._now_s, self._now_s, patch)
        self._next_id += 1
        self._people.append(person)
        return person

    def _forget(self) -> None:
        absent = [p for p in self._people if not p.visible and self._now_s - p.seen_s <= _LOOKS_S]
        kept = {p.track_id for p in sorted(absent, key=lambda person: -person.seen_s)[:_MOST_ABSENT]}
        self._people = [p for p in self._people if p.visible or p.track_id in kept]


def _head(box: Box) -> Box:
    right, down = (_HEAD - 1) / 2 * box.width, (_HEAD - 1) / 2 * box.height
    return Box(box.left - right, box.top - down, box.right + right, box.bottom + down)


def _plausible(points: Points | None, box: Box) -> tuple[Points, Box] | None:
    """The points and the box that they lay, unless that lies elsewhere than the one looked in."""
    if points is None:
        return None
    laid = box_of(points)
    return (points, laid) if laid.iou(box) >= _PLAUSIBLE_IOU else None
