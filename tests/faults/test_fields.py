"""Pictures that are fields: a frame for two of H.264, one for each of HEVC, at their times, none of them lost."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dfer_edge.sources.h264 import Fields
from dfer_edge.sources.opening import open_source
from tests.faults import media
from tests.faults.h264 import write_fields
from tests.videos import marked

STILL = [marked(5 * (k // 2), 64, 96) for k in range(20)]


@pytest.mark.parametrize("kinds", ["F", "FFP", "PFFPP"])
@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "v.mkv", "v.ts", "v.avi", "v.h264"])
def test_two_fields_are_a_frame(tmp_path: Path, name: str, kinds: str, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source(write_fields(tmp_path / name, STILL, kinds))
    frames = list(source)
    assert len(frames) == len(STILL)
    assert source.frames_lost == 0
    assert "damaged" not in caplog.text
    for frame, shown in zip(frames, STILL, strict=True):
        assert media.close(frame.image, shown, 8), frame.index
    # The clock of an AVI, and of a bare stream with frames between, counts pictures.
    if name not in ("v.avi", "v.h264"):
        assert [frame.time_s for frame in frames] == pytest.approx([k / 25 for k in range(20)], abs=1e-3)
    # What a list of fields says is no number of frames.
    assert source.length_hint in (None, len(STILL))


def test_a_field_that_is_gone_is_missed(tmp_path: Path) -> None:
    path = write_fields(tmp_path / "v.mp4", STILL, "F")
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + 3 * (len(content) // 5)
    content[middle : middle + 9000] = bytes(9000)
    path.write_bytes(content)
    source = open_source(path)
    count = len(list(source))
    assert count < len(STILL)
    assert source.frames_lost >= len(STILL) - count


@pytest.mark.parametrize("high", [False, True])
def test_headers_say_fields(tmp_path: Path, high: bool) -> None:
    for name, length in (("v.mp4", "box"), ("v.ts", "start codes")):
        with av.open(str(write_fields(tmp_path / name, STILL[:4], "FP", high))) as container:
            stream = container.streams.video[0]
            fields = Fields.of(stream.codec_context)
            assert fields is not None, length
            assert [fields.is_one(p) for p in container.demux(stream) if p.size] == [True, True, False] * 2


def test_headers_of_frames_alone(tmp_path: Path) -> None:
    with av.open(str(media.write_h264(tmp_path / "v.mp4", media.moving(3)))) as container:
        assert Fields.of(container.streams.video[0].codec_context) is None
    with av.open(str(media.write_h264(tmp_path / "i.mp4", media.moving(3), interlaced=True))) as container:
        stream = container.streams.video[0]
        fields = Fields.of(stream.codec_context)
        assert fields is not None
        assert not any(fields.is_one(packet) for packet in container.demux(stream))


@pytest.mark.parametrize("given", ["fields", "frames"])
def test_each_field_of_hevc_is_shown_whole(tmp_path: Path, given: str) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=50, options={"x265-params": "log-level=none:crf=4:interlace=tff"})
        stream.width, stream.height, stream.pix_fmt = 96, 32 if given == "fields" else 64, "yuv420p"
        for number in range(20):
            rows = slice(number % 2, None, 2) if given == "fields" else slice(None)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(STILL[number // 2][rows]), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    source = open_source(path)
    frames = list(source)
    assert source.frames_lost == 0
    assert [frame.time_s for frame in frames] == pytest.approx([k / 50 for k in range(20)], abs=1e-3)
    for number, frame in enumerate(frames):
        assert media.close(frame.image, STILL[number // 2], 8)
