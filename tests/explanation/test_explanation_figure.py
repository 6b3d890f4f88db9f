"""The picture: always made, within the page, without identifiers; and the geometry its parts are placed by."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seriatim.errors import OutputError
from seriatim.explanation import style
from seriatim.explanation.curve import spread
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.faithfulness.words import why_shown
from seriatim.explanation.figure import compose, draw_explanation
from seriatim.explanation.known_before import KNOWN_BEFORE
from seriatim.explanation.montage import arrange, blend_heat, draw_image, draw_letters
from seriatim.explanation.notebook import STATIC_DPI
from seriatim.explanation.results import PICTURE_DPI
from seriatim.explanation.shown import first_slices
from seriatim.explanation.words import tell_rest

UID = "1.2.840.113619.2.55.3"


def explanation_of(count=12, shown=4, *, shape=(40, 40), colour=False, **changes):
    rng = np.random.default_rng(0)
    attention = rng.random(count) + 0.01
    attention /= attention.sum()
    size = (shown, *shape, 3) if colour else (shown, *shape)
    fields = {
        "series_uid": UID, "label": "bleed", "probability": 0.87, "prediction": "bleed", "threshold": 0.4,
        "axis": "space", "unit": "mm", "positions": np.arange(count) * 5.0 - 30, "attention": attention,
        "attributions": {"leave_out": rng.normal(size=count)},
        "shown_attribution": "leave_out", "shown_because": "Leave one out is shown.",
        "slice_scores": {"bleed": rng.random(count)},
        "sop_instance_uids": tuple(f"{UID}.{i}" for i in range(count)),
        "top": tuple(int(i) for i in np.argsort(-attention)[:shown]),
        "images": rng.integers(0, 256, size, dtype=np.uint8), "heat": rng.random((shown, *shape)).astype(np.float32),
        "letters": ("R", "L", "A", "P"), "window_text": "L 40 W 80 HU", "model_name": "demo", "model_digest": "a" * 64,
        "findings": (f"GAP: Series {UID} has a gap",), "truth": attention > 0.1,
    }
    return Explanation(**{**fields, **changes})


CASES = {
    "plain": explanation_of(),
    "one slice": explanation_of(1, 1),
    "two slices": explanation_of(2, 2),
    "long series": explanation_of(600, 8, positions=np.arange(600) * 0.4),
    "neighbours on top": explanation_of(300, 7, top=tuple(range(293, 300))),
    "clip in colour": explanation_of(
        30, 6, colour=True, axis="time", unit="s", positions=np.arange(30) / 25, letters=None, truth=None,
        window_text="",
    ),
    "by index": explanation_of(5, 3, unit="index", positions=np.arange(5.0)),
    "wide": explanation_of(9, 5, shape=(10, 90)),
    "tall": explanation_of(9, 8, shape=(120, 10)),
    "bare": explanation_of(
        9, 3, heat=None, attributions={}, shown_attribution="attention", slice_scores={}, truth=None, threshold=None,
        findings=(), model_name="", model_digest="", letters=None,
    ),
    "zero heat": explanation_of(heat=np.zeros((4, 40, 40), dtype=np.float32)),
    "zero contributions": explanation_of(attributions={"leave_out": np.zeros(12)}),
    "even attention": explanation_of(attention=np.full(12, 1 / 12)),
    "regression": explanation_of(label="volume_ml", probability=1234.5, threshold=None, prediction="1234 ml"),
    "long words": explanation_of(
        label="a $class_{" + "very " * 40, prediction="so " * 80, findings=tuple(f"CODE_{i}" for i in range(40)),
        known_before=KNOWN_BEFORE["unlabelled"], calibration="The probability is not calibrated. " * 8,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_text_is_on_the_page_and_none_overlaps_another(name):
    page = compose(CASES[name])
    page.figure.canvas.draw()
    renderer = page.figure.canvas.get_renderer()
    width, height = page.figure.bbox.width, page.figure.bbox.height
    boxes = [text.get_window_extent(renderer) for text in page.figure.texts if text.get_text()]
    assert len(boxes) > 5
    for box in boxes:
        assert -0.5 <= box.x0 < box.x1 <= width + 0.5
        assert -0.5 <= box.y0 < box.y1 <= height + 0.5
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            down = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert across <= 0 or down <= 2


def test_the_picture_is_written_at_its_size(tmp_path):
    draw_explanation(CASES["plain"], tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    assert width == style.FIGURE_WIDTH * style.DPI
    assert 0.5 < height / width < 1.5


def test_the_picture_is_the_same_every_time(tmp_path):
    for name in ("a.png", "b.png"):
        draw_explanation(CASES["wide"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_identifier_is_in_the_picture_or_its_file(tmp_path):
    draw_explanation(CASES["plain"], tmp_path / "a.png")
    assert UID.encode() not in (tmp_path / "a.png").read_bytes()
    page = compose(CASES["plain"])
    written = [text.get_text() for text in page.figure.findobj(match=lambda part: hasattr(part, "get_text"))]
    assert not any(re.search(r"\d\.\d+\.\d+", text) for text in written)
    assert "noticed: gap" in written


def test_what_the_picture_says(tmp_path):
    page = compose(explanation_of(attributions={"leave_out": -1.5 * np.eye(12)[7]}, top=(7, 3, 4, 5)))
    written = [text.get_text() for text in page.figure.findobj(match=lambda part: hasattr(part, "get_text"))]
    numbers = ("0.87", "−1.5 logits", "+0 logits", "5.0 mm · slice 8", "12 slices · L 40 W 80 HU")
    for text in ("bleed", *numbers, "◂ I", "S ▸"):
        assert text in written
    assert any("not a medical device" in text for text in written)


def test_the_tall_panel_is_of_the_method_that_is_shown_and_its_numbers_stand_on_its_values():
    values = np.zeros(12)
    values[[3, 7]] = 2.0, -1.0
    for shown, name in (("leave_out", "Leave one out"), ("attention", "Attention")):
        explanation = explanation_of(attributions={"leave_out": values, "attention": np.full(12, 1 / 12)},
                                     shown=3, attention=np.full(12, 1 / 12), shown_attribution=shown, top=(3, 7, 0))
        page = compose(explanation)
        headings = [text.get_text() for text in page.figure.texts if "along the series" in text.get_text()]
        assert headings == [f"{name} along the series"]
        dots = {(float(x), float(y)) for axes in page.figure.axes for line in axes.lines if len(line.get_xdata()) == 1
                for x, y in [(line.get_xdata()[0], line.get_ydata()[0])]}
        chosen = explanation.attribution()
        assert {(float(explanation.positions[index]), float(chosen[index])) for index in (3, 7, 0)} <= dots


def test_the_picture_says_that_the_model_knew_the_series_before():
    page = compose(explanation_of(known_before=KNOWN_BEFORE["train"]))
    assert KNOWN_BEFORE["train"] in [text.get_text() for text in page.figure.texts]
    assert not any("no test" in text.get_text() for text in compose(explanation_of()).figure.texts)


def test_the_picture_warns_of_a_series_unlike_those_of_training():
    page = compose(explanation_of(findings=("OUTSIDE_TRAINED_INTENSITY", "GANTRY_TILT")))
    said = [text.get_text() for text in page.figure.texts]
    assert any("never validated" in text and text.endswith("(outside trained intensity).") for text in said)


def test_the_picture_says_that_its_probability_is_not_calibrated():
    told = "The probability is not calibrated: 0.8 does not mean that it holds for 80 of 100 such series."
    written = [text.get_text() for text in compose(explanation_of(calibration=told)).figure.texts]
    assert told in written
    assert "Leave one out is shown." in written
    assert any(text.endswith("Research use, not a medical device.") for text in written)


@pytest.mark.parametrize(("value", "told"), [(0.99987, "> 0.99"), (0.994, "0.99"), (1.0, "> 0.99"), (0.0049, "< 0.01")])
def test_no_probability_is_told_as_certain(value, told):
    assert told in [text.get_text() for text in compose(explanation_of(probability=value)).figure.texts]


def test_slices_that_do_not_speak_for_the_class_are_no_evidence():
    values = np.array([0.5, -1, 0, 2, -3, 0, 0, 0])
    assert first_slices(values, top=6, signed=True) == (3, 0)
    assert first_slices(-np.abs(values), top=6, signed=True) == (2,)
    assert len(first_slices(values, top=6)) == 6
    few = {"attributions": {"leave_out": values}, "top": (3, 0), "shown": 2}
    assert tell_rest(explanation_of(8, **few)) == "no other slice raises the score"
    assert tell_rest(explanation_of(8, **few | {"top": (3,), "shown": 1})) == ""
    assert tell_rest(explanation_of(8, **few | {"attributions": {"leave_out": -np.abs(values)}})) == (
        "no slice raises the score")
    shown = explanation_of(8, **few | {"attributions": {}, "shown_attribution": "attention"})
    assert tell_rest(shown) == ""
    name = "integrated_gradients"
    page = compose(explanation_of(8, **few | {"attributions": {name: values}, "shown_attribution": name}))
    assert any(text.get_text().endswith("; no other slice raises the score") for text in page.figure.texts)


def test_small_attributions_keep_their_digits():
    page = compose(explanation_of(shown=1, attributions={"leave_out": -0.00427 * np.eye(12)[7]}, top=(7,)))
    assert "−0.00427 logits" in [text.get_text() for text in page.figure.texts]


def test_no_word_of_the_footer_is_cut_off():
    name = "integrated_gradients"
    why = why_shown(name)
    page = compose(explanation_of(attributions={name: np.eye(12)[7]}, shown_attribution=name, shown_because=why))
    written = [text.get_text() for text in page.figure.texts]
    assert why in written
    assert any(text.endswith("Research use, not a medical device.") for text in written)


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        draw_explanation(CASES["one slice"], tmp_path / "none" / "a.png")


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8), st.floats(0.01, 40))
def test_spread_keeps_order_distance_and_limits(wanted, gap):
    moved = spread(wanted, gap=gap, limits=(-60, 60))
    room = min(gap, 120 / max(1, len(wanted) - 1))
    ordered = moved[np.argsort(wanted, kind="stable")]
    assert (np.diff(ordered) >= room - 1e-9).all()
    assert ordered[0] >= -60 - 1e-9
    assert ordered[-1] <= 60 + 1e-9


def test_spread_leaves_alone_what_is_far_apart():
    assert spread([30.0, 0.0, 10.0], gap=5, limits=(0, 30)).tolist() == [30.0, 0.0, 10.0]


@given(st.integers(1, 8), st.floats(0.02, 50), st.sampled_from([1, 2]))
def test_a_grid_holds_all_cards_within_the_page(count, aspect, panes):
    grid = arrange(count, aspect=aspect, panes=panes)
    assert grid.rows * grid.columns >= count > (grid.rows - 1) * grid.columns
    assert grid.width <= style.FIGURE_WIDTH - 2 * style.MARGIN + 1e-6
    assert grid.height <= 8
    assert grid.image_height == pytest.approx(grid.image_width * aspect)
    assert grid.image_width > 0.05


def test_heat_is_clear_where_there_is_none_and_never_hides_the_anatomy():
    alpha = blend_heat(np.linspace(0, 1, 50, dtype=np.float32)[None])[0, :, 3].astype(int)
    assert alpha[0] == 0
    assert (np.diff(alpha) >= 0).all()
    assert 128 < alpha[-1] < 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": np.ones(3)}, "per-slice shapes"),
        ({"attention": np.full(12, np.nan)}, "finite"),
        ({"probability": np.inf}, "finite"),
        ({"positions": np.zeros(12)}, "ascend"),
        ({"top": (0, 0, 1, 2)}, "distinct"),
        ({"top": (0, 1, 2, 12)}, "distinct"),
        ({"images": np.zeros((4, 40, 40))}, "uint8"),
        ({"images": np.zeros((3, 40, 40), dtype=np.uint8)}, "uint8"),
        ({"heat": np.full((4, 40, 40), 2.0)}, "within"),
        ({"heat": np.zeros((4, 20, 40))}, "Heat must be"),
    ],
)
def test_an_explanation_that_does_not_add_up_is_not_made(changes, message):
    with pytest.raises(ValueError, match=message):
        explanation_of(**changes)


@pytest.mark.parametrize("dpi", [STATIC_DPI, PICTURE_DPI, style.DPI])
def test_left_is_not_taken_for_inferior(dpi):
    """In a coarse picture a thin L loses its foot: edges are moved to pixels, and the foot may fall between them."""
    for shift in np.arange(6) / 6 / dpi:
        wide = {}
        for one in "LI":
            page = style.Page(2.0)
            axes = page.add_axes(1 + shift, 0.2 + shift, 1.5, 1.5)
            draw_image(axes, np.zeros((8, 8), np.uint8))
            draw_letters(axes, (one, " ", " ", " "), size=(1.5, 1.5))
            wide[one] = np.ptp(np.nonzero((page.render(dpi)[..., 1] > 160).any(axis=0))[0])
        assert wide["L"] >= wide["I"] + 2
