"""The picture of an explanation: its header, the attention curve, the most attended slices, and what it cannot say."""

from __future__ import annotations

from pathlib import Path

from matplotlib.patches import Rectangle

from seriatim.errors import OutputError
from seriatim.explanation import style
from seriatim.explanation.curve import curve_height, draw_curve
from seriatim.explanation.explanation import Drawn, Explanation
from seriatim.explanation.montage import draw_montage, montage_height
from seriatim.explanation.style import Page
from seriatim.explanation.words import tell_number, tell_share

HEADER_HEIGHT = 1.5
SECTION_GAP = 0.3
FOOTER_HEIGHT, NOTE_HEIGHT = 0.75, 0.2
"""Of two lines, and of each line more or less."""
OUTSIDE = ("OUTSIDE_", "OUT_OF_")
"""How the codes begin that say a series lies outside of what a model was trained on."""
GAUGE = (3.4, 0.1)
"""Width and height in inches of the bar that shows the probability beside its threshold."""
FOOTNOTE = (
    "Attention says which {noun}s the model weighed, not why. Maps are relative to the {noun}s shown. "
    "Research use, not a medical device."
)


def draw_explanation(explanation: Explanation, path: Path) -> None:
    """Draw one series' explanation as a PNG. It shows no identifier, neither UIDs nor file names.

    Raises:
        OutputError: the file cannot be written.
    """
    save_page(compose(explanation), path)


def save_page(page: Page, path: Path) -> None:
    """Write a page as a PNG. Raises OutputError."""
    try:
        page.figure.savefig(path, format="png", dpi=style.DPI, facecolor=style.BACKGROUND)
    except OSError as error:
        raise OutputError(f"The picture {path} cannot be written: {error}. Choose another folder.") from error


def compose(explanation: Explanation) -> Page:
    """Lay the explanation out on a page as high as its slices need."""
    curve, montage = curve_height(explanation), montage_height(explanation)
    notes = (explanation.shown_because, explanation.calibration, FOOTNOTE.format(noun=explanation.noun))
    lines = [text for text in notes if text]
    page = Page(HEADER_HEIGHT + curve + SECTION_GAP + montage + FOOTER_HEIGHT + NOTE_HEIGHT * (len(lines) - 2))
    _draw_header(page, explanation)
    warn_reader(page, explanation)
    draw_curve(page, explanation, top=HEADER_HEIGHT)
    draw_montage(page, explanation, top=HEADER_HEIGHT + curve + SECTION_GAP)
    for above, text in enumerate(reversed(lines)):
        place = page.height - 0.32 - NOTE_HEIGHT * above
        page.note(style.MARGIN, place, text, width=style.FIGURE_WIDTH - 2 * style.MARGIN)
    return page


def _draw_header(page: Page, explanation: Explanation) -> None:
    title = {"fontsize": style.TITLE, "weight": "bold", "va": "baseline"}
    wide = page.write(style.MARGIN, 0.68, explanation.label, width=7.2, **title)
    page.write(style.MARGIN + wide + 0.3, 0.68, tell_number(explanation.probability), width=1.6,
               color=style.ACCENT, **title)
    left = style.MARGIN
    if _is_share(explanation.probability):
        left += draw_gauge(page, explanation.probability, explanation.threshold)
    answer = f"Prediction: {explanation.prediction}"
    if explanation.threshold is not None:
        answer += f"  (threshold {tell_share(explanation.threshold)})"
    page.write(left, 0.96, answer, width=5.4, color=style.INK)
    for line, text in enumerate(tell_facts(explanation)):
        page.note(style.FIGURE_WIDTH - style.MARGIN, 0.44 + 0.25 * line, text, width=5.4, ha="right")


def draw_gauge(page: Page, share: float, threshold: float | None) -> float:
    """A bar from 0 to 1 below the title, filled as far as ``share``; inches to what stands beside it."""
    axes = page.add_axes(style.MARGIN, 1.0, *GAUGE)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    axes.add_patch(Rectangle((0, 0), 1, 1, color=style.GRID, linewidth=0))
    axes.add_patch(Rectangle((0, 0), share, 1, color=style.ACCENT, linewidth=0))
    if threshold is not None and _is_share(threshold):
        axes.plot([threshold] * 2, [-0.7, 1.7], color=style.INK, linewidth=1.6, clip_on=False)
    return GAUGE[0] + 0.3


def warn_reader(page: Page, explanation: Drawn) -> None:
    """A line below the answer where it proves little: a picture travels without its page."""
    if warnings := tell_warnings(explanation):
        page.note(style.MARGIN, 1.24, " ".join(warnings), width=style.FIGURE_WIDTH - 2 * style.MARGIN,
                  color=style.EVENT, weight="bold")


def tell_warnings(explanation: Drawn) -> tuple[str, ...]:
    """Why the answer proves little: the model knew the series before, or it is unlike those of training."""
    outside = ", ".join(shorten(one) for one in explanation.findings if one.startswith(OUTSIDE))
    unlike = "" if not outside else (
        f"What the model says here was never validated: the series lies outside of what it was trained on ({outside}).")
    return tuple(one for one in (explanation.known_before, unlike) if one)


def tell_facts(explanation: Drawn) -> list[str]:
    """The lines on the right of the header: the series, the model, what discovery noticed."""
    count = len(explanation.positions)
    series = f"{count} {explanation.noun}{'s' if count > 1 else ''}"
    model = " · ".join(part for part in (explanation.model_name, explanation.model_digest[:12]) if part)
    noticed = ", ".join(shorten(finding) for finding in explanation.findings)
    return [
        " · ".join(part for part in (series, explanation.window_text) if part),
        *([f"model {model}"] if model else []),
        *([f"noticed: {noticed}"] if noticed else []),
    ]


def shorten(finding: str) -> str:
    """A finding's code as words; its message is left out, since it may name the series."""
    return finding.partition(":")[0].lower().replace("_", " ")


def _is_share(value: float) -> bool:
    return 0 <= value <= 1
