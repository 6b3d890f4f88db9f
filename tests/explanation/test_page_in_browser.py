"""The page in a browser: scroll, click, overlay, windows, play, touch; no console error, no request, all named."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from page_samples import HOSTILE, explanation_of, ramp_of, volume_of
from PIL import Image

from browser import Tab
from seriatim.explanation.methods import PIXEL_METHODS, SLICE_METHODS
from seriatim.explanation.page.build import write_page
from seriatim.explanation.page.trust import SHOWN
from seriatim.trained.faithfulness import Choice, Faithfulness, Measured

COUNT = 30


def measured() -> Faithfulness:
    """All that a page tells of a model, for every method."""
    every = {name: {one: Measured(value=-0.12) for one in SHOWN} for name in SLICE_METHODS}
    maps = dict.fromkeys(PIXEL_METHODS, every["attention"])
    record = Faithfulness(about="model", methods=every, best="leave_out", words=("it measured best. " * 9,), count=23,
                          split="test", choice=Choice(split="val", count=11, methods=every))
    return replace(record, pixels=replace(record, methods=maps))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "ct.html"
    explanation = explanation_of(COUNT, 4, label=HOSTILE, classes=(HOSTILE, "b"), model_faithfulness=measured())
    write_page(volume_of(explanation, ramp_of(COUNT)), explanation, path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of a tenth of a second, and one of a second; in colour."""
    path = tmp_path_factory.mktemp("page") / "clip.html"
    times = np.cumsum([0.0, *[0.1] * 4, 1.0, *[0.1] * 4])
    explanation = explanation_of(10, 3, axis="time", unit="s", positions=times, letters=None)
    array = np.random.default_rng(0).integers(0, 256, (10, 16, 24, 3), dtype=np.uint8)
    write_page(volume_of(explanation, array, modality="US"), explanation, path)
    return path


def place(tab: Tab) -> int:
    return int(tab.ask("document.getElementById('slider').value"))


def check_quiet(tab: Tab) -> None:
    """No error was told, and nothing but the file itself was asked for."""
    assert tab.errors == []
    assert len(tab.requests) == 1
    assert tab.requests[0].startswith("file:")


def test_wheel_keys_clicks_and_touch_go_through_the_slices(tab: Tab, page: Path) -> None:
    tab.open(page)
    start = COUNT // 2
    assert place(tab) == start
    seen = []
    for key in ("Home", "ArrowRight", "ArrowRight", "PageDown", "ArrowLeft", "End", "ArrowRight"):
        tab.press(key)
        seen.append(place(tab))
    assert seen == [0, 1, 2, 12, 11, 29, 29]
    tab.click("#screen")
    tab.press("ArrowUp")
    assert place(tab) == 28
    tab.wheel("#screen", -100)
    tab.ask("new Promise((done) => setTimeout(done, 100))")
    assert place(tab) == 27  # a notch of a wheel is one slice: none is skipped
    tab.click("#plot", across=0.5, down=0.5)
    assert place(tab) in (14, 15)
    cursor = tab.ask("document.getElementById('cursor').getBoundingClientRect().left + 1 - "
                     "document.getElementById('plot').getBoundingClientRect().left")
    assert cursor == pytest.approx(tab.ask("document.getElementById('plot').clientWidth") / 2, rel=0.05)
    tab.swipe("#screen", 130)
    assert place(tab) > 16
    check_quiet(tab)


def test_marks_lead_to_their_slices(tab: Tab, page: Path) -> None:
    tab.open(page)
    tops = explanation_of(COUNT, 4).top
    for number, top in enumerate(tops):
        tab.press("Home")
        tab.click(f".numbers [data-mark='{number}']")
        assert place(tab) == top
        tab.press("Home")
        tab.click(f".go[data-mark='{number}']")
        assert place(tab) == top
        assert tab.ask(f"document.getElementById('mark{number}').getAttribute('aria-current')") == "true"
    tab.press("Home")
    visited = []
    for _ in tops:
        tab.press("n")
        visited.append(place(tab))
    assert visited == sorted(tops)
    tab.press("p")
    assert place(tab) == sorted(tops)[-2]
    told = tab.ask("document.getElementById('now').textContent")
    number = tops.index(place(tab)) + 1
    assert told.startswith(f"Slice {place(tab) + 1} of {COUNT} · ")
    assert told.endswith(f"peak {number}")
    assert tab.ask("document.getElementById('uid').textContent").endswith(f".{place(tab)}")
    assert tab.ask("document.getElementById('slider').getAttribute('aria-valuetext')") == told
    check_quiet(tab)


