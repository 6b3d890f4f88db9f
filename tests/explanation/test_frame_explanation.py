"""Explaining an anomaly model: picture, table and page of every series, which agree with the scores."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from page_samples import volume_of
from PIL import Image

from seriatim.experiment import read_experiment
from seriatim.explanation import explain, style
from seriatim.explanation.alignment import MapGrid
from seriatim.explanation.anomaly import FrameExplanation, PlaceMaps, choose_frames, explain_frames
from seriatim.explanation.anomaly_figure import compose_frames
from seriatim.explanation.faithfulness.errors import judge, look, measure_frames, measure_places
from seriatim.explanation.page.build import build_page
from seriatim.io import find_series, read_volume
from seriatim.models.detectors import FutureSettings
from seriatim.scoring import score
from seriatim.tasks.anomaly import FrameScores
from seriatim.tasks.events import Event
from seriatim.tasks.normality import learn_normality
from seriatim.tasks.profile import place_frames
from seriatim.trained import load_anomaly_model
from seriatim.trained.faithfulness import load_faithfulness
from seriatim.training import train
from seriatim.training.card import write_card
from seriatim.transforms.placement import place
from tiny_runs import CommandLine, read_rows, write_rows

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


def test_the_page_tells_of_events_and_frames() -> None:
    places = PlaceMaps(levels=np.tile(np.linspace(0, 0.75, 30)[:, None, None], (1, 2, 2)), method="memory",
                       grid=MapGrid(stride=(16, 16), offset=(7.5, 7.5)),
                       placement=place((20, 25), (32, 32), pixel_mm=(1, 1), spacing_mm=None, stretch=True))
    explanation = explanation_of(scores_of(), places=places)
    page = build_page(volume_of(explanation, np.zeros((30, 20, 25), dtype=np.uint8), modality="US"), explanation)
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert len(data["plates"][0]["files"]) == 30
    assert data["start"] == 21  # the highest peak
    assert data["marks"] == [5, 21]
    assert data["spans"] == [[4, 7], [20, 22]]
    assert data["told"][5] == "Frame 6 of 30 · 0.25 s · score 0.65"
    assert data["values"][2][0] == "not known"  # a method that looks back says nothing of the first frame
    assert data["seconds"] == [0.05] * 30
    heat = np.frombuffer(base64.b64decode(data["heats"][0]["values"]), dtype=np.uint8).reshape(30, -1).mean(axis=1)
    assert heat[0] == 0
    assert heat[-1] == 255
    assert (np.diff(heat) >= 0).all()
    for said in ("2 events", "score 0.81", "Unlike normal is not ill", "5 to 8", "0.20 s to 0.35 s", "threshold 0.5"):
        assert said in page, said
    calm = explanation_of(scores_of(30, ()))
    page = build_page(volume_of(calm, np.zeros((30, 20, 25), dtype=np.uint8), modality="US"), calm)
    assert "No frame reaches the threshold" in page
    assert "No method of this model knows places" in page
    assert not re.search(r"(◂ [RLAPSI]|[RLAPSI] ▸)", page)  # time has no direction in the patient
    slices = explanation_of(scores_of(), unit="mm", axis="space", letters=("R", "L", "A", "P"))
    page = build_page(volume_of(slices, np.zeros((30, 20, 25), dtype=np.uint8)), slices)
    assert re.findall(r"(◂ [RLAPSI]|[RLAPSI] ▸)", page) == ["◂ I", "S ▸"]


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
    assert len(list(tmp_path.glob("*.html"))) == 2  # the page and the index


def test_frames_and_places_with_the_highest_error_make_the_score(
    tmp_path: Path, clips: Path, run: Path, seriatim_command: CommandLine
) -> None:
    shutil.copytree(run, tmp_path / "run")
    labels = [{"path": "clip8", "index": index, "anomaly": int(6 <= index < 10)} for index in range(16)]
    slices = write_rows(tmp_path / "slices.csv", labels)
    done = seriatim_command("faithfulness", tmp_path / "run", "--slice-labels", slices, "--device", "cpu")
    assert done.code == 0, done.err
    assert "by construction" in " ".join(done.out.split())
    found = load_faithfulness(tmp_path / "run" / "faithfulness.json", digest=load_anomaly_model(run).digest)
    assert found is not None
    assert (found.split, found.count, found.best, found.choice) == ("test", 2, "score", None)
    frames = found.methods["score"]
    assert frames["gap"].value > 0.05
    assert frames["beats_random"].value > 0.9
    assert (frames["pointing"].value, frames["pointing"].n) == (1.0, 1)
    assert frames["pointing"].chance == pytest.approx(0.25)
    assert set(found.methods) == {"score", "gaussian", "memory"}
    assert set(found.methods["memory"]) == {"pointing", "average_precision"}
    assert found.pixels is not None
    of_bright = [row for row in read_rows(tmp_path / "run" / "faithfulness.csv")
                 if row["method"] == "places" and row["measure"] == "beats_random"]
    assert float(of_bright[0]["value"]) == 1.0  # the series with the highest score comes first
    volume, model = read_volume(find_series(clips / "clip8").series[0]), load_anomaly_model(tmp_path / "run")
    page = build_page(volume, explain_frames(volume, model, top=1), model=model)
    for said in ("How far to trust these scores", "truly abnormal in 100 %", "put right by those of the most normal"):
        assert said in page, said
    assert "truly abnormal in 100 %" in write_card(tmp_path / "run").read_text()


def test_what_was_not_measured_of_scores_is_said(clips: Path, run: Path) -> None:
    volume, model = read_volume(find_series(clips / "clip7").series[0]), load_anomaly_model(run)
    page = build_page(volume, explain_frames(volume, model, top=1), model=model)
    assert "was not measured of this model" in page
    assert "no explanation of it" in page


def test_a_place_put_right_is_that_of_the_most_normal_frame(clips: Path, run: Path) -> None:
    model, series = load_anomaly_model(run), find_series(clips / "clip8").series[0]
    slices, along = model.prepare(read_volume(series)), place_frames(series.positions)
    scores = judge(model, look(model, slices), along)
    assert np.array_equal(scores.surprise, model.score(slices, series).surprise)
    kept = judge(model, look(model, slices), along, kept=np.array([0, 1, 2]))
    assert len(kept.surprise) == 3
    assert kept.level < scores.level
    found = measure_places(model, slices, along, scores)
    assert found["gap"].value > found["gap"].chance_high
    assert measure_frames(model, slices[:2], along[:2], scores) == {}
    assert measure_places(model, slices, along, replace(scores, places=None)) == {}
