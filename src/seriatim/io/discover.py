"""find_series: every series below a path, and every file that is in none, with its reason."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seriatim.io.dicom.coverage import name_like, note_broken
from seriatim.io.dicom.groups import group_planes
from seriatim.io.dicom.index import PlaneReader
from seriatim.io.dicom.kinds import BrokenImageError, NotAnImageError
from seriatim.io.dicom.known import KnownFiles
from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.series import apply_actions, build_series, refuse_planes
from seriatim.io.dicom.shelf import PlaneShelf
from seriatim.io.isolation.limits import IsolatedError, Limits, check_size, run
from seriatim.io.refused import refuse_file
from seriatim.io.scratch_database import telling_scratch
from seriatim.io.stored_series import SeriesStore
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
    series: list[Series] = []
    skipped: list[Skipped] = []
    for some, left in search(path, actions, sequence=sequence, limits=limits):
        series += some
        skipped += left
    return Inventory(
        root=Path(path),
        series=tuple(sorted(series, key=_order)),
        skipped=tuple(sorted(skipped, key=lambda one: str(one.path))),
    )


def find_many(path: Path | str, actions: Mapping[Code, Action] | None = None, *, sequence: SequenceKind = "volumes",
              limits: Limits | None = None, known: KnownFiles | None = None) -> Inventory:
    """The inventory of ``find_series``, whose arguments these are, for an archive of any size.

    Series and skipped files are outside of memory until they are asked for, and made anew each time: some bytes are
    held for each. As ``frames``, all series are held while they are found. ``known``: what earlier searches of the same
    path read; only what is new or changed is read.

    Raises:
        InputError, ConfigError: as ``find_series``.
        OutputError: there is no room where TMPDIR is.
    """
    store = SeriesStore()
    for series, skipped in search(path, actions, sequence=sequence, limits=limits, known=known):
        store.add(series, skipped)
    if known is not None:
        known.end_search()
    return Inventory(root=Path(path), series=store.list_series(), skipped=store.list_skipped())


def search(path: Path | str, actions: Mapping[Code, Action] | None = None, *, sequence: SequenceKind = "volumes",
           limits: Limits | None = None, known: KnownFiles | None = None) -> Iterator[Result]:
    """What ``find_series`` finds, whose arguments these are, in parts and in any order.

    Between the first and the last part, what was read of DICOM headers is on disk: nothing is held of a file that was
    given. As ``frames``, all series are held, since one may need any other.
    """
    check_actions(actions or {})
    with telling_scratch():
        found = ((_act(map(check_size, series), actions), skipped)
                 for series, skipped in _search(Path(path), limits, known))
        if sequence == "volumes":
            yield from found
            return
        parts = list(found)
        series = turn_to_frames([one for some, _ in parts for one in some], known.look_up if known else None)
        yield _act(series, actions), [one for _, left in parts for one in left]


def _act(series: Iterable[Series], actions: Mapping[Code, Action] | None) -> list[Series]:
    return [apply_actions(one, actions or {}) for one in series]


def _search(root: Path, limits: Limits | None, known: KnownFiles | None) -> Iterator[Result]:
    with PlaneShelf() as shelf:
        files = _read_files(root, shelf, known)
        for series, skipped in _find_dicom(files, shelf, root=root, limits=limits):
            if files.by_kind["picture"] or files.by_kind["tiff"]:
                files.dicom_folders.update(instance.path.parent for one in series for instance in one.instances)
            yield series, skipped
    yield _find_grids(files.by_kind, limits)
    yield _find_frames(files, limits)
    yield [], files.skipped


def _order(series: Series) -> tuple[str, str, str, list[tuple[bool, int, str]]]:
    return str(series.path), series.study_uid, series.series_uid, natural_key(series.volume)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The files that are looked into later, by kind, where DICOM files lie, what is neither, and what may have been
    a slice.
    """

    by_kind: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    dicom_folders: set[Path] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)


def _read_files(root: Path, shelf: PlaneShelf, known: KnownFiles | None) -> _Files:
    """What lies at and below ``root``; the planes of DICOM files go on the shelf. Each file is opened once here."""
    reader = PlaneReader()
    found, skipped = identify_files(root, known.identify if known else None)
    files = _Files(skipped=skipped)
    for file in found:
        if file.kind is None:
            files.skipped.append(Skipped(path=file.path, reason=file.reason))
            files.broken.extend([file.path] if file.damaged else [])
        elif file.kind == "dicom":
            try:
                shelf.put(known.read(file) if known else reader.read(file.path, file.head, file.size))
            except (NotAnImageError, OSError) as error:
                files.skipped.append(Skipped(path=file.path, reason=str(error)))
                files.dicom_folders.add(file.path.parent)
                foreign = isinstance(error, NotAnImageError) and not isinstance(error, BrokenImageError)
                files.broken.extend([] if foreign else [file.path])
        else:
            files.by_kind[file.kind].append(file.path)
    return files


def _find_dicom(files: _Files, shelf: PlaneShelf, *, root: Path, limits: Limits | None) -> Iterator[Result]:
    broken = Counter(map(name_like, files.broken))
    for group in group_planes(shelf):
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
        skipped = [Skipped(path=path, reason="copy of a slice that is kept") for path in copies]
        yield [note_broken(one, broken) for one in built], skipped


def _find_grids(by_kind: Mapping[str, Sequence[Path]], limits: Limits | None) -> Result:
    from seriatim.io.volumes import itk, nifti

    series, skipped = _find_each(by_kind.get("nifti", ()), nifti.find_nifti, limits)
    others, unread = _find_each(by_kind.get("itk", ()), itk.find_itk, limits)
    return [*series, *others], [*skipped, *unread]


def _find_frames(files: _Files, limits: Limits | None) -> Result:
    """Videos, GIFs and multi-page TIFFs are a series each; the single pictures of a folder are one together."""
    from seriatim.io.pictures.pictures import find_pages
    from seriatim.io.pictures.video import find_clip

    by_kind = files.by_kind
    pages: list[Path] = []
    single = list(by_kind.get("picture", ()))
    for path in by_kind.get("tiff", ()):
        (pages if _has_pages(path, limits) else single).append(path)
    clips, unread = _find_each(by_kind.get("video", ()), find_clip, limits)
    paged, unopened = _find_each([*pages, *by_kind.get("gif", ())], find_pages, limits)
    taken = {path.parent for kind in ("nifti", "itk") for path in by_kind.get(kind, ())}
    taken |= files.dicom_folders
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
