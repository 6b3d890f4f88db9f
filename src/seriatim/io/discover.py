"""find_series: every series below a path, and every file that is in none, with its reason."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seriatim.io.dicom.coverage import note_broken
from seriatim.io.dicom.groups import group_planes
from seriatim.io.dicom.index import PlaneReader
from seriatim.io.dicom.kinds import BrokenImageError, NotAnImageError
from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.series import apply_actions, build_series, refuse_planes
from seriatim.io.isolation.limits import IsolatedError, Limits, check_size, run
from seriatim.io.refused import refuse_file
from seriatim.io.time_frames import turn_to_frames
from seriatim.io.walk import identify_files, natural_key
from seriatim.series.findings import Action, Code, check_actions
from seriatim.series.series import Format, Inventory, SequenceKind, Series, Skipped

_log = logging.getLogger(__name__)
Result = tuple[list[Series], list[Skipped]]
FindIn = Callable[[Path], list[Series]]
"""Finds the series of one file. A file that cannot be read is one row with the reason; raises OSError alone."""
FORMATS: Mapping[str, Format] = {
    ".nii": "nifti", ".gz": "nifti", ".hdr": "nifti", ".nrrd": "nrrd", ".nhdr": "nrrd", ".mha": "metaimage",
    ".mhd": "metaimage", ".tif": "stack", ".tiff": "stack",
}
"""What a file that broke its parser is called, by its name; video, where it has no known name."""


def find_series(path: Path | str, actions: Mapping[Code, Action] | None = None, *,
                sequence: SequenceKind = "volumes", limits: Limits | None = None) -> Inventory:
    """Find every series below a folder, or in a file, from headers alone (videos are decoded to count their frames).

    Args:
        path: a folder, searched to the bottom, one file, or a ZIP archive or a folder in one.
        actions: what to do about findings, where not the default: ``{Code.GAP: "keep"}`` keeps series with gaps.
        sequence: what a 4D series becomes: ``volumes``, a series in space for each time, or ``frames``, a series in
            time for each slice (``frames_over_time``).
        limits: have volume files, videos and pictures looked at in a worker process under these limits
            (``Limits()``), so that what crashes, hangs or eats memory there is one file; None looks in this process.

    Returns:
        The series ordered by path and UID, and the files that are in none. Each file is in exactly one of the two. A
        series that must not be used is there with the reason (``series.usable``, ``series.reason``).

    Raises:
        InputError: there is nothing at ``path``.
        ConfigError: an action cannot be done, for example to keep what has no order.
    """
    check_actions(actions or {})
    root = Path(path)
    files = _read_files(root)
    skipped = files.skipped
    series: list[Series] = []
    grids, frames = _find_grids(files.by_kind, limits), _find_frames(files.by_kind, limits)
    for some, left in (_find_dicom(files, root=root, limits=limits), grids, frames):
        series += some
        skipped += left
    series = [apply_actions(check_size(one), actions or {}) for one in series]
    if sequence == "frames":
        series = [apply_actions(one, actions or {}) for one in turn_to_frames(series)]
    return Inventory(
        root=root,
        series=tuple(sorted(series, key=_order)),
        skipped=tuple(sorted(skipped, key=lambda one: str(one.path))),
    )


def _order(series: Series) -> tuple[str, str, str, list[tuple[bool, int, str]]]:
    return str(series.path), series.study_uid, series.series_uid, natural_key(series.volume)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The files of each kind, the planes of each DICOM file, what is neither, and what may have been a slice."""

    by_kind: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    planes: list[list[Plane]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)


def _read_files(root: Path) -> _Files:
    """What lies at and below ``root``. Each file is opened once here."""
    reader = PlaneReader()
    found, skipped = identify_files(root)
    files = _Files(skipped=skipped)
    for file in found:
        if file.kind is None:
            files.skipped.append(Skipped(path=file.path, reason=file.reason))
            files.broken.extend([file.path] if file.damaged else [])
            continue
        files.by_kind[file.kind].append(file.path)
        if file.kind == "dicom":
            try:
                files.planes.append(reader.read(file.path, file.head, file.size))
            except (NotAnImageError, OSError) as error:
                files.skipped.append(Skipped(path=file.path, reason=str(error)))
                foreign = isinstance(error, NotAnImageError) and not isinstance(error, BrokenImageError)
                files.broken.extend([] if foreign else [file.path])
    return files