def test_the_overlay_is_on_off_and_has_an_opacity(tab: Tab, page: Path) -> None:
    tab.open(page)
    alpha = "document.getElementById('heat').getContext('2d').getImageData(2, 2, 1, 1).data[3]"
    hidden = "document.getElementById('heat').hidden"
    assert tab.ask(alpha) > 100
    assert tab.ask(hidden) is False
    tab.press("h")
    assert tab.ask(hidden) is True
    tab.click("#overlay")
    assert tab.ask(hidden) is False
    tab.ask("(() => { const one = document.getElementById('opacity'); one.value = 40; "
            "one.dispatchEvent(new Event('input')); })()")
    assert tab.ask("document.getElementById('heat').style.opacity") == "0.4"
    tab.press("Home")  # no heat was made there
    assert tab.ask(hidden) is True
    assert tab.ask("document.getElementById('no-heat').textContent")
    check_quiet(tab)


def shoot_row(tab: Tab) -> np.ndarray:
    """The grey values along the middle of the image, as they are on the screen."""
    tab.ask("document.getElementById('screen').scrollIntoView({block: 'center'})")
    tab.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    left, top, width, height = tab.ask("(() => { const box = document.getElementById('picture').getBoundingClientRect()"
                                       "; return [box.left, box.top, box.width, box.height]; })()")
    with Image.open(BytesIO(tab.take())) as taken:
        pixels = np.asarray(taken.convert("L"), dtype=float)
    return pixels[round(top + 0.3 * height), round(left) + 2 : round(left + width) - 2]


@pytest.mark.parametrize(
    ("key", "level", "width"), [("1", 40, 400), ("2", 40, 80), ("5", 400, 1800), ("6", -600, 1500)]
)
def test_a_window_makes_the_grey_it_says(tab: Tab, page: Path, key: str, level: float, width: float) -> None:
    tab.open(page)
    tab.press("Home")
    tab.press(key)
    shown = shoot_row(tab)
    true = np.interp(np.linspace(0, 63, len(shown)), np.arange(64), ramp_of(1)[0, 0].astype(float))
    expected = 255 * np.clip((true - level + width / 2) / width, 0, 1)
    assert abs(np.median(shown - expected)) < 4
    assert np.abs(shown - expected).mean() < 9
    assert tab.ask("document.querySelector('[aria-pressed=true][data-preset]').dataset.preset") == str(int(key) - 1)
    check_quiet(tab)


