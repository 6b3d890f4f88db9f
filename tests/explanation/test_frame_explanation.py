"""Explaining an anomaly model: picture, table and page of every series, which agree with the scores."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from seriatim.experiment import read_experiment
from seriatim.explanation import explain, style
from seriatim.explanation.alignment import MapGrid
from seriatim.explanation.anomaly import FrameExplanation, PlaceMaps, choose_frames, explain_frames
from seriatim.explanation.anomaly_figure import compose_frames
from seriatim.explanation.film import Film, pick_frames
from seriatim.explanation.film_page import trace_curve, write_film_page
from seriatim.io import find_series, read_volume
from seriatim.io.pictures.encode import encode_jpeg
from seriatim.models.detectors import FutureSettings
from seriatim.scoring import score
from seriatim.tasks.anomaly import FrameScores
from seriatim.tasks.events import Event
from seriatim.tasks.normality import learn_normality
from seriatim.trained import load_anomaly_model
from seriatim.training import train
from seriatim.transforms.placement import place
from tiny_runs import CommandLine, read_rows, write_rows

HOSTILE = "</script><img src=x onerror=alert(1)>"
UID = "1.2.840.113619.2.55.3"


def scores_of(count: int = 30, events: tuple[tuple[int, int, int], ...] = ((4, 8, 5), (20, 23, 21))) -> FrameScores:
    levels = np.full(count, 0.2) + 0.05 * np.sin(np.arange(count))
    for start, stop, peak in events:
        levels[start:stop] = 0.55
        levels[peak] = 0.6 + 0.3 * peak / count
    surprise = 4.6 * levels / (1 - levels)
    parts = {"memory": surprise, "causal_motion": np.where(np.arange(count) == 0, np.nan, surprise)}
    made = tuple(Event(start=a, stop=b, peak=c, peak_score=float(surprise[c])) for a, b, c in events)
    level = float(levels.max())
    return FrameScores(surprise=surprise, parts=parts, levels=levels, level=level, events=made, places=None)


def explanation_of(scores: FrameScores, *, shape: tuple[int, ...] = (40, 50), **changes: object) -> FrameExplanation:
    count = len(scores.levels)
    shown = choose_frames(scores, top=min(6, count))
    images = np.random.default_rng(0).integers(0, 256, (len(shown), *shape), dtype=np.uint8)
    made = FrameExplanation(
        series_uid=UID, axis="time", unit="s", positions=np.arange(count) / 20,
        sop_instance_uids=tuple(f"{UID}.{index}" for index in range(count)), frames=(None,) * count, scores=scores,
        part_levels={name: values / (values + 4.6) for name, values in scores.parts.items()}, threshold_p_value=0.01,
        release=1 / 3, shown=shown, images=images, places=None, letters=None, window_text="", findings=("GAP",),
        model_name="demo", model_digest="a" * 64,
    )  # fmt: skip
    return replace(made, **changes)


def film_of(explanation: FrameExplanation) -> Film:
    count = len(explanation.positions)
    image = np.zeros((20, 25), dtype=np.uint8)
    heat = np.tile(np.arange(count, dtype=np.uint8)[:, None, None], (1, 4, 5))
    return Film(indices=tuple(range(count)), jpegs=(encode_jpeg(image),) * count, heat=heat, size=(20, 25), step=1)


def test_peaks_are_shown_among_frames_outside_of_events() -> None:
    scores = scores_of()
    assert [len(choose_frames(scores, top=top)) for top in (1, 2, 6, 8)] == [1, 2, 6, 8]
    assert choose_frames(scores, top=1) == (21,)  # the higher of the two
    shown = choose_frames(scores, top=6)
    assert {5, 21} < set(shown)
    assert list(shown) == sorted(shown)
    others = set(shown) - {5, 21}
    assert all(scores.levels[index] < 0.3 for index in others)
    many = choose_frames(scores_of(60, tuple((at, at + 2, at) for at in range(0, 60, 4))), top=6)
    assert {44, 48, 52, 56} < set(many)


def test_without_an_event_the_highest_frames_are_shown_apart() -> None:
    levels = np.full(40, 0.1)
    levels[[10, 11, 12, 30]] = 0.4, 0.45, 0.43, 0.3
    scores = replace(scores_of(40, ()), levels=levels)
    assert {11, 30} < set(choose_frames(scores, top=6))
    assert not {10, 12} & set(choose_frames(scores, top=2))
    one = scores_of(5, ((0, 5, 2),))
    assert choose_frames(one, top=5) == (0, 1, 2, 3, 4)  # all is event: there is nothing else to show


@pytest.mark.parametrize(
    "explanation",
    [
        explanation_of(scores_of()),
        explanation_of(scores_of(30, ())),
        explanation_of(scores_of(1, ((0, 1, 0),))),
        explanation_of(scores_of(), shape=(40, 50, 3)),
        explanation_of(scores_of(200, tuple((at, at + 1, at) for at in range(0, 200, 2)))),
        explanation_of(scores_of(), unit="mm", axis="space", letters=("R", "L", "A", "P"), model_name="a $" * 60),
    ],
    ids=["events", "none", "one frame", "colour", "many events", "slices"],
)
def test_the_picture_stays_within_its_page_and_names_nobody(explanation: FrameExplanation) -> None:
    page = compose_frames(explanation)
    drawer = page._canvas.get_renderer()
    texts = [text for text in page.figure.findobj(lambda one: hasattr(one, "get_text")) if text.get_text().strip()]
    told = " ".join(text.get_text() for text in texts)
    assert UID not in told
    assert "no probability" in told
    width, height = style.FIGURE_WIDTH * style.DPI, page.height * style.DPI
    for text in (one for one in page.figure.texts if one.get_visible()):
        box = text.get_window_extent(drawer)
        assert box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1, text.get_text()  # noqa: PT018


def test_a_long_film_keeps_every_kth_frame_and_all_peaks() -> None:
    assert pick_frames(400, []) == (tuple(range(400)), 1)
    indices, step = pick_frames(1000, [7, 500])
    assert step == 3
    assert {0, 3, 999, 7, 500} < set(indices)
    assert len(indices) <= 336 + 1


def test_a_curve_is_broken_where_nothing_is_known() -> None:
    path = trace_curve(np.array([0, 0.25, 0.5, 1]), np.array([np.nan, 0.5, 1, np.nan]))
    assert path == "M250.0 50.00h0 L500.0 0.00"


def test_heat_lies_over_the_place_it_comes_from() -> None:
    levels = np.zeros((2, 4, 4))
    levels[1, 0, 3] = 0.75
    placement = place((20, 40), (32, 32), pixel_mm=(1, 1), spacing_mm=None, stretch=True)
    grid = MapGrid(stride=(8, 8), offset=(3.5, 3.5))
    maps = PlaceMaps(levels=levels, grid=grid, placement=placement, method="memory")
    heat = maps.draw([0, 1], size=(20, 40))
    assert not heat[0].any()
    row, column = np.unravel_index(heat[1].argmax(), heat[1].shape)
    assert row < 5
    assert column >= 30
    assert heat.max() == pytest.approx(1, abs=1e-6)


def test_the_page_stands_alone_and_escapes_what_it_is_told(tmp_path: Path) -> None:
    slices = explanation_of(scores_of(), unit="mm", axis="space", letters=("R", "L", "A", "P"))
    write_film_page(slices, film_of(slices), tmp_path / "slices.html")
    assert re.findall(r"(◂ [A-Z]|[A-Z] ▸)", (tmp_path / "slices.html").read_text()) == ["◂ I", "S ▸"]
    hostile = explanation_of(scores_of(), series_uid=HOSTILE, model_name=HOSTILE, findings=(HOSTILE,))
    path = tmp_path / "page.html"
    write_film_page(hostile, film_of(hostile), path)
    text = path.read_text()
    assert "<img src=x" not in text.lower()
    assert "◂" not in text  # time has no direction in the patient
    assert text.count("</script>") == 2
    assert not re.search(r"(src|href)=\"(?!data:)|https?:|url\(", text)
    assert "The film shows one in" not in text
    write_film_page(hostile, replace(film_of(hostile), step=3), tmp_path / "long.html")
    assert "The series has 30 frames. The film shows one in 3 of them" in (tmp_path / "long.html").read_text()
    packed = json.loads(text.partition('id="film">')[2].partition("</script>")[0])
    assert len(packed["jpegs"]) == 30
    assert packed["start"] == 21  # the highest peak
    assert packed["told"][5] == "frame 5 of 0 to 29 · 0.25 s · score 0.65 · in event 1"


def write_clip(folder: Path, seed: int, *, bright: bool = False) -> None:
    """16 frames of a disc that swells and shrinks; a bright corner in frames 6 to 9."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:32, :32]
    for number in range(16):
        inside = np.hypot(rows - 16, columns - 16) < 8 + 3 * np.sin(0.5 * number + seed)
        frame = 60 + 100 * inside + rng.normal(0, 3, (32, 32))
        if bright and 6 <= number < 10:
            frame[:10, 22:] = 250
        Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for number in range(9):
        split = "train" if number < 4 else "val" if number < 7 else "test"
        write_clip(folder / f"clip{number}", number, bright=number == 8)
        rows.append({"path": f"clip{number}", "patient": f"p{number}", "split": split})
    write_rows(folder / "labels.csv", rows)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    folder = tmp_path_factory.mktemp("anomaly")
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({
        "name": "bright", "data": {"manifest": str(clips / "labels.csv"), "near_duplicates": "ignore"},
        "preprocessing": {"kind": "intensity", "size": 32},
        "network": {"encoder": {"kind": "small_cnn", "widths": [4, 8]}},
        "task": {"kind": "anomaly", "methods": [{"kind": "gaussian"}, {"kind": "memory", "size": 30}]},
        "training": {"accelerator": "cpu"},
    }))
    train(read_experiment(config), folder / "run")
    return folder / "run"


