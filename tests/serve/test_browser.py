"""The page in a real browser with a fake camera that plays a real clip."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("uvicorn")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = os.environ.get("DFER_EDGE_SCREENSHOTS")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server in a process of its own, on the shipped weights."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from dfer_edge.cli.main import main; sys.exit(main())"
    words = ["serve", "--port", str(port), "--engine", "onnxruntime", "--precision", "fp32", "--threads", "1"]
    process = subprocess.Popen([sys.executable, "-c", code, *words])
    found = f"http://127.0.0.1:{port}"
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    yield found
    process.terminate()
    assert process.wait(20) in (0, -15, 143), "a clean end"


@pytest.fixture(scope="module")
def clip(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real clip as Chromium's fake camera takes it."""
    import av

    path = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    with av.open(str(media / "video" / "single_face.mp4")) as source, av.open(str(path), "w", format="mjpeg") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuvj420p"
        for index, frame in enumerate(source.decode(video=0)):
            if index % 3 == 0:
                out.mux(stream.encode(frame.reformat(format="yuvj420p")))
        out.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def browser(clip: Path) -> Iterator[Any]:
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*flags, f"--use-file-for-fake-video-capture={clip}"]
        )
        yield found
        found.close()


def opened(browser: Any, address: str, **options: Any) -> tuple[Any, list[str]]:
    # Waiting for a condition evaluates a string, which the page's own policy forbids.
    context = browser.new_context(permissions=["camera"], bypass_csp=True, **options)
    page, faults, elsewhere = context.new_page(), [], []
    page.set_default_timeout(120_000)
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: elsewhere.append(request.url) if address not in request.url else None)
    page.goto(address)
    page.elsewhere = [url for url in elsewhere if not url.startswith(("blob:", "data:"))]
    return page, faults


def shot(page: Any, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def test_camera_to_boxes_bars_and_timeline_by_keyboard(browser: Any, address: str) -> None:
    page, faults = opened(browser, address, viewport={"width": 1280, "height": 800})
    page.wait_for_function("document.getElementById('model').textContent.includes('slowr50_sa')")
    shot(page, "start")
    page.keyboard.press("c")
    page.wait_for_selector(".card .label:not(:empty)")
    page.wait_for_function("state.people.get(0)?.rows.length > 12")
    assert page.locator(".bars li").count() == 7
    shot(page, "running")
    assert page.locator(".card").count() == 1
    assert page.locator(".card .label").inner_text() in page.locator(".bars li > span:first-child").all_inner_texts()
    assert re.fullmatch(r"\d+ ms", page.locator("#latency").inner_text())
    assert float(page.locator("#rate").inner_text()) > 0
    drawn = "document.getElementById('boxes').getContext('2d').getImageData(0, 0, 9999, 9999).data.some((v) => v)"
    assert page.evaluate(drawn.replace("9999, 9999", "document.getElementById('boxes').width, 400")), "boxes are drawn"
    assert "Person 0" in page.locator("#spoken").inner_text(), "said to screen readers"
    assert "now" in page.locator("canvas.timeline").get_attribute("aria-label")
    page.keyboard.press("s")
    page.wait_for_function("document.getElementById('status').textContent === 'Stopped.'")
    assert page.locator(".card").count() == 0
    assert not faults
    assert not page.elsewhere, "nothing from elsewhere"


def test_phone_dark_and_a_file(browser: Any, address: str, media: Path) -> None:
    page, faults = opened(browser, address, viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no scrolling sideways"
    page.set_input_files("#file", str(media / "video" / "single_face.mp4"))
    page.wait_for_selector(".card .label:not(:empty)")
    page.wait_for_timeout(1500)
    shot(page, "phone-dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", background)[:3])) < 150, "dark where the system is"
    for selector in ("button", "input", "video", "canvas.timeline"):
        for element in page.locator(selector).all():
            assert element.evaluate("e => e.ariaLabel || e.textContent || e.labels?.length"), "every control has a name"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")
    assert not faults
