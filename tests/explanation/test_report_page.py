"""The page of a series: what it says, that it stands alone, that windows keep the values, and that it stays small."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_samples import HOSTILE, UID, explanation_of, ramp_of, volume_of
from PIL import Image

from seriatim.explanation.batch import explain_volume
from seriatim.explanation.faithfulness.words import tell_model as tell_measured
from seriatim.explanation.faithfulness.words import tell_series
from seriatim.explanation.known_before import KNOWN_BEFORE, tell_split
from seriatim.explanation.page.about import ModelFacts, tell_model
from seriatim.explanation.page.build import build_page, write_page
from seriatim.explanation.page.content import Track
from seriatim.explanation.page.curves import draw_track, trace_curve
from seriatim.explanation.page.diagnosis import describe_diagnosis, runs_of
from seriatim.explanation.page.pictures import MOST_BYTES, RUNGS, encode_slices, pick_slices
from seriatim.explanation.page.trust import tell_trust
from seriatim.explanation.page.windows import CT_WINDOWS, FINE_CT, WIDE_CT, Display, choose_display
from seriatim.io import find_series, read_volume
from seriatim.trained import load_ensemble, load_model
from seriatim.trained.faithfulness import Choice, Faithfulness, Measured
from tiny_runs import read_rows


def data_of(page: str) -> dict:
    return json.loads(page.partition('id="data">')[2].partition("</script>")[0])


def picture_of(data: dict, place: int, plate: int = 0) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(data["plates"][plate]["files"][place]))))


def grey_of(levels: np.ndarray, knots: list[list[float]], level: float, width: float) -> np.ndarray:
    """What the script of the page makes of a picture: levels to values, and values through the window to grey."""
    values = np.interp(levels, [one for _, one in knots], [one for one, _ in knots])
    return np.clip((values - level + width / 2) / width, 0, 1)


@pytest.mark.parametrize(("name", "window"), CT_WINDOWS)
def test_each_window_shows_what_the_values_are(name: str, window: tuple[float, float]) -> None:
    """Against the window over the values themselves: never off by more than the JPEG and the levels cost."""
    level, width = window
    rows = np.linspace(-1024, 2000, 512)
    volume = volume_of(explanation_of(2, 1), np.tile(rows, (2, 64, 1)).astype(np.int16))
    data = data_of(build_page(volume, explanation_of(2, 1)))
    low, high = level - width / 2, level + width / 2
    plate = 0 if FINE_CT[0][0] <= low and high <= FINE_CT[-1][0] else 1
    true = np.clip((volume.array[0] - low) / width, 0, 1)
    shown = grey_of(picture_of(data, 0, plate), data["plates"][plate]["knots"], level, width)
    assert np.abs(shown - true).max() < 0.09, name
    assert np.abs(shown - true).mean() < 0.01


@given(st.floats(-1024, 3071))
def test_levels_and_values_are_one_to_one_between_the_ends(value: float) -> None:
    for knots, unit_hu in ((FINE_CT, 3.3), (WIDE_CT, 120)):
        display = Display(plates=(knots,), presets=())
        level = display.encode(np.array([value], dtype=np.float32), 0)[0]
        back = np.interp(level, [one for _, one in knots], [one for one, _ in knots])
        assert abs(back - np.clip(value, knots[0][0], knots[-1][0])) <= unit_hu


def test_windows_by_what_the_series_is() -> None:
    names = lambda display: [one.name for one in display.presets]  # noqa: E731
    explanation = explanation_of(3, 1)
    ct = volume_of(explanation, ramp_of(3))
    assert names(choose_display(ct)) == ["soft tissue", "brain", "subdural", "stroke", "bone", "lung"]
    assert names(choose_display(ct, windows_hu=[(40, 80)]))[:2] == ["model 40/80", "brain"]
    mr = choose_display(volume_of(explanation, ramp_of(3), modality="MR"))
    assert names(mr) == ["0.5 to 99.5 %", "full range", "5 to 95 %"]
    assert mr.unit == ""
    nifti = volume_of(explanation, ramp_of(3), modality="OT")
    assert names(choose_display(nifti, windows_hu=[(40, 80)]))[0] == "model 40/80"
    us = volume_of(explanation, ramp_of(3, low=0, high=200).astype(np.uint8), modality="US")
    assert names(choose_display(us))[0] == "as stored"
    colour = volume_of(explanation, np.zeros((3, 8, 8, 3), dtype=np.uint8), modality="US")
    assert choose_display(colour).presets == ()
    flat = volume_of(explanation, np.zeros((3, 8, 8), dtype=np.float32), modality="MR")
    assert "<svg" in build_page(flat, explanation)
    broken = ramp_of(3, size=8).astype(np.float32)
    broken[0, 0, :3] = np.nan, np.inf, -np.inf
    assert "<svg" in build_page(volume_of(explanation, broken, modality="MR"), explanation)


def test_inverted_slices_are_told_to_the_script() -> None:
    explanation = explanation_of(3, 1)
    assert data_of(build_page(volume_of(explanation, ramp_of(3), inverted=True), explanation))["inverted"] is True
    assert data_of(build_page(volume_of(explanation, ramp_of(3)), explanation))["inverted"] is False


def test_the_page_stands_alone_and_escapes_what_it_is_told() -> None:
    hostile = explanation_of(
        label=HOSTILE, prediction=HOSTILE, model_name=HOSTILE, findings=(HOSTILE,), series_uid=HOSTILE,
        sop_instance_uids=tuple(f"{HOSTILE}{index}" for index in range(12)), slice_scores={HOSTILE: np.zeros(12)},
        classes=(HOSTILE, "b"), probabilities={HOSTILE: 0.4, "b": 0.6}, shown_because=HOSTILE, prediction_set=HOSTILE,
    )  # fmt: skip
    page = build_page(volume_of(hostile, ramp_of(12), modality=HOSTILE), hostile)
    assert "<img src=x" not in page.lower()
    assert page.count("<script") == page.count("</script>") == 2
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", page)
    head = re.sub(r'<script type="application/json".*', "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href|action)=["'](?!data:image)|@import|https?:|url\((?!#)""", head)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_the_policy_names_the_script_that_is_inside() -> None:
    import hashlib

    explanation = explanation_of()
    page = build_page(volume_of(explanation, ramp_of(12)), explanation)
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in page.replace("&#43;", "+")


