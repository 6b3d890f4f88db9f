"""Folders of JPEG, PNG, BMP and TIFF pictures, multi-page TIFF and GIF: frames in the order of their names or pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from seriatim.errors import DecoderError, InputError
from seriatim.io.content import digest_files, make_uid
from seriatim.io.refused import find_or_refuse
from seriatim.io.source import open_file
from seriatim.io.values import SliceWriter
from seriatim.io.walk import natural_key
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Format, Instance, Series, Volume

Frame = tuple[Path, int | None, float]
"""The file, the page in it (None where it has one), and the position."""
DEFAULT_GIF_SECONDS = 0.1
"""What viewers show for a GIF frame of duration 0."""
MAX_PIXELS = 1 << 28
BROKEN = (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError)

Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def find_stack(paths: Sequence[Path]) -> tuple[Series | None, list[tuple[Path, str]]]:
    """The stack that the pictures of one folder make, and the pictures that cannot be opened, with the reason.

    The order is that of the names, numbers in them counted as numbers; positions are that order.
    """
    ordered = sorted(paths, key=lambda path: natural_key(path.name))
    sizes: dict[Path, tuple[int, int]] = {}
    broken = []
    for path in ordered:
        try:
            with open_file(path) as file, Image.open(file) as image:
                sizes[path] = image.size
        except BROKEN as error:
            broken.append((path, f"unreadable picture: {type(error).__name__}"))
    if not sizes:
        return None, broken
    findings: list[Finding] = []
    if len(set(sizes.values())) > 1:
        small, large = min(sizes.values()), max(sizes.values())
        message = f"The pictures differ in size, from {small[0]} x {small[1]} to {large[0]} x {large[1]}."
        findings.append(find(Code.MIXED_SIZE, message + " Put each size in a folder of its own."))
    if len(sizes) == 1:
        findings.append(find(Code.NOT_A_SERIES, "A folder with a single picture is no sequence."))
    if broken:
        message = f"{len(broken)} of {len(ordered)} pictures of the folder cannot be opened."
        findings.append(find(Code.UNREADABLE, message + " Copy them again or take them out.", pictures=len(broken)))
    frames: list[Frame] = [(path, None, float(index)) for index, path in enumerate(sizes)]
    return _series(list(sizes), frames, next(iter(sizes.values())), "stack", findings), broken


def find_pages(path: Path) -> list[Series]:
    """The frames of a multi-page TIFF (positions count pages) or an animated GIF (in seconds), or its row.

    Raises:
        OSError: the file cannot be opened.
    """
    return find_or_refuse(path, "video" if path.suffix.lower() == ".gif" else "stack", lambda path: [_find_pages(path)])


def _find_pages(path: Path) -> Series:
    try:
        with open_file(path) as file, Image.open(file) as image:
            size, animated = image.size, image.format == "GIF"
            durations = [_seconds(frame) if animated else 1.0 for frame in ImageSequence.Iterator(image)]
    except BROKEN as error:
        raise InputError(f"unreadable picture: {type(error).__name__}") from error
    times = list(accumulate((0.0, *durations[:-1])))
    single = [find(Code.NOT_A_SERIES, "The file holds a single picture, no sequence.")] if len(times) == 1 else []
    frames: list[Frame] = [(path, index, time) for index, time in enumerate(times)]
    return _series([path], frames, size, "video" if animated else "stack", single)


def count_pages(path: Path) -> int:
    """The pages of a TIFF, 1 where it cannot be opened."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            return int(getattr(image, "n_frames", 1))
    except BROKEN:
        return 1


def read_pictures(series: Series) -> Volume:
    """The pixels of a stack, grey (S,H,W) where all three colours are equal everywhere, else (S,H,W,3).

    Raises:
        DecoderError: a picture is truncated or damaged.
        InputError: a picture changed size since discovery.
    """
    writer = SliceWriter(count=len(series.instances))
    pictures = list(_decode(series))
    colour = any(picture.ndim == 3 for picture in pictures)
    for index, picture in enumerate(pictures):
        if picture.shape[:2] != (series.rows, series.columns):
            raise InputError(f"Picture {index + 1} of {series.path} changed size since it was discovered.")
        writer.write(index, np.repeat(picture[..., None], 3, axis=2) if colour and picture.ndim == 2 else picture)
    return Volume(array=writer.finish(), affine=None, positions=series.positions, series=series)


def drop_equal_colours(picture: NDArray[Any]) -> NDArray[Any]:
    """(H,W) where the three channels of (H,W,3) are equal, else the picture itself."""
    equal = picture.ndim == 3 and bool((picture[..., :1] == picture[..., 1:]).all())
    return picture[..., 0] if equal else picture


def _decode(series: Series) -> Iterator[NDArray[Any]]:
    for path, group in groupby(series.instances, key=lambda instance: instance.path):
        instances = list(group)
        try:
            with open_file(path) as file, Image.open(file) as image:
                for instance in instances:
                    if instance.frame is not None:
                        image.seek(instance.frame)
                    yield drop_equal_colours(_pixels(image))
        except BROKEN as error:
            raise DecoderError(f"{path} cannot be decoded: {error}. Copy it again.") from error


def _pixels(image: Image.Image) -> NDArray[Any]:
    if image.mode in ("L", "I", "F", "I;16", "I;16B", "I;16L", "1"):
        return np.asarray(image)
    return np.asarray(image.convert("L" if image.mode == "LA" else "RGB"))


def _seconds(frame: Any) -> float:
    duration = float(frame.info.get("duration") or 0) / 1000
    return duration if duration > 0 else DEFAULT_GIF_SECONDS


def _series(paths: list[Path], frames: list[Frame], size: tuple[int, int], format_: Format,
            findings: list[Finding]) -> Series:
    digest = digest_files(paths)
    if any(path.suffix.lower() in (".jpg", ".jpeg") for path in paths):
        findings.append(find(Code.LOSSY, "JPEG pictures were compressed with loss."))
    instances = tuple(
        Instance(path=path, sop_instance_uid=make_uid(digest, "instance", index), frame=frame, position=position)
        for index, (path, frame, position) in enumerate(frames)
    )
    return Series(
        study_uid=make_uid(digest, "study"), series_uid=make_uid(digest, "series"), modality="OT", axis="time",
        format=format_, path=paths[0] if len(paths) == 1 and frames[0][1] is not None else paths[0].parent,
        instances=instances, rows=size[1], columns=size[0], findings=tuple(findings),
    )