def test_level_and_width_can_be_typed(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.ask("(() => { const one = document.getElementById('level'); one.value = 300; "
            "one.dispatchEvent(new Event('change')); })()")
    assert "L 300 W 400" in tab.ask("document.getElementById('on-window').textContent")
    assert tab.ask("document.querySelectorAll('[aria-pressed=true][data-preset]').length") == 0
    tab.ask("document.getElementById('width').focus()")
    tab.press("1")  # a digit there is a digit, no window
    assert "L 300" in tab.ask("document.getElementById('on-window').textContent")
    check_quiet(tab)


def test_a_clip_plays_at_its_own_pace_and_pauses(tab: Tab, clip: Path) -> None:
    tab.open(clip)
    tab.press("Home")
    tab.ask("""(() => {
        window.seen = [];
        const [now, slider] = ["now", "slider"].map((id) => document.getElementById(id));
        const note = () => seen.push([performance.now(), Number(slider.value)]);
        new MutationObserver(note).observe(now, {childList: true});
    })()""")
    tab.click("#play")
    tab.ask("new Promise((done) => setTimeout(done, 1800))")
    tab.click("#play")
    seen = {at: time for time, at in reversed(tab.ask("seen"))}
    assert {1, 2, 3, 4, 5} <= set(seen)
    assert 500 < seen[5] - seen[4] < 1500  # times of the frames, whatever else the machine does
    assert seen[4] - seen[1] < 700
    stopped = place(tab)
    tab.ask("new Promise((done) => setTimeout(done, 250))")
    assert place(tab) == stopped
    assert tab.ask("document.getElementById('play').textContent") == "Play"
    assert tab.ask("document.querySelectorAll('[data-preset]').length") == 0  # colour has no window
    assert tab.ask("document.getElementById('bar').hidden") is True  # no size of a pixel is known
    check_quiet(tab)


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_the_page_fits_its_window_and_follows_the_theme(tab: Tab, page: Path, width: int, dark: bool) -> None:
    tab.open(page, width=width, dark=dark)
    assert tab.ask("document.documentElement.scrollWidth") <= width
    background = "getComputedStyle(document.body).backgroundColor"
    shades = {True: "rgb(15, 19, 23)", False: "rgb(255, 255, 255)"}
    assert tab.ask(background) == shades[dark]
    tab.click("#theme")
    assert tab.ask(background) == shades[not dark]
    tab.click("#theme")
    assert tab.ask(background) == shades[dark]
    check_quiet(tab)


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_tables_fit_their_panels_or_can_be_moved_within_them(tab: Tab, page: Path, width: int) -> None:
    tab.open(page, width=width)
    spare = tab.ask("[...document.querySelectorAll('.figures')].map(one => one.clientWidth - one.scrollWidth)")
    assert len(spare) == 2
    if width > 390:
        assert min(spare) >= 0
        return
    assert max(spare) < 0
    tab.ask("document.querySelector('.figures').focus()")
    for _ in range(3):
        tab.press("ArrowRight")
    moved = "new Promise(done => setTimeout(() => done(document.querySelector('.figures').scrollLeft), 400))"
    assert tab.ask(moved) > 0
    assert tab.ask("document.documentElement.scrollWidth") <= width
    check_quiet(tab)


def test_every_control_has_a_name_and_the_slice_is_announced(tab: Tab, page: Path) -> None:
    tab.open(page)
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "checkbox", "combobox", "spinbutton", "img", "image", "region"}
    found = [(one["role"]["value"], one.get("name", {}).get("value", "")) for one in nodes
             if not one.get("ignored") and one.get("role", {}).get("value") in roles]
    assert {"button", "slider", "checkbox", "combobox", "spinbutton"} <= {role for role, _ in found}
    assert [role for role, name in found if not name.strip()] == []
    assert tab.ask("document.getElementById('now').getAttribute('aria-live')") == "polite"
    tab.press(" ")
    assert tab.ask("document.getElementById('now').getAttribute('aria-live')") == "off"
    tab.press(" ")
    for _ in range(3):
        tab.press("Tab")
    assert tab.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_policy_forbids_foreign_scripts_and_the_network(tab: Tab, page: Path) -> None:
    tab.open(page)
    assert tab.ask("document.title").startswith("</script><img src=x onerror=alert(1)>")
    tab.ask("""(() => { const one = document.createElement("script"); one.textContent = "window.ran = 1";
        document.body.append(one); })()""")
    assert tab.ask("window.ran === undefined") is True
    failed = "fetch('http://127.0.0.1:9/').then(() => 'loaded', (error) => error.name)"
    assert tab.ask(failed) == "TypeError"
    assert any("Content Security Policy" in one for one in tab.errors)


def test_the_uid_is_copied(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.click("#copy")
    tab.ask("new Promise((done) => setTimeout(done, 50))")
    assert tab.ask("document.getElementById('copied').textContent") in ("copied", "press Ctrl+C")
    check_quiet(tab)