def test_every_series_gets_picture_table_and_page_which_agree_with_the_scores(
    tmp_path: Path, clips: Path, run: Path
) -> None:
    shutil.copytree(clips / "clip7", tmp_path / "in" / "normal")
    shutil.copytree(clips / "clip8", tmp_path / "in" / "bright")
    shutil.copytree(clips / "clip7", tmp_path / "in" / "torn")
    torn = tmp_path / "in" / "torn" / "004.png"
    torn.write_bytes(torn.read_bytes()[:300])
    rows = {Path(row["path"]).name: row for row in explain(tmp_path / "in", model=run, output=tmp_path / "out")}
    score(tmp_path / "in", model=run, output=tmp_path / "scores", device="cpu")
    assert [rows[name]["status"] == "explained" for name in ("normal", "bright", "torn")] == [True, True, False]
    assert rows["torn"]["reason"]
    assert [list(row.values()) for row in read_rows(tmp_path / "out" / "explanations.csv")] == [
        list(row.values()) for row in rows.values()]
    scored = read_rows(tmp_path / "scores" / "slices.csv")
    for name in ("normal", "bright"):
        uid = rows[name]["series_uid"]
        for ending in ("png", "csv", "html"):
            assert (tmp_path / "out" / f"{uid}.{ending}").stat().st_size > 1000
        own = [row for row in scored if row["series_uid"] == uid]
        numbers = read_rows(tmp_path / "out" / f"{uid}.csv")
        assert [row["event"] for row in numbers] == [row["event"] for row in own]
        for ours, theirs in (("score", "score_anomaly"), ("z", "z"), ("p_value", "p_value"),
                             ("surprise_memory", "surprise_memory"), ("surprise_gaussian", "surprise_gaussian")):
            np.testing.assert_allclose([float(row[ours]) for row in numbers], [float(row[theirs]) for row in own],
                                       rtol=1e-8)
    assert {row["index"] for row in read_rows(tmp_path / "out" / f"{rows['bright']['series_uid']}.csv")
            if row["event"] != "0"} >= {"6", "7", "8", "9"}


