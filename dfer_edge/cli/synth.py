"""``dfer-edge synth``: render labelled clips or images of expressions into a folder."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from dfer_edge.cli import console
from dfer_edge.cli.arguments import png
from dfer_edge.labels import DFEW, RENDERED

_CLIPS_PER_PERSON = 4  # images; a clip has a person of its own


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("synth", parents=[common], help="render faces with known labels", description=__doc__)
    parser.add_argument("--count", type=int, required=True, metavar="N", help="clips (or images) to render")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder, or one to complete")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--clips", action="store_true", help="clips over time (the default)")
    length.add_argument("--images", action="store_true", help="single images near the apex")
    parser.add_argument("--frames", type=int, default=16, metavar="T", help="frames a clip (default: %(default)s)")
    parser.add_argument("--size", type=int, default=112, metavar="S", help="side in pixels (default: %(default)s)")
    parser.add_argument("--span", type=float, default=3.0, help="width of the view, 2 tight to 4 loose (default: 3)")
    parser.add_argument("--fps", type=float, help="frames a second (default: drawn, 8 to 30 a clip)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="rendering processes (default: %(default)s)")
    parser.add_argument("--classes", nargs="+", default=DFEW, choices=RENDERED, metavar="NAME", help="labels")
    parser.add_argument("--clips-per-person", type=int, help="default: 1, or 4 for images")
    parser.add_argument("--brief", type=float, default=0.0, metavar="SHARE", help="of clips at rest but for a moment")
    parser.add_argument("--jitter", type=float, default=0.0, metavar="SHARE", help="of clips with uneven frame times")
    parser.add_argument("--cuts", type=float, default=0.0, metavar="SHARE", help="of clips cut to another camera once")
    parser.add_argument("--model", metavar="PATH", help="ICT-FaceKit folder or .npz (default: $DFER_EDGE_FACE_MODEL)")
    parser.add_argument("--preview", type=png, metavar="FILE.png", help="also draw a montage, a row a class")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Render, write, and say what was written."""
    from dfer_edge.synthesis import RenderedClips, SyntheticClips
    from dfer_edge.synthesis.storage import write_clips, write_preview

    clips = SyntheticClips(
        arguments.count,
        seed=arguments.seed,
        frames=1 if arguments.images else arguments.frames,
        size=arguments.size,
        workers=arguments.workers,
        classes=arguments.classes,
        model=arguments.model,
        span=arguments.span,
        fps=arguments.fps,
        clips_per_person=arguments.clips_per_person or (_CLIPS_PER_PERSON if arguments.images else 1),
        brief=arguments.brief,
        jitter=arguments.jitter,
        cuts=arguments.cuts,
    )
    start = time.perf_counter()
    with console.progress("rendering") as bar:
        write_clips(clips, arguments.out, bar)
    seconds = time.perf_counter() - start
    rendered = RenderedClips(arguments.out)
    if arguments.preview is not None:
        write_preview(rendered, arguments.preview)
    counts = {name: int((rendered.labels == RENDERED.index(name)).sum()) for name in clips.classes}
    if arguments.json:
        document = {"path": str(arguments.out), "synthetic": True, "clips": len(rendered), "classes": counts}
        document |= {"frames": clips.settings.frames, "size": clips.settings.size, "seconds": round(seconds, 3)}
        console.print_json(document)
    else:
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"wrote {arguments.out}: {len(rendered)} clips of {clips.settings.frames} frames ({each})")
    return 0
