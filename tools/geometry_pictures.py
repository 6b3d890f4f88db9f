"""Draw the pictures of docs/geometry.md: python tools/geometry_pictures.py docs/pictures

Nothing is drawn by hand: the orders, positions, findings and slices in the pictures are what `find_series` and
`read_volume` return for files that this script writes into a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pydicom
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from seriatim.io import find_series, read_volume
from seriatim.series import Volume
from seriatim.series.geometry import affine_normal, display_orientation, plane_of, slice_normal
from seriatim.series.spacing import check_spacing
from seriatim.synth.head_ct import write_head_ct
from seriatim.transforms.orientation import orient

INK, MUTED, FAINT = "#1c2733", "#5d6b7a", "#c9d2db"
GOOD, BAD, MARK = "#1f77b4", "#c0392b", "#d98200"
ORDER = mpl.colormaps["viridis_r"]
WINDOW_HU = (40.0, 120.0)
SIZE, SEED, INDEX = 96, 3, 1
SHOWN = (4, 10, 16)
"""Slices of the head that are shown: of the base, of the ventricles, of the vertex."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the PNG files go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"font.family": "DejaVu Sans", "text.color": INK, "axes.labelcolor": INK, "font.size": 11})
    drawers: dict[str, Callable[[], Figure]] = {
        "geometry_order": draw_order, "geometry_affine": draw_affine, "geometry_spacing": draw_spacing,
        "geometry_same": draw_same,
    }
    for name, draw in drawers.items():
        figure = draw()
        FigureCanvasAgg(figure)
        figure.savefig(folder / f"{name}.png", dpi=110, facecolor="white")
        print(folder / f"{name}.png")


# --- the direction rule ---------------------------------------------------------------------------------------------

def draw_order() -> Figure:
    """Stacks in the patient's space, slices numbered in the order of the sequence."""
    figure = Figure(figsize=(13.2, 4.2))
    tilt = np.radians(30)
    oblique = [0.0, np.cos(tilt), np.sin(tilt)]
    stacks = (("axial", [1, 0, 0], [0, 1, 0]), ("coronal", [1, 0, 0], [0, 0, 1]), ("sagittal", [0, 1, 0], [0, 0, 1]),
              ("oblique, 30° off axial", [1, 0, 0], oblique))
    for place, (name, column_axis, row_axis) in enumerate(stacks):
        axes: Any = figure.add_subplot(1, 4, place + 1, projection="3d")
        normal = slice_normal(column_axis, row_axis)
        _draw_stack(axes, np.asarray(column_axis, float), np.asarray(row_axis, float), normal)
        start, stop = "LPI"[np.abs(normal).argmax()], "RAS"[np.abs(normal).argmax()]
        title = f"{name}\nslices ascend {start} → {stop}"
        figure.text(0.125 + 0.25 * place, 0.98, title, fontsize=12, ha="center", va="top")
    figure.subplots_adjust(left=0.0, right=1.0, bottom=-0.06, top=0.9, wspace=0.0)
    return figure


def _draw_stack(axes: Any, column_axis: np.ndarray, row_axis: np.ndarray, normal: np.ndarray) -> None:
    for index, offset in enumerate(np.linspace(-0.8, 0.8, 5)):
        centre = offset * normal
        corners = [centre + a * column_axis * 0.8 + b * row_axis * 0.8 for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        colour = ORDER(0.12 + 0.2 * index)
        face = (*colour[:3], 0.32)
        axes.add_collection3d(Poly3DCollection([corners], facecolor=face, edgecolor=colour, linewidth=1.4))
        near = max(corners, key=lambda corner: float(corner @ np.array([0.75, -1.0, 0.25])))
        axes.text(*(near * 1.1), str(index), color=INK, fontsize=11, ha="center", va="center", weight="bold")
    axes.quiver(*(-1.15 * normal), *(2.5 * normal), color=BAD, linewidth=2.2, arrow_length_ratio=0.1)
    for axis, letters in enumerate(("LR", "PA", "IS")):
        for letter, sign in zip(letters, (-1, 1), strict=True):
            place = np.zeros(3)
            place[axis] = 1.55 * sign
            axes.text(*place, letter, color=MUTED, fontsize=12, ha="center", va="center")
    axes.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), zlim=(-1.1, 1.1))
    axes.set_box_aspect((1, 1, 1), zoom=1.08)
    axes.view_init(elev=16, azim=-58)
    axes.set_axis_off()


# --- the affine -----------------------------------------------------------------------------------------------------