def test_no_file_name_is_in_the_page_but_the_words_of_a_finding_are() -> None:
    explanation = explanation_of()
    page = build_page(volume_of(explanation, ramp_of(12)), explanation)
    assert "doe" not in page.lower().replace("does", "")
    assert "the distance of slices is 4.8 to 5.2 mm" in page


def test_what_the_page_says(tiny_run, head_ct) -> None:
    row = next(one for one in read_rows(head_ct / "labels.csv") if one["bleed"] == "1")
    model = load_model(tiny_run)
    volume = read_volume(find_series(head_ct / row["path"]).series[0])
    explanation = explain_volume(volume, model)
    page = build_page(volume, explanation, model=model)
    data = data_of(page)
    count = len(explanation.positions)
    assert {len(data["uids"]), len(data["told"]), *(len(one["files"]) for one in data["plates"])} == {count}
    assert data["uids"] == list(explanation.sop_instance_uids)
    assert data["start"] == explanation.top[0]
    assert data["marks"] == list(explanation.top)
    assert data["presets"][0] == {"name": "model 40/80", "level": 40, "width": 80}
    assert [f"{100 * one:.1f} %" for one in explanation.attention] in data["values"]
    leading = [float(one.replace("−", "-")) for one in data["values"][0]]
    np.testing.assert_allclose(leading, explanation.attribution(), rtol=0.01, atol=1e-12)
    first = explanation.top[0]
    assert data["told"][first].startswith(f"Slice {first + 1} of {count} · ")
    assert {int(place) for place in data["heats"][0]["places"]} == set(explanation.top)
    for said in (model.digest, "yes or no: bleed", "is not calibrated", "not a medical device", "chosen on validation",
                 "How far to trust this explanation", ">R<", "SOP Instance UID"):
        assert said in page, said
    shown = grey_of(picture_of(data, first), data["plates"][0]["knots"], 40, 80)
    expected = explanation.images[0] / 255
    assert np.abs(shown - expected).mean() < 0.02  # the same slice, turned the same way


def test_a_slice_of_a_file_of_several_is_told_by_its_frame() -> None:
    explanation = explanation_of(12)
    volume = volume_of(explanation, ramp_of(12))
    assert data_of(build_page(volume, explanation))["places"][2] == "index 2 in the tables"
    frames = tuple(reversed(range(12)))
    data = data_of(build_page(volume, replace(explanation, sop_instance_uids=(UID,) * 12, frames=frames)))
    assert data["places"][2] == "index 2 in the tables · frame 10 of the file"


def test_a_series_that_the_model_knew_before_is_told(tiny_run, head_ct) -> None:
    model = load_model(tiny_run)
    for row in read_rows(tiny_run / "manifest.csv"):
        told = tell_split(model, row["series_uid"])
        assert told == KNOWN_BEFORE.get(row["split"], "")
        assert (told == "") == (row["split"] == "test")
    trained = next(one for one in read_rows(tiny_run / "manifest.csv") if one["split"] == "train")
    volume = read_volume(find_series(head_ct / trained["path"]).series[0])
    page = build_page(volume, explain_volume(volume, model), model=load_ensemble([model]))
    assert KNOWN_BEFORE["train"] in page


