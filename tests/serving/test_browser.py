"""The page in a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FOUND = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(FOUND is None, reason="there is no browser")
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}

# What a browser does with a file that is dragged from a folder.
DROP = """
([selector, name, letters]) => {
  const bytes = Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
  const how = { dataTransfer, bubbles: true, cancelable: true };
  const place = document.querySelector(selector);
  place.dispatchEvent(new DragEvent("dragover", how));
  place.dispatchEvent(new DragEvent("drop", how));
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=FOUND, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def page(browser: Browser, address: str, request: Any) -> Iterator[Page]:
    """The page; whatever its console calls an error fails the test."""
    width, height = WIDTHS[request.param]
    page = browser.new_page(viewport={"width": width, "height": height})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda said: problems.append(said.text) if said.type == "error" else None,
    )
    page.goto(address)
    expect(page.locator("#gallery-facts")).to_contain_text("2 faces of 2 people")
    yield page
    # Nothing sticks out to the side.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems == []
    page.close()


def as_file(name: str, content: bytes) -> Any:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def test_a_dropped_photo_is_looked_up(page: Page, album: dict[str, Any]) -> None:
    import base64

    letters = base64.b64encode(album["Ann"].png).decode()
    page.evaluate(DROP, ["#who .drop", "ann.png", letters])

    expect(page.locator("#who .headline")).to_have_text("This is Ann")
    expect(page.locator("#who .matches li")).to_have_count(2)
    best = page.locator("#who .matches li").first
    expect(best).to_have_class("same")
    expect(best).to_contain_text("Ann/1.jpg")
    expect(best.locator(".cosine")).to_have_text("1.000")
    expect(page.locator("#who .rule")).to_contain_text("cosine above 1.000, the")
    expect(page.locator("#who .face circle")).to_have_count(5)
    height, width, _ = album["Ann"].photo.shape
    expect(page.locator("#who .faces")).to_have_attribute(
        "viewBox", f"0 0 {width} {height}"
    )
    shown = "(image) => [image.naturalWidth, image.naturalHeight]"
    assert page.locator("#who .crop").evaluate(shown) == [96, 112]
    assert page.locator("#who .whole").evaluate(shown) == [width, height]

    page.locator("#who input").first.set_input_files(as_file("w.png", album["who"].png))
    expect(page.locator("#who .headline")).to_have_text("Nobody who is enrolled")


def test_another_face_is_chosen_by_keyboard(page: Page, album: dict[str, Any]) -> None:
    photo = as_file("both.png", album["both"].png)
    page.locator("#who input").first.set_input_files(photo)
    expect(page.locator("#who .facts")).to_contain_text("The largest of 2 faces")
    page.get_by_role("button", name="Look at face 2 of 2").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#who .headline")).to_have_text("This is Ann")
    expect(page.locator("#who .facts")).to_contain_text("Face 2 of 2")


def test_two_photos_are_compared(page: Page, album: dict[str, Any]) -> None:
    page.locator("#tab-who").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-same")).to_be_focused()
    inputs = page.locator("#same input")
    inputs.nth(0).set_input_files(as_file("a.png", album["Ann"].png))
    expect(page.locator("#same .answer")).to_contain_text("another photo")
    inputs.nth(1).set_input_files(as_file("b.png", album["Bob"].png))
    expect(page.locator("#same .headline")).to_have_text("Different people")
    inputs.nth(1).set_input_files(as_file("c.png", album["Ann"].png))
    expect(page.locator("#same .headline")).to_have_text("The same person")


def test_enrolls_undoes_and_removes(page: Page, album: dict[str, Any]) -> None:
    photo = as_file("image.png", album["who"].png)
    page.locator("#who input").first.set_input_files(photo)
    page.get_by_label("Enroll this face as").fill("<b>Cy</b>")
    page.keyboard.press("Enter")
    expect(page.locator("#who .done")).to_contain_text("Enrolled as <b>Cy</b>.")
    expect(page.locator("#gallery-facts")).to_contain_text("3 faces of 3 people")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#gallery-facts")).to_contain_text("2 faces of 2 people")

    page.get_by_role("tab", name="People").click()
    page.get_by_label("Find a name").fill("bO")
    expect(page.locator(".people > li")).to_have_count(1)
    page.locator("summary").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    expect(page.locator("#gallery-facts")).to_contain_text("2 faces of 2 people")
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator("#gallery-facts")).to_contain_text("1 face of 1 person")


def test_says_kindly_what_is_wrong(
    browser: Browser, address: str, album: dict[str, Any], tmp_path: Path
) -> None:
    """Apart, as a browser's console calls every refusal an error."""
    page = browser.new_page()
    page.goto(address)
    page.locator("#who input").first.set_input_files(as_file("x.png", b"hello"))
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("This file is no photo that can be read")
    page.locator("#who input").first.set_input_files(as_file("a.png", album["Ann"].png))
    expect(page.locator("#who .headline")).to_have_text("This is Ann")
    expect(problem).to_have_count(0)
    huge = tmp_path / "huge.png"
    huge.write_bytes(bytes(26_000_000))
    page.locator("#who input").first.set_input_files(huge)
    expect(problem).to_contain_text("huge.png has 26 MB; 25 MB are taken at most")
    page.close()
