"""In a real browser, photos are chosen and dropped; the page shows verdict, slider and errors."""

import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("flask", reason="needs the demo extra")

from werkzeug.serving import make_server

from lh2face.data.images import encode_png
from lh2face.demo.server import make_app
from lh2face.tools.verdict import Threshold


@pytest.fixture
def opened(browser, faces):
    """Opens the page; a message in its console or a request to another host fails the test."""
    servers, problems = [], []

    def start(faces=faces, **context):
        server = make_server("127.0.0.1", 0, make_app(faces), threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        page = browser.new_page(**context)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        address = f"http://127.0.0.1:{server.port}/"
        page.on(
            "request",
            lambda request: (
                request.url.startswith((address, "data:", "blob:")) or problems.append(request.url)
            ),
        )
        page.goto(address)
        page.wait_for_selector("[data-ready]", timeout=20_000)
        return page

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
    # A refused photo is answered with status 422, which browsers log by themselves.
    assert [problem for problem in problems if "422" not in problem] == []


def png(name: str, content: bytes) -> dict:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def choose(page, number: int, content: bytes) -> None:
    page.locator("input[type=file]").nth(number).set_input_files(png("a.png", content))


def text_of(page, selector: str, number: int = 0) -> str:
    return page.locator(selector).nth(number).inner_text()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1400, "light")])
def test_the_examples_are_compared_and_turned(opened, width, scheme):
    page = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert text_of(page, "#verdict") == "Two photos, please"
    page.get_by_text("one person twice").click()
    page.wait_for_selector("#result[data-score]", timeout=30_000)
    score = float(page.locator("#result").get_attribute("data-score"))
    assert text_of(page, "#verdict") == (
        "The same person" if score > 0.5 else "Not the same person"
    )
    numbers = text_of(page, "#numbers")
    assert f"Score {score:.4f}, threshold 0.5000, FAR 0.01, measured on 1,200 impostor" in numbers
    assert page.locator("#doubts li").count() == 3
    assert "κ " in text_of(page, ".kappa", 0) and "κ " in text_of(page, ".kappa", 1)

    assert text_of(page, ".notes", 1).lower() == "drawn: one person twice"
    turn = ".turn >> nth=0"
    before = page.locator(turn).screenshot()
    assert "0°" in text_of(page, ".angle")
    page.locator("#yaw").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert text_of(page, ".angle", 0) == text_of(page, ".angle", 1) == "+20°"
    assert page.locator(turn).screenshot() != before
    # No element is wider than the page.
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_bad_photo_shows_an_error_and_can_be_replaced(opened, photo):
    page = opened()
    choose(page, 0, b"text")
    page.wait_for_selector(".photo >> nth=0 >> .error:visible")
    assert text_of(page, ".photo .error").lower().startswith("not a picture, or none of")
    choose(page, 0, photo(size=(112, 112)))
    page.wait_for_selector(".as-is:visible")
    assert "finds no face" in text_of(page, ".photo .error")
    page.locator(".as-is >> nth=0").click()
    page.wait_for_selector(".found >> nth=0")
    assert text_of(page, "#verdict") == "One more photo, please"
    choose(page, 1, photo((10, 10, 120), (200, 100, 112)))
    page.wait_for_selector("#result[data-score]", timeout=30_000)
    assert "2 faces; the most central of the large ones is used" in text_of(page, ".notes", 1)
    box, shown = (
        page.locator(f".photo >> nth=1 >> {s}").bounding_box() for s in (".box", ".preview")
    )
    assert box["x"] - shown["x"] == pytest.approx(shown["width"] / 2, abs=2)
    # A photo that cannot be used removes the verdict.
    choose(page, 1, b"text")
    page.wait_for_selector("#result:not([data-score])", state="attached")
    assert text_of(page, "#verdict") == "One more photo, please"


def test_two_files_dropped_together_are_both_photos(opened, photo):
    page = opened()
    content = [list(photo((160, 90, 112))), list(encode_png(np.full((200, 200, 3), 200, np.uint8)))]
    page.evaluate(
        """contents => {
            const transfer = new DataTransfer();
            for (const content of contents)
                transfer.items.add(new File([new Uint8Array(content)], "a.png"));
            const options = {dataTransfer: transfer, bubbles: true, cancelable: true};
            document.querySelector(".drop").dispatchEvent(new DragEvent("drop", options));
        }""",
        content,
    )
    page.wait_for_selector("#result[data-score]", timeout=30_000)
    assert page.locator(".box:visible").count() == 2


def test_missing_parts_are_named_and_no_verdict_is_given(opened, faces):
    limit = Threshold(0.2, "FAR 0.1", refusal="one stranger in 10 passes")
    page = opened(replace(faces, detect=None, reconstructor=None, limit=limit))
    lacks = text_of(page, "#lacks")
    assert "There is no detector" in lacks and "Turned faces need --reconstructor" in lacks
    face = encode_png(np.full((112, 112, 3), 200, np.uint8))
    for number in (0, 1):
        choose(page, number, face)
    page.wait_for_selector("#result[data-score]", timeout=30_000)
    assert text_of(page, "#verdict") == "No verdict, only a score"
    assert text_of(page, "#refusal") == "One stranger in 10 passes."
    assert "very same picture" in text_of(page, "#doubts li")
    assert not page.locator("#slider").is_visible()