def test_a_model_tells_how_it_is_calibrated_and_what_it_saw(tiny_run) -> None:
    facts = tell_model(load_model(tiny_run))
    terms = dict(facts.terms)
    assert terms["calibration"] == "none"
    assert re.fullmatch(r"CT; axial; \d+ to \d+ slices; .* mm apart(; head)?", terms["trained on"])
    assert "small_cnn" in terms["network"]


def test_a_series_out_of_the_envelope_is_told_in_words() -> None:
    explanation = explanation_of(findings=("OUTSIDE_TRAINED_SPACING", "UNEVEN_SPACING"))
    page = build_page(volume_of(explanation, ramp_of(12)), explanation)
    header = page[page.index("<header"):page.index("</header>")]
    assert "never validated: the series lies outside of what it was trained on (outside trained spacing)" in header


def test_a_threshold_that_validation_did_not_choose_is_not_told_as_chosen_there() -> None:
    facts = ModelFacts(terms=(), threshold_source="mean of the members' thresholds, not validated")
    said = " ".join(describe_diagnosis(explanation_of(), model=facts).headline.sentences)
    assert "not validated" in said
    assert "chosen on validation" not in said


def test_the_page_says_that_no_other_slice_counts_and_tells_no_probability_as_certain() -> None:
    values = np.where(np.arange(12) < 2, 1.0, -1.0)
    explanation = explanation_of(shown=2, top=(0, 1), attributions={"leave_out": values}, probability=0.99987,
                                 shown_attribution="leave_out", probabilities={"bleed": 0.99987, "none": 0.00013})
    page = build_page(volume_of(explanation, ramp_of(12)), explanation)
    assert "No other slice raises the score." in page
    assert "<b>&gt; 0.99</b>" in page
    assert "<bdi>&lt; 0.01</bdi>" in page
    assert "1.00" not in page[page.index("<header"):page.index("</header>")]


def test_curves_lead_with_the_method_that_is_shown() -> None:
    values = np.linspace(-1, 1, 12)
    given = {"leave_out": values, "gradient_input": values, "attention": explanation_of().attention}
    explanation = explanation_of(attributions=given,
                                 shown_attribution="leave_out", shown_because="It measured best.")
    content = describe_diagnosis(explanation)
    assert [one.name for one in content.tracks] == ["Leave one out", "Attention", "Slice score", "Gradient × input"]
    assert content.tracks[0].kind == "bars"
    assert content.marks.columns[2] == "Leave one out"
    assert "It measured best." in [text for panel in content.panels for text in panel.paragraphs]


def test_bars_start_at_zero_and_curves_break_where_nothing_is_known() -> None:
    track = Track(name="a", values=np.array([1.0, -1.0]), low=-1, high=1, kind="bars")
    paths = draw_track(track, np.array([0.0, 1.0]))
    assert re.fullmatch(r"M[\d.]+ 50.00h40.0V0.00h-40.0z", paths["up"])
    assert paths["down"].endswith("V100.00h-40.0z")
    broken = trace_curve(np.array([0, 0.25, 0.5, 1]), np.array([np.nan, 0.5, 1, np.nan]))
    assert broken == "M250.0 50.00h0 L500.0 0.00"


def test_runs_of_truth() -> None:
    assert runs_of(np.array([True, True, False, True])) == ((0, 2), (3, 4))
    assert runs_of(np.zeros(3, dtype=bool)) == ()


def test_a_long_series_keeps_every_kth_slice_and_all_marked() -> None:
    assert pick_slices(400, []) == (tuple(range(400)), 1)
    indices, step = pick_slices(1000, [7, 500])
    assert step == 3
    assert {0, 3, 999, 7, 500} < set(indices)
    explanation = explanation_of(900, 3, positions=np.arange(900.0))
    page = build_page(volume_of(explanation, ramp_of(900, size=8)), explanation)
    assert "The series has 900 slices. One in 3 of them" in page
    assert data_of(page)["told"][data_of(page)["marks"][0]].startswith("Slice 451 of 900")