def draw_affine() -> Figure:
    """The pixels of one axial slice, their indices, and where the affine puts their centres."""
    spacing_x, spacing_y, origin = 2.0, 3.0, np.array([7.0, 9.0])
    affine = np.diag([-spacing_x, -spacing_y, 5.0, 1.0])
    affine[:2, 3] = origin
    figure = Figure(figsize=(11.5, 4.8))
    axes = figure.add_axes((0.02, 0.1, 0.5, 0.82))
    for j in range(5):
        for i in range(6):
            x, y = (affine @ [i, j, 0, 1])[:2]
            axes.add_patch(mpl.patches.Rectangle((x - spacing_x / 2, y - spacing_y / 2), spacing_x, spacing_y,
                                                 facecolor="#f3f6f9", edgecolor=FAINT, linewidth=1.2))
            axes.plot(x, y, "o", color=MUTED, markersize=3.5)
    _draw_axis(axes, (affine @ [0, 0, 0, 1])[:2], (affine @ [2, 0, 0, 1])[:2], "column i →")
    _draw_axis(axes, (affine @ [0, 0, 0, 1])[:2], (affine @ [0, 2, 0, 1])[:2], "row j ↓")
    marked = (affine @ [4, 3, 0, 1])[:2]
    axes.plot(*marked, "o", color=BAD, markersize=9)
    axes.annotate(f"array[k, 3, 4]\nx = {marked[0]:+.0f} mm, y = {marked[1]:+.0f} mm", marked, xytext=(18, -30),
                  textcoords="offset points", color=BAD, fontsize=11,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2})
    axes.plot(*origin, "o", color=GOOD, markersize=9)
    axes.annotate("centre of the first pixel:\nImagePositionPatient, turned to RAS+", origin, xytext=(-10, 28),
                  textcoords="offset points", color=GOOD, fontsize=11)
    letters = display_orientation(affine).letters
    for text, place in zip(letters, ((0.07, 0.5), (0.93, 0.5), (0.5, 1.0), (0.5, 0.06)), strict=True):
        axes.text(*place, text, transform=axes.transAxes, color=MUTED, fontsize=14, ha="center", va="center")
    axes.set(xlim=(13, -8), ylim=(-7, 15.5))  # x grows to the patient's right, which is on the left of the picture
    axes.set_aspect("equal")
    axes.set_axis_off()
    _write_formula(figure, affine)
    return figure


def _draw_axis(axes: Any, start: np.ndarray, stop: np.ndarray, text: str) -> None:
    axes.annotate("", stop, xytext=start, arrowprops={"arrowstyle": "-|>", "color": GOOD, "linewidth": 2.2})
    across = abs(stop[0] - start[0]) > abs(stop[1] - start[1])
    axes.annotate(text, (start + stop) / 2, xytext=(8, -14) if across else (-12, 0), textcoords="offset points",
                  color=GOOD, fontsize=11, ha="center" if across else "right",
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})


def _write_formula(figure: Figure, affine: np.ndarray) -> None:
    rows = "\n".join("[" + "".join(f"{value:7.1f}" for value in row) + " ]" for row in affine)
    lines = ("affine  (4,4), float64", rows, "affine @ [i, j, k, 1]  =  (x, y, z) mm, RAS+",
             ("first column    one pixel along a row\nsecond column   one row down\n"
              "third column    one slice on\nlast column     centre of voxel (0, 0, 0)"))
    for text, top in zip(lines, (0.88, 0.8, 0.5, 0.4), strict=True):
        figure.text(0.55, top, text, fontsize=11.5, va="top", family="DejaVu Sans Mono", linespacing=1.5)


# --- spacing --------------------------------------------------------------------------------------------------------

def draw_spacing() -> Figure:
    """Positions of slices along the normal, and what is found in them."""
    fossa, brain = np.arange(0, 20.1, 2.5), np.arange(25, 60.1, 5.0)
    cases: tuple[tuple[str, list[float]], ...] = (
        ("even", [5.0 * k for k in range(13)]),
        ("one slice missing", [5.0 * k for k in range(13) if k != 6]),
        ("a protocol with two distances", [*fossa, *brain]),
        ("two distances and one slice missing", [*fossa, *brain[brain != 45]]),
        ("positions rounded to a millimetre", [float(round(4.8 * k)) for k in range(13)]),
    )
    figure = Figure(figsize=(11.5, 4.6))
    for place, (name, positions) in enumerate(cases):
        axes = figure.add_axes((0.03, 0.82 - 0.19 * place, 0.5, 0.15))
        findings = check_spacing(positions)
        axes.plot([0, 60], [0, 0], color=FAINT, linewidth=1.5, zorder=1)
        axes.vlines(positions, -0.5, 0.5, color=GOOD, linewidth=2.5)
        for finding in findings:
            if "slice" in finding.numbers:
                first = int(finding.numbers["slice"]) - 1
                axes.axvspan(positions[first] + 0.6, positions[first + 1] - 0.6, color=BAD, alpha=0.18, linewidth=0)
        axes.set(xlim=(-2, 62), ylim=(-0.9, 0.9))
        axes.set_axis_off()
        figure.text(0.56, 0.9 - 0.19 * place, name, fontsize=11.5, va="center", weight="bold")
        told = [f"{finding.code}: {finding.action}" for finding in findings] or ["no finding"]
        figure.text(0.56, 0.852 - 0.19 * place, ", ".join(told), fontsize=11, va="center",
                    color=BAD if any(finding.action == "refuse" for finding in findings) else MUTED)
    return figure


# --- one anatomy, one sequence --------------------------------------------------------------------------------------

