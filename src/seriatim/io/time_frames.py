"""The time series of each slice location: the volumes of one 4D series as clips, one per slice."""

from __future__ import annotations

import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.io.dicom.index import PlaneReader
from seriatim.io.dicom.kinds import NotAnImageError
from seriatim.io.dicom.plane import Plane, Trait
from seriatim.io.dicom.times import parse_date_time
from seriatim.io.source import read_head
from seriatim.io.walk import HEAD_BYTES
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Instance, Series

KIND_TRAITS = ("EchoTime", "EchoNumbers", "ImageType", "ComplexImageComponent", "DiffusionBValue",
               "DiffusionGradientOrientation", "InversionTime", "FlipAngle", "KVP", "ConvolutionKernel", "StackID")
"""What volumes of one time series share; where it differs, they are not the same picture at another time."""
PLACE_IN_TIME = re.compile(r"t \d+")
OWNER = re.compile(r"(patient|folder) \d+")
"""What a volume is called where one SeriesInstanceUID is that of several patients or of several series."""
SECONDS_PER_DAY = 86_400.0
MIN_VOLUME_S = 0.2
Member = tuple[Series, tuple[Mapping[str, Trait], ...]]
"""A volume and the traits of each of its slices."""
Read = Callable[[Path], list[Plane]]
"""The planes of a DICOM file. Raises NotAnImageError or OSError."""


def frames_over_time(volumes: Sequence[Series]) -> list[Series]:
    """The clips of 4D series: for each slice location, its slices in all volumes in the order of their times.

    ``volumes`` are series of ``find_series``, of one or more SeriesInstanceUIDs; those of one UID that share their
    grid, echo, b-value, flip angle and the like make one clip per slice. What has no partner in time is left out.

    Returns:
        Series with the axis "time", no affine, and positions in seconds from the first. Times come from
        TemporalPositionTimeOffset, FrameReferenceTime, TriggerTime, AcquisitionDateTime, AcquisitionTime, ContentTime,
        or RepetitionTime times the number of the volume; of NIfTI from pixdim[4]. Where none gives each volume a time
        of its own, volumes are counted, 1 s each, with the finding MISSING_GEOMETRY (kept).
    """
    return _turn(volumes, _make_reader())[0]


def turn_to_frames(series: Sequence[Series], read: Read | None = None) -> list[Series]:
    """The clips of 4D series in place of their volumes, and every other series as it is.

    ``read`` gives the planes of a file that was read before, where they are kept.
    """
    clips, rest = _turn(series, read or _make_reader())
    return [*rest, *clips]


def _make_reader() -> Read:
    reader = PlaneReader()
    return lambda path: reader.read(path, *read_head(path, HEAD_BYTES))


def _turn(series: Sequence[Series], read: Read) -> tuple[list[Series], list[Series]]:
    """The clips, and the series that are in none."""
    groups = _groups(series, read)
    taken = {id(volume) for members in groups for volume, _ in members}
    rest = [one for one in series if id(one) not in taken]
    left = Counter(_family_of(one) for one in rest if one.volume != _kind_of(one))
    return [clip for members in groups for clip in _clips(members, _find_hole(members, left))], rest


def _groups(series: Sequence[Series], read: Read) -> list[list[Member]]:
    """The volumes that are one series in time, two or more each."""
    by_uid: dict[Hashable, list[Series]] = defaultdict(list)
    for one in series:
        if one.usable and one.axis == "space" and one.format != "stack":
            by_uid[one.study_uid, one.series_uid, one.path].append(one)
    groups: dict[Hashable, list[Member]] = defaultdict(list)
    for own in by_uid.values():
        if len(own) > 1:
            for volume, traits in zip(own, _read_traits(own, read), strict=True):
                groups[_grid_of(volume, traits[0])].append((volume, traits))
    return [members for members in groups.values() if len(members) > 1]


def _grid_of(volume: Series, traits: Mapping[str, Trait]) -> Hashable:
    affine = None if volume.affine is None else tuple(np.round(volume.affine, 2).ravel().tolist())
    positions = tuple(np.round(volume.positions, 2).tolist())
    kind = tuple(traits.get(name) for name in KIND_TRAITS)
    owner = volume.study_uid, volume.series_uid, volume.path, *filter(OWNER.fullmatch, volume.volume.split(", "))
    return owner, volume.rows, volume.columns, affine, positions, kind


def _read_traits(volumes: Sequence[Series], read: Read) -> list[tuple[Mapping[str, Trait], ...]]:
    """The traits of every slice of every volume, from the headers again: discovery keeps no times."""
    known: dict[tuple[Path, int | None], Plane] = {}
    if volumes[0].format == "dicom":
        for path in {instance.path for volume in volumes for instance in volume.instances}:
            with contextlib.suppress(NotAnImageError, OSError):  # gone since: reading it will say so
                known |= {(plane.path, plane.frame): plane for plane in read(path)}
    traits = {key: plane.traits for key, plane in known.items()}
    return [tuple(traits.get((one.path, one.frame), {}) for one in volume.instances) for volume in volumes]