def test_pictures_step_down_until_they_fit() -> None:
    noise = np.random.default_rng(0).normal(40, 60, (12, 128, 128)).astype(np.int16)
    volume = volume_of(explanation_of(), noise)
    display = choose_display(volume)
    best = encode_slices(volume, display)
    assert (best.size, best.quality, best.step) == ((128, 128), RUNGS[0][1], 1)
    assert best.pixel_mm == 1
    total = sum(len(one) for plate in best.plates for one in plate)
    less = encode_slices(volume, display, most_bytes=total // 2)
    assert sum(len(one) for plate in less.plates for one in plate) <= total // 2
    assert less.quality < best.quality
    none = encode_slices(volume, display, most_bytes=10)
    assert none.quality == RUNGS[-1][1]
    assert MOST_BYTES * 4 / 3 < 14.5e6


@pytest.mark.slow
def test_300_noisy_slices_make_a_page_below_15_mb(tmp_path) -> None:
    """White noise of 12 HU on 512 x 512: more than a scanner's."""
    rng = np.random.default_rng(0)
    explanation = explanation_of(300, 8)
    array = (ramp_of(1, size=512, low=-1000, high=1200) + rng.normal(0, 12, (300, 512, 512))).astype(np.int16)
    write_page(volume_of(explanation, array), explanation, tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size < 15e6


def test_prediction_sets_and_all_classes_are_told() -> None:
    explanation = explanation_of(probabilities={"bleed": 0.87, "none": 0.13}, prediction_set="bleed or none")
    page = build_page(volume_of(explanation, ramp_of(12)), explanation)
    assert "Prediction set: bleed or none" in page
    assert "<dt>none</dt><dd><bdi>0.13</bdi></dd>" in page


def test_a_page_without_heat_scores_or_model() -> None:
    bare = explanation_of(heat=None, attributions={}, slice_scores={}, threshold=None, model_name="",
                          model_digest="", letters=None, findings=())
    page = build_page(volume_of(bare, ramp_of(12)), bare)
    assert "there is no overlay" in page
    assert data_of(page)["heats"] == []
    assert len(data_of(page)["values"]) == 1
    assert replace(bare).series_uid == UID


def test_what_was_measured_is_told_in_words_and_numbers() -> None:
    figures = {"attention": {"gap": Measured(value=-0.02), "pointing": Measured(value=0.5)},
               "leave_out": {"gap": Measured(value=0.18)}}
    maps = Faithfulness(about="model", methods={"occlusion": {"gap": Measured(value=0.3)}}, best="occlusion",
                        words=("maps were measured.",), count=5, split="test")
    chosen = Choice(split="val", count=8, methods={"leave_out": {"gap": Measured(value=0.25)}})
    record = Faithfulness(about="model", methods=figures, best="leave_out", words=("it measured best.",), count=17,
                          split="test", choice=chosen, pixels=maps)
    panel, overlay = tell_trust(explanation_of(model_faithfulness=record, map_because="Drawn."), ["leave_out"])
    assert panel.paragraphs == ("It measured best.",)
    assert panel.table == (
        ("by slices, 17 test series", "insertion less deletion, 8 validation series, which chose",
         "insertion less deletion (high is good)", "pointing game (high is good)"),
        ("attention", "", "−0.02", "50 %"), ("leave one out", "+0.25", "+0.18", ""))  # fmt: skip
    assert overlay.paragraphs == ("Drawn.", "Maps were measured.")
    assert overlay.table[1] == ("occlusion", "+0.30")
    page = build_page(volume_of(explanation_of(), ramp_of(12)), explanation_of(model_faithfulness=record))
    assert '<th scope="row">leave one out</th>' in page
    own = {"attention": {"gap": Measured(value=-0.1), "beats_random": Measured(value=0.3)}}
    here = Faithfulness(about="series", methods=own, best="leave_out", words=("leave one out is best here.",))
    said = tell_trust(explanation_of(model_faithfulness=record, faithfulness=here), ["attention"])[0].paragraphs
    assert "The one shown, attention, has −0.100 on this series" in said[-1]
    assert "It was not measured" in tell_trust(explanation_of(), [])[0].paragraphs[0]


def test_what_shuffled_weights_leave_alike_is_told_once() -> None:
    blind = {"attention": {"gap": Measured(value=0.1), "beats_random": Measured(value=1.0),
                           "randomised": Measured(value=0.9)}}
    words = tell_measured(blind, best="attention", count=5, split="val")
    model = Faithfulness(about="model", methods=blind, best="attention", words=words, count=5, split="val")
    here = Faithfulness(about="series", methods={**blind, "leave_out": blind["attention"]}, best="attention",
                        words=tell_series(blind, best="attention"))
    for changes in ({"faithfulness": here}, {"faithfulness": here, "model_faithfulness": model}):
        said = tell_trust(explanation_of(**changes), ["attention"])[0].paragraphs
        assert len([one for one in said if "when the weights are shuffled (rank" in one]) == 1


def test_a_page_of_one_slice_and_one_of_a_clip_say_it_in_their_words() -> None:
    one = explanation_of(1, 1)
    page = build_page(volume_of(one, ramp_of(1)), one)
    assert "even weight" not in page
    assert "Made for the slice listed" in page
    assert page.count('<path class="up" d="M') == 3  # a bar each: a line through one point is none
    clip = explanation_of(9, 3, axis="time", unit="s", positions=np.arange(9) / 25, letters=None)
    page = build_page(volume_of(clip, ramp_of(9), modality="US"), clip)
    assert "Frame score" in page
    assert "lice score" not in page