def test_heat_is_where_the_frame_was_changed_and_a_place_scores_as_its_frame(clips: Path, run: Path) -> None:
    model = load_anomaly_model(run)
    explanation = explain_frames(read_volume(find_series(clips / "clip8").series[0]), model)
    places = explanation.places
    assert places is not None
    assert places.method == "memory"
    np.testing.assert_allclose(places.levels.max(axis=(1, 2)), explanation.part_levels["memory"])
    heat = places.draw(range(16), size=(32, 32))
    corner, rest = heat[6:10, :12, 20:].mean(), heat[6:10, 20:, :12].mean()
    assert corner > 0.3
    assert corner > 3 * rest
    assert heat[6:10].mean() > 3 * heat[:5].mean()


def test_the_foreseeing_method_knows_places_too(clips: Path, run: Path) -> None:
    model = load_anomaly_model(run)
    detector = FutureSettings(size=16, channels=2).build()
    model.network.detectors.insert(0, detector.eval())
    norms = model.task.norms
    law = learn_normality(np.linspace(0.01, 0.05, 100))
    task = replace(model.task, norms=replace(norms, parts={"future": law, **norms.parts}))
    explanation = explain_frames(read_volume(find_series(clips / "clip8").series[0]), replace(model, task=task))
    assert explanation.places.method == "future"
    assert not explanation.places.levels[0].any()  # nothing comes before the first frame
    heat = explanation.places.draw([6], size=(32, 32))[0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row < 12
    assert column > 20


def test_the_command_explains_by_the_same_words(
    tmp_path: Path, clips: Path, run: Path, seriatim_command: CommandLine
) -> None:
    done = seriatim_command("explain", clips, "--model", run, "--output", tmp_path, "--split", "test", "--limit", "1")
    assert done.code == 0, done.err
    assert "1 of 1 series explained" in done.out
    assert len(list(tmp_path.glob("*.html"))) == 1


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVE = """<script>
addEventListener("error", (event) => { document.title = "error " + event.message; });
const told = [], note = () => told.push(Number(document.getElementById("slider").value));
const press = (key) => { document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true})); note(); };
note();
["Home", "ArrowRight", "n", "n", "p", "End", "ArrowRight"].forEach(press);
document.getElementById("screen").dispatchEvent(new WheelEvent("wheel", {deltaY: -100, cancelable: true})); note();
document.querySelector("[data-event='0']").click(); note();
const box = document.getElementById("plot").getBoundingClientRect();
document.getElementById("plot").setPointerCapture = () => {};
document.getElementById("plot").dispatchEvent(new PointerEvent("pointerdown", {clientX: box.left + box.width / 2}));
note();
const shown = document.getElementById("heat");
const pixel = () => shown.getContext("2d").getImageData(0, 0, 1, 1).data[3];
const opaque = pixel(); press("h");
const aria = document.getElementById("slider").ariaValueText;
document.title = JSON.stringify({told, opaque, hidden: shown.hidden, aria});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the page in")
def test_the_page_works_in_a_browser(tmp_path: Path) -> None:
    explanation = explanation_of(scores_of(), places=PlaceMaps(
        levels=np.zeros((30, 2, 2)), grid=MapGrid(stride=(1, 1), offset=(0, 0)), placement=None, method="memory"))
    film = film_of(explanation)
    film = replace(film, heat=np.full_like(film.heat, 200))
    path = tmp_path / "page.html"
    write_film_page(explanation, film, path)
    path.write_text(path.read_text().replace("</body>", DRIVE + "</body>"))
    done = subprocess.run(
        [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=2000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    found = json.loads(title[1])
    assert found["told"][10] in (14, 15)  # the middle of the curve
    assert found["told"][:10] == [21, 0, 1, 5, 21, 5, 29, 29, 27, 5]
    assert found["opaque"] > 100
    assert found["hidden"] is True
    assert "frame 1" in found["aria"]
    assert "CONSOLE" not in done.stderr