def _find_hole(members: Sequence[Member], left: Mapping[Hashable, int]) -> list[Finding]:
    """GAP where volumes of the same series in time are refused or of another grid: clips would lack their frames.

    ``left`` counts by ``_family_of`` the volumes with a place in time that are in no clip.
    """
    others = sum(left.get(family, 0) for family in {_family_of(volume) for volume, _ in members})
    if not others:
        return []
    message = (f"{others} of {len(members) + others} volumes are refused or have another grid: their frames "
               "are missing.")
    return [find(Code.GAP, message, volumes=others)]


def _family_of(volume: Series) -> Hashable:
    """What volumes of one series in time share, whether they can be used or not."""
    return volume.study_uid, volume.series_uid, volume.path, _kind_of(volume)


def _kind_of(volume: Series) -> str:
    """The name of a volume without its place in time."""
    return ", ".join(part for part in volume.volume.split(", ") if not PLACE_IN_TIME.fullmatch(part))


def _clips(members: Sequence[Member], hole: Sequence[Finding]) -> list[Series]:
    members = sorted(members, key=lambda member: _number(member[0]))
    times, notes = _times(members)  # (volume, slice)
    first = members[0][0]
    shared = [set(volume.volume.split(", ")) for volume, _ in members]
    names = [name for name in first.volume.split(", ") if name and all(name in own for own in shared)]
    findings = tuple({(one.code, one.message): one for volume, _ in members for one in volume.findings}.values())
    clips = []
    for index in range(len(first.instances)):
        order = np.argsort(times[:, index], kind="stable")
        instances = tuple(
            _at(members[k][0].instances[index], times[k, index] - times[order[0], index]) for k in order
        )
        clips.append(replace(first, axis="time", affine=None, spacing_mm=None, instances=instances,
                             volume=", ".join([*names, f"slice {index + 1}"]), findings=(*findings, *hole, *notes)))
    return clips


def _at(instance: Instance, seconds: float) -> Instance:
    return replace(instance, position=round(float(seconds), 6))


def _number(volume: Series) -> tuple[int, int]:
    """The number of the volume among those of its series: of its file, else of its name ("t 3")."""
    digits = "".join(letter for letter in volume.volume.split("t ")[-1] if letter.isdigit())
    return int(digits or 0), volume.instances[0].frame or 0


def _times(members: Sequence[Member]) -> tuple[NDArray[np.float64], list[Finding]]:
    """(volume, slice) seconds, by the first source that gives the volumes a time of their own at every slice."""
    step_s = _stored_step(members[0][0])
    if step_s is not None:
        return _counted(members, step_s), []
    for keyword, seconds_of in SOURCES:
        values = [[seconds_of(traits.get(keyword)) for traits in own] for _, own in members]
        if any(value is None for row in values for value in row):
            continue
        times = np.array(values, dtype=np.float64)
        if keyword.endswith("Time") and seconds_of is _clock:
            times += SECONDS_PER_DAY * (times < times.max() - SECONDS_PER_DAY / 2)  # past midnight
        if (np.diff(np.sort(times, axis=0), axis=0) > 1e-6).all():
            return times, []
    repetition = _milliseconds(members[0][1][0].get("RepetitionTime")) or 0.0
    if members[0][0].modality == "MR" and repetition >= MIN_VOLUME_S:
        message = f"Volumes have no times of their own: they are taken as one every {repetition:g} s (RepetitionTime)."
        return _counted(members, repetition), [_kept(message)]
    return _counted(members, 1.0), [_kept("Volumes have no times: positions count them.")]


def _counted(members: Sequence[Member], step_s: float) -> NDArray[np.float64]:
    steps = np.arange(len(members), dtype=np.float64) * step_s
    return np.repeat(steps[:, None], len(members[0][0].instances), axis=1)


def _kept(message: str) -> Finding:
    return replace(find(Code.MISSING_GEOMETRY, message), action="keep")


def _stored_step(volume: Series) -> float | None:
    """Seconds between the volumes of a NIfTI file."""
    if volume.format != "nifti":
        return None
    from seriatim.io.volumes.nifti import read_header

    return read_header(volume.path).volume_step_s


def _seconds(value: Trait | None) -> float | None:
    return value if isinstance(value, float) else None


def _milliseconds(value: Trait | None) -> float | None:
    return value / 1000 if isinstance(value, float) else None


def _clock(value: Trait | None) -> float | None:
    """Seconds since midnight of a DICOM time, HHMMSS.FFFFFF as a number."""
    if not isinstance(value, float) or not 0 <= value < 240_000:
        return None
    return value // 10_000 * 3600 + value // 100 % 100 * 60 + value % 100


def _date_and_clock(value: Trait | None) -> float | None:
    """Seconds of a DICOM date and time, YYYYMMDDHHMMSS.FFFFFF as a number; days count from an arbitrary one."""
    return parse_date_time(value if isinstance(value, str) else f"{value:.6f}") if value is not None else None


SOURCES: tuple[tuple[str, Callable[[Trait | None], float | None]], ...] = (
    ("TemporalPositionTimeOffset", _seconds), ("FrameReferenceTime", _milliseconds), ("TriggerTime", _milliseconds),
    ("AcquisitionDateTime", _date_and_clock), ("AcquisitionTime", _clock), ("ContentTime", _clock),
)