def _find_dicom(files: _Files, *, root: Path, limits: Limits | None) -> Result:
    skipped: list[Skipped] = []
    series: list[Series] = []
    for group in group_planes(files.planes):
        planes, folder = group.planes, _common_folder(group.planes, root)
        try:
            built = build_series(planes, path=folder, notes=group.notes, limits=limits)
        except Exception as error:  # noqa: BLE001 - the boundary of one series: the others must be found
            _log.warning("A series cannot be put together: %s", type(error).__name__)
            _log.debug("where it failed", exc_info=error)  # the error's text may hold header values
            reason = f"The series cannot be put together ({type(error).__name__}). Export it again."
            built = [refuse_planes(planes, path=folder, reason=reason)]
        if group.name:
            built = [replace(one, volume=", ".join(filter(None, (group.name, one.volume)))) for one in built]
        used = {instance.path for one in built for instance in one.instances}
        copies = sorted({plane.path for plane in planes if plane.path not in used})
        skipped += [Skipped(path=path, reason="copy of a slice that is kept") for path in copies]
        series += built
    return [note_broken(one, files.broken) for one in series], skipped


def _find_grids(by_kind: Mapping[str, Sequence[Path]], limits: Limits | None) -> Result:
    from seriatim.io.volumes import itk, nifti

    series, skipped = _find_each(by_kind.get("nifti", ()), nifti.find_nifti, limits)
    others, unread = _find_each(by_kind.get("itk", ()), itk.find_itk, limits)
    return [*series, *others], [*skipped, *unread]


def _find_frames(by_kind: Mapping[str, Sequence[Path]], limits: Limits | None) -> Result:
    """Videos, GIFs and multi-page TIFFs are a series each; the single pictures of a folder are one together."""
    from seriatim.io.pictures.pictures import find_pages
    from seriatim.io.pictures.video import find_clip

    pages = [path for path in by_kind.get("tiff", ()) if _has_pages(path, limits)]
    single = [*by_kind.get("picture", ()), *(path for path in by_kind.get("tiff", ()) if path not in set(pages))]
    clips, unread = _find_each(by_kind.get("video", ()), find_clip, limits)
    paged, unopened = _find_each([*pages, *by_kind.get("gif", ())], find_pages, limits)
    taken = {path.parent for kind in ("dicom", "nifti", "itk") for path in by_kind.get(kind, ())} if single else set()
    stacks, left = _find_stacks(single, taken, limits)
    return [*clips, *paged, *stacks], [*unread, *unopened, *left]


def _has_pages(path: Path, limits: Limits | None) -> bool:
    """True for a TIFF of several pages, or one that breaks its parser: both are rows of their own."""
    from seriatim.io.pictures.pictures import count_pages

    try:
        return run(count_pages, limits, path) > 1
    except IsolatedError:
        return True


def _find_each(paths: Iterable[Path], find_in: FindIn, limits: Limits | None) -> Result:
    """The series of files that are each searched alone; each function gives a row with the reason where it fails."""
    series: list[Series] = []
    skipped = []
    for path in paths:
        try:
            series += _find_guarded(path, find_in, limits)
        except OSError as error:
            skipped.append(Skipped(path=path, reason=f"cannot be opened: {error.strerror or type(error).__name__}"))
    return series, skipped


def _find_guarded(path: Path, find_in: FindIn, limits: Limits | None) -> list[Series]:
    try:
        return run(find_in, limits, path)
    except IsolatedError as error:
        return [refuse_file(path, FORMATS.get(path.suffix.lower(), "video"), error.finding)]


def _find_stacks(paths: Sequence[Path], taken: set[Path], limits: Limits | None) -> Result:
    from seriatim.io.pictures.pictures import find_stack

    folders: dict[Path, list[Path]] = defaultdict(list)
    series, skipped = [], []
    for path in paths:
        if path.parent in taken:
            skipped.append(Skipped(path=path, reason="a picture beside medical images"))
        else:
            folders[path.parent].append(path)
    for pictures in folders.values():
        try:
            stack, broken = run(find_stack, limits, pictures)
        except IsolatedError as error:
            stack, broken = None, [(path, str(error)) for path in pictures]
        except OSError as error:  # one vanished between two looks at it
            reason = f"cannot be opened: {error.strerror or type(error).__name__}"
            stack, broken = None, [(path, reason) for path in pictures]
        series += [stack] if stack else []
        skipped += [Skipped(path=path, reason=reason) for path, reason in broken]
    return series, skipped


def _common_folder(planes: Sequence[Plane], root: Path) -> Path:
    """The file of a one-file series, else the deepest folder that holds all its files."""
    first = planes[0].path
    if all(plane.path is first for plane in planes) or len({plane.path for plane in planes}) == 1:
        return first
    names = {os.path.dirname(plane.path) for plane in planes}  # noqa: PTH120 - Path.parent is slow for many files
    folders = [Path(name) for name in names]
    folder = folders[0]
    if len(folders) == 1:
        return folder
    while folder != root and not all(one.is_relative_to(folder) for one in folders):
        folder = folder.parent
    return folder
