"""find_series: every series below a path, and every file that is in none, with its reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from seriatim.io.dicom_header import NotAnImageError, read_planes
from seriatim.io.dicom_plane import Plane
from seriatim.io.dicom_series import build_series
from seriatim.io.walk import Found, find_files, identify, natural_key
from seriatim.series.findings import Action, Code
from seriatim.series.series import Inventory, Series, Skipped


def find_series(path: Path | str, actions: Mapping[Code, Action] | None = None) -> Inventory:
    """Find every series below a folder, or in a file, from headers alone.

    Args:
        path: a folder, searched to the bottom, or one file.
        actions: what to do about findings, where not the default: ``{Code.GAP: "keep"}`` keeps series with gaps.

    Returns:
        The series ordered by path and UID, and the files that are in none. Each file is in exactly one of the two. A
        series that must not be used is there with the reason (``series.usable``, ``series.reason``).

    Raises:
        InputError: there is nothing at ``path``.
    """
    root = Path(path)
    found = [identify(file, named=file == root) for file in find_files(root)]
    by_kind: dict[str | None, list[Found]] = defaultdict(list)
    for one in found:
        by_kind[one.kind].append(one)
    skipped = [Skipped(path=one.path, reason=one.reason) for one in by_kind[None]]
    series, left = _find_dicom([one.path for one in by_kind["dicom"]], actions or {}, root=root)
    skipped += left
    return Inventory(
        root=root,
        series=tuple(sorted(series, key=lambda one: (str(one.path), one.study_uid, one.series_uid, natural_key(one.volume)))),
        skipped=tuple(sorted(skipped, key=lambda one: str(one.path))),
    )


def _find_dicom(paths: Sequence[Path], actions: Mapping[Code, Action], *, root: Path) -> tuple[list[Series], list[Skipped]]:
    groups: dict[tuple[str, str], list[Plane]] = defaultdict(list)
    skipped = []
    for path in paths:
        try:
            planes = read_planes(path)
        except (NotAnImageError, OSError) as error:
            skipped.append(Skipped(path=path, reason=str(error)))
            continue
        groups[planes[0].study_uid, planes[0].series_uid].extend(planes)
    series = []
    for planes in groups.values():
        built = build_series(planes, actions, path=_common_folder(planes, root))
        used = {instance.path for one in built for instance in one.instances}
        copies = sorted({plane.path for plane in planes} - used)
        skipped += [Skipped(path=path, reason="copy of a slice that is kept") for path in copies]
        series += built
    return series, skipped


def _common_folder(planes: Sequence[Plane], root: Path) -> Path:
    """The file of a one-file series, else the deepest folder that holds all its files."""
    paths = sorted({plane.path for plane in planes})
    if len(paths) == 1:
        return paths[0]
    folder = paths[0].parent
    while folder != root and not all(path.is_relative_to(folder) for path in paths):
        folder = folder.parent
    return folder
