"""Lay a page out: words, curves, pictures and the script in one HTML file that may load nothing and send nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from seriatim import __version__
from seriatim.errors import printable
from seriatim.explanation.curve import name_ends, spread
from seriatim.explanation.montage import blend_heat
from seriatim.explanation.page.content import Mark, Overlay, PageContent, SeriesFacts, plain
from seriatim.explanation.page.curves import draw_track, edge_shares_of, mark_ticks, shares_of
from seriatim.explanation.page.pictures import SlicePictures
from seriatim.explanation.page.windows import Display
from seriatim.explanation.style import format_position
from seriatim.io.tables.outputs import write_text

SLOWEST_S, FASTEST_S, UNTIMED_S = 2.0, 1 / 60, 0.1
"""Seconds for which a frame stands when the page plays: at most, at least, and where frames have no times."""
MARK_GAP = 0.044
"""Between the numbers above the curves, as a share of the width."""
MOST_MARKS = 25


def write_report(content: PageContent, pictures: SlicePictures, display: Display, path: Path) -> None:
    """Write the page of one series.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, render_report(content, pictures, display))


def render_report(content: PageContent, pictures: SlicePictures, display: Display) -> str:
    """The page as HTML. All texts are escaped; a content security policy forbids it the network and foreign scripts."""
    data = _pack(content, pictures, display)
    return render_page("report.html", script="report.js", style="report.css", **_describe(content, pictures, display),
                       data=data)


def render_page(template: str, *, script: str, style: str, **context: Any) -> str:
    """An HTML template of this package with its script and its styles inside, and the policy that lets only them in."""
    own = files("seriatim.explanation.page")
    common, styles, code = (own.joinpath(name).read_text(encoding="utf-8") for name in ("common.css", style, script))
    policy = ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
              f"script-src 'sha256-{as_base64(hashlib.sha256(code.encode()).digest())}'")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_write_out)
    page = environment.from_string(own.joinpath(template).read_text(encoding="utf-8"))
    return page.render(**context, policy=policy, styles=Markup(common + styles), script=Markup(code),  # noqa: S704
                       version=__version__)


def _write_out(value: Any) -> Any:
    """A text without signs that turn the rest of the page around; markup of our own stays as it is."""
    return printable(value) if type(value) is str else value


def as_base64(content: bytes) -> str:
    """Bytes as text."""
    return base64.b64encode(content).decode("ascii")


def _describe(content: PageContent, pictures: SlicePictures, display: Display) -> dict[str, Any]:
    series, marks = content.series, content.marks
    edges = edge_shares_of(series.positions)
    return {
        "content": content, "headline": content.headline, "noun": series.noun, "count": len(pictures.indices),
        "total": len(series.positions),
        "title": f"{content.headline.title} {content.headline.number}".strip(),
        "tracks": [(track, draw_track(track, series.positions)) for track in content.tracks],
        "bands": [(1000 * edges[start], 1000 * (edges[stop] - edges[start])) for start, stop in marks.bands],
        "marks": marks, "numbers": _place_numbers(content),
        "ticks": mark_ticks(series.positions, series.unit),
        "axis": {"mm": "position along the slice normal (mm)", "s": "time (s)", "index": f"{series.noun} index"}[
            series.unit],
        "ends": name_ends(series.letters), "left_out": _tell_left_out(content, pictures), "letters": series.letters,
        "rows": pictures.size[0], "columns": pictures.size[1], "presets": display.presets, "unit": display.unit,
        "first": as_base64(pictures.plates[0][_place_of(pictures, series.start)]),
        "ramp": _ramp(), "quality": pictures.quality, "plates": len(display.plates),
    }