def draw_same() -> Figure:
    """The same head in four files: as stored, and as the network sees it."""
    with tempfile.TemporaryDirectory() as name:
        rows = [_read_both(path, text) for path, text in _write_versions(Path(name))]
    figure = Figure(figsize=(11.5, 6.6))
    count = len(SHOWN)
    for line, (text, stored, seen, letters) in enumerate(rows):
        top = 0.705 - 0.232 * line
        figure.text(0.015, top + 0.105, text, fontsize=11, va="center", linespacing=1.5)
        for column, picture in enumerate((*stored, *seen)):
            left = 0.215 + 0.127 * column + (0.025 if column >= count else 0)
            axes = figure.add_axes((left, top, 0.12, 0.215))
            axes.imshow(_window(picture), cmap="gray", vmin=0, vmax=1, aspect="equal")
            axes.set_axis_off()
            if column >= count:
                _write_letters(axes, letters)
    figure.text(0.215, 0.955, "as stored: slices 4, 10, 16 of the files", fontsize=12, weight="bold")
    figure.text(0.621, 0.955, "as the network sees them: slices 4, 10, 16", fontsize=12, weight="bold")
    same = all(np.array_equal(a, b) for row in rows[1:] for a, b in zip(row[2], rows[0][2], strict=True))
    if not same:
        raise SystemExit("The four files do not give the same sequence: the picture would lie.")
    return figure


def _write_letters(axes: Any, letters: Sequence[str]) -> None:
    for text, place in zip(letters, ((0.05, 0.5), (0.95, 0.5), (0.5, 0.94), (0.5, 0.06)), strict=True):
        axes.text(*place, text, transform=axes.transAxes, color="#ffd479", fontsize=9, ha="center", va="center")


def _write_versions(folder: Path) -> list[tuple[Path, str]]:
    write_head_ct(folder / "usual", INDEX, seed=SEED, size=SIZE)
    usual = next(path for path in (folder / "usual").rglob("*") if path.is_file()).parent
    volume = _read_one(usual)
    flipped, turned, nifti = folder / "flipped", folder / "turned", folder / "head.nii.gz"
    _rewrite(usual, flipped, flip=True)
    _rewrite(usual, turned, flip=False)
    moved = np.moveaxis(np.asarray(volume.array), (0, 1, 2), (2, 1, 0))[::-1, ::-1]
    affine = np.array(volume.affine)
    affine[:3, 3] += affine[:3, 0] * (moved.shape[0] - 1) + affine[:3, 1] * (moved.shape[1] - 1)
    affine[:3, :2] *= -1
    nib.save(nib.Nifti1Image(np.ascontiguousarray(moved), affine), nifti)
    return [(usual, "DICOM,\nrandom file names"),
            (flipped, "DICOM, both image\naxes and the file\norder reversed"),
            (turned, "DICOM, rows and\ncolumns exchanged"),
            (nifti, "NIfTI, RAS axes")]


def _rewrite(source: Path, target: Path, *, flip: bool) -> None:
    """The same voxels at the same places, stored another way: orientation and position tags go with the pixels."""
    target.mkdir()
    datasets = [pydicom.dcmread(path) for path in source.iterdir()]
    ordered = sorted(datasets, key=lambda one: -float(one.ImagePositionPatient[2]))
    for number, dataset in enumerate(ordered):
        pixels, spacing = dataset.pixel_array, [float(value) for value in dataset.PixelSpacing]
        axes = np.asarray(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
        position = np.asarray(dataset.ImagePositionPatient, dtype=float)
        if flip:
            rows, columns = pixels.shape
            position = position + axes[0] * spacing[1] * (columns - 1) + axes[1] * spacing[0] * (rows - 1)
            pixels, axes = pixels[::-1, ::-1], -axes
        else:
            pixels, axes, spacing = pixels.T, axes[::-1], spacing[::-1]
        dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.ImageOrientationPatient = [f"{value:g}" for value in axes.ravel()]
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in position]
        dataset.PixelSpacing = [f"{value:.6f}" for value in spacing]
        dataset.InstanceNumber = number + 1
        dataset.save_as(target / f"{number:03d}")


def _read_both(path: Path, text: str) -> tuple[str, list[np.ndarray], list[np.ndarray], Sequence[str]]:
    """Slices in the order of the files, and the same of the sequence in the radiological view."""
    volume = _read_one(path)
    assert volume.affine is not None
    assert plane_of(volume.affine) == "axial"
    assert affine_normal(volume.affine)[2] > 0
    if path.is_dir():
        files = sorted(path.iterdir())
        stored = [pydicom.dcmread(files[index]) for index in SHOWN]
        pictures = [one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in stored]
    else:
        pictures = [np.asarray(nib.load(path).dataobj)[:, :, index].T for index in SHOWN]
    seen = orient(volume.array, volume.affine)
    return text, pictures, [np.asarray(seen[index]) for index in SHOWN], display_orientation(volume.affine).letters


def _read_one(path: Path) -> Volume:
    (series,) = (one for one in find_series(path).series if one.usable)
    return read_volume(series)


def _window(picture: np.ndarray) -> np.ndarray:
    level, width = WINDOW_HU
    return np.clip((picture - (level - width / 2)) / width, 0, 1)


if __name__ == "__main__":
    main()