def _pack(content: PageContent, pictures: SlicePictures, display: Display) -> dict[str, Any]:
    """What the page's script reads. Places are those among the pictures, from 0."""
    series, indices = content.series, pictures.indices
    shares = shares_of(series.positions)
    return {
        "plates": [{"knots": [[round(value, 6), level] for value, level in knots],
                    "files": [as_base64(one) for one in own]}
                   for knots, own in zip(display.plates, pictures.plates, strict=True)],
        "presets": [{"name": one.name, "level": one.window[0], "width": one.window[1]} for one in display.presets],
        "unit": display.unit, "inverted": display.inverted,
        "x": [round(float(shares[index]), 5) for index in indices],
        "told": [_tell_slice(content, index) for index in indices],
        "corner": [f"{index + 1} / {len(series.positions)}\n{format_position(series.positions[index], series.unit)}"
                   for index in indices],
        "places": [_tell_place(series, index) for index in indices],
        "uids": [plain(series.sop_instance_uids[index]) for index in indices],
        "values": [[track.tell(index) for index in indices] for track in content.tracks],
        "marks": [_place_of(pictures, one.index) for one in content.marks.rows],
        "spans": [[_place_of(pictures, start), _place_of(pictures, stop - 1)] for start, stop in
                  (one.span or (one.index, one.index + 1) for one in content.marks.rows)],
        "names": [one.name for one in content.marks.rows], "kind": content.marks.kind,
        "start": _place_of(pictures, series.start),
        "colours": as_base64(blend_heat(np.linspace(0, 1, 256, dtype=np.float32)).tobytes()),
        "heats": [_pack_heat(one, pictures) for one in content.overlays],
        "seconds": _pauses(series, pictures),
        "pixel_mm": pictures.pixel_mm, "size": list(pictures.size),
    }


def _pack_heat(overlay: Overlay, pictures: SlicePictures) -> dict[str, Any]:
    """The heat of the slices that are on the page, 256 levels."""
    known = {index: place for place, index in enumerate(pictures.indices)}
    shown = [number for number, index in enumerate(overlay.indices) if index in known]
    return {
        "places": {known[overlay.indices[number]]: at for at, number in enumerate(shown)},
        "rows": overlay.cells.shape[1], "columns": overlay.cells.shape[2],
        "values": as_base64(overlay.cells[shown].tobytes()), "told": f"{overlay.told} Colour:", "ends": overlay.ends,
    }


def _tell_place(series: SeriesFacts, index: int) -> str:
    """Where a slice stands in the tables, and of a file of several in the file, counted from 1 as DICOM does."""
    frame = series.frames[index] if series.frames else None
    told = f"index {index} in the tables"
    return told if frame is None else f"{told} · frame {frame + 1} of the file"


def _tell_slice(content: PageContent, index: int) -> str:
    """Where a slice is, and its value on the first curve."""
    series, track = content.series, content.tracks[0]
    told = (f"{series.noun.capitalize()} {index + 1} of {len(series.positions)}",
            format_position(series.positions[index], series.unit), f"{track.name.lower()} {track.tell(index)}")
    return " · ".join(one for one in told if one)


def _place_numbers(content: PageContent) -> list[tuple[float, float, Mark]]:
    """For each mark where along the width its number stands and its slice lies, in percent; numbers stand apart."""
    rows = content.marks.rows
    if not rows or len(rows) > MOST_MARKS:
        return []
    shares = shares_of(content.series.positions)[[one.index for one in rows]]
    apart = spread(shares, gap=MARK_GAP, limits=(MARK_GAP / 2, 1 - MARK_GAP / 2))
    return [(100 * float(at), 100 * float(share), one) for at, share, one in zip(apart, shares, rows, strict=True)]


def _tell_left_out(content: PageContent, pictures: SlicePictures) -> str:
    if pictures.step == 1:
        return ""
    noun = content.series.noun
    return (f"The series has {len(content.series.positions)} {noun}s. One in {pictures.step} of them can be looked at "
            f"here, and every {noun} that is listed below; the curves come from all.")


def _pauses(series: SeriesFacts, pictures: SlicePictures) -> list[float]:
    """Seconds for which each picture stands when the page plays: those of the clip, where it has times."""
    count = len(pictures.indices)
    if series.unit != "s" or count < 2:
        return [UNTIMED_S] * count
    times = series.positions[list(pictures.indices)].tolist()
    steps = [later - earlier for earlier, later in pairwise(times)]
    clipped = np.clip([*steps, float(np.median(steps))], FASTEST_S, SLOWEST_S)
    return [round(float(step), 4) for step in clipped]


def _place_of(pictures: SlicePictures, index: int) -> int:
    """Where among the pictures a slice is, or the nearest one that is there."""
    return int(np.abs(np.asarray(pictures.indices) - index).argmin())


def _ramp() -> str:
    """The heat's colours as they look over mid-grey tissue, for a gradient."""
    colours = blend_heat(np.linspace(0, 1, 9, dtype=np.float32)).astype(float)
    share = colours[:, 3:] / 255
    mixed = np.round(share * colours[:, :3] + (1 - share) * 70).astype(int)
    return ", ".join(f"rgb({red},{green},{blue})" for red, green, blue in mixed.tolist())
