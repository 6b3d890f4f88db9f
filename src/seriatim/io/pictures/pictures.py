"""Folders of JPEG, PNG, BMP and TIFF pictures, multi-page TIFF and GIF: frames in the order of their names or pages."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from seriatim.errors import DecoderError, InputError
from seriatim.io.content import digest_files, make_uid
from seriatim.io.pictures.gif import read_gif_blocks
from seriatim.io.pictures.kinds import (
    LOSSY_FORMATS,
    kind_of,
    longer_than_told,
    pixels_of,
    refuse_pages,
    refuse_picture,
    shown_size,
)
from seriatim.io.pictures.names import check_names, order_pictures
from seriatim.io.pictures.png import check_png
from seriatim.io.pictures.tiff import walk_pages
from seriatim.io.refused import RefusedFileError, find_or_refuse, refuse_file
from seriatim.io.source import open_file
from seriatim.io.values import Allocate, OwnMemory, SliceWriter
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Format, Instance, Series, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the header of a picture says: (columns, rows) as shown, its kind of numbers, and if it may be lossy.

    ``longer`` is True where the file is longer than the header says.
    """

    size: tuple[int, int]
    kind: str
    lossy: bool
    longer: bool = False


Frame = tuple[Path, int | None, float]
"""The file, the page in it (None where it has one), and the position."""
DEFAULT_GIF_SECONDS = 0.1
"""What viewers show for a GIF frame of duration 0."""
UNUSED_BYTES = 64
"""No padding at the end of a TIFF file is longer."""
MAX_PIXELS = 1 << 28
BROKEN = (OSError, EOFError, UnidentifiedImageError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError,
          AttributeError, RuntimeError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for damaged pictures."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS
logging.getLogger("PIL").setLevel(logging.INFO)  # below it, PIL repeats the texts of a picture


def find_stack(paths: Sequence[Path]) -> tuple[Series | None, list[tuple[Path, str]]]:
    """The stack that the pictures of one folder make, and the pictures that cannot be used, with the reason.

    The order is that of the names, numbers in them counted as numbers; positions are that order.
    """
    ordered = order_pictures(paths)
    heads: dict[Path, Head] = {}
    broken = []
    for path in ordered:
        head = _open_head(path)
        if isinstance(head, str):
            broken.append((path, head))
        else:
            heads[path] = head
    if not heads and len(broken) == 1:
        return refuse_file(ordered[0], "stack", find(Code.UNREADABLE, f"{broken[0][1]}. Copy it again.")), []
    if not heads:
        return None, broken
    findings = _check_heads(list(heads.values()))
    if len(heads) == 1:
        findings.append(find(Code.NOT_A_SERIES, "A single picture is no sequence. Give the folder of them all."))
    elif not broken:
        findings += check_names(ordered)
    if broken:
        message = f"{len(broken)} of {len(ordered)} pictures of the folder cannot be used ({broken[0][1]})."
        findings.append(find(Code.UNREADABLE, message + " Copy them again or take them out.", pictures=len(broken)))
    frames: list[Frame] = [(path, None, float(index)) for index, path in enumerate(heads)]
    return _series(list(heads), frames, next(iter(heads.values())).size, "stack", findings), broken


def _open_head(path: Path) -> Head | str:
    """What the header of a picture says, or why it cannot be used."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            odd = image.format in ("BMP", "WEBP") and longer_than_told(file)
            return refuse_picture(image) or replace(_head_of(image), longer=odd)
    except BROKEN as error:
        return f"unreadable picture: {type(error).__name__}"


def _head_of(image: Image.Image) -> Head:
    lossy = image.format in LOSSY_FORMATS or image.info.get("compression") == "jpeg"
    return Head(size=shown_size(image), kind=kind_of(image), lossy=lossy)


def _check_heads(heads: Sequence[Head]) -> list[Finding]:
    """What the pictures of one sequence do not share."""
    findings = []
    sizes, kinds = sorted({head.size for head in heads}), sorted({head.kind for head in heads})
    if len(sizes) > 1:
        (small, *_, large) = sizes
        message = f"The pictures differ in size, from {small[0]} x {small[1]} to {large[0]} x {large[1]}."
        findings.append(find(Code.MIXED_SIZE, message + " Put each size in a folder of its own."))
    if len(kinds) > 1:
        message = f"The pictures hold different kinds of numbers ({', '.join(kinds)}), which do not compare."
        findings.append(find(Code.BAD_VALUE, message + " Put each kind in a folder of its own."))
    if lossy := sum(head.lossy for head in heads):
        message = f"{lossy} pictures are of a kind that compresses with loss (JPEG, JPEG 2000, WebP)."
        findings.append(find(Code.LOSSY, message, pictures=lossy))
    if longer := sum(head.longer for head in heads):
        message = f"{longer} pictures are longer than their header says. Check that they were copied whole."
        findings.append(replace(find(Code.BAD_VALUE, message, pictures=longer), action="keep"))
    return findings


def find_pages(path: Path) -> list[Series]:
    """The frames of a multi-page TIFF (positions count pages) or an animated GIF (in seconds), or its row.

    Raises:
        OSError: the file cannot be opened.
    """
    return find_or_refuse(path, "video" if path.suffix.lower() == ".gif" else "stack", lambda path: [_find_pages(path)])


def _find_pages(path: Path) -> Series:
    try:
        with open_file(path) as file, Image.open(file) as image:
            animated, durations = image.format == "GIF", []
            heads: list[Head] = []
            for frame in ImageSequence.Iterator(image):
                if reason := refuse_picture(frame):
                    raise RefusedFileError(Code.UNSUPPORTED, f"Page {len(heads) + 1} is {reason}.")
                heads.append(_head_of(frame))
                durations.append(_seconds(frame) if animated else 1.0)
            reason = refuse_pages(image, len(heads))
    except BROKEN as error:
        raise RefusedFileError(Code.UNREADABLE, f"unreadable picture: {type(error).__name__}") from error
    findings = _check_heads(heads)
    if reason:
        findings.append(find(Code.UNSUPPORTED, reason))
    findings += _check_gif(path, len(heads)) if animated else _check_tiff(path, len(heads))
    if len(heads) == 1:
        findings.append(find(Code.NOT_A_SERIES, "The file holds a single picture, no sequence."))
    times = accumulate((0.0, *durations[:-1]))
    frames: list[Frame] = [(path, index, time) for index, time in enumerate(times)]
    return _series([path], frames, heads[0].size, "video" if animated else "stack", findings)


def _check_tiff(path: Path, found: int) -> list[Finding]:
    with open_file(path) as file:
        pages = walk_pages(file)
    if not pages.whole or pages.count != found:
        whole = min(pages.count, found)
        message = f"The TIFF file is damaged after page {whole}: what follows is lost. Copy it again."
        return [find(Code.TRUNCATED, message, pages=whole)]
    if pages.unused > UNUSED_BYTES:
        message = f"{pages.unused} bytes at the end of the TIFF file belong to no page: pages may be lost. Compare it."
        return [replace(find(Code.BAD_VALUE, message, bytes=pages.unused), action="keep")]
    return []


def _check_gif(path: Path, found: int) -> list[Finding]:
    with open_file(path) as file:
        blocks = read_gif_blocks(file)
    whole = min(blocks.frames, found)
    if not blocks.whole or blocks.frames != found:
        message = f"The GIF file breaks off or is damaged after {whole} whole frames. Copy it again."
        return [find(Code.TRUNCATED, message, frames=whole)]
    if not blocks.filled:
        message = "The first picture of the GIF file does not fill its screen: the rest of each frame is background."
        return [replace(find(Code.BAD_VALUE, message), action="keep")]
    return []


def count_pages(path: Path) -> int:
    """The pages of a TIFF, one more where a link between them is broken; at least 1."""
    try:
        with open_file(path) as file:
            pages = walk_pages(file)
    except OSError:
        return 1
    return max(1, pages.count + (not pages.whole and pages.count > 0))


def read_pictures(series: Series, allocate: Allocate = OwnMemory) -> Volume:
    """The pixels of a stack, grey (S,H,W) where all three colours are equal everywhere, else (S,H,W,3).

    Raises:
        DecoderError: a picture is truncated or damaged.
        InputError: a picture changed size since discovery.
    """
    writer = SliceWriter(count=len(series.instances), allocate=allocate)
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
            with open_file(path) as file:
                if reason := check_png(file):
                    raise DecoderError(f"{path} is damaged: {reason}. Copy it again.")
            with open_file(path) as file, Image.open(file) as image:
                for instance in instances:
                    if instance.frame is not None:
                        image.seek(instance.frame)
                    yield drop_equal_colours(pixels_of(image))
        except BROKEN as error:
            raise DecoderError(f"{path} cannot be decoded ({type(error).__name__}). Copy it again.") from error


def _seconds(frame: Any) -> float:
    duration = float(frame.info.get("duration") or 0) / 1000
    return duration if duration > 0 else DEFAULT_GIF_SECONDS


def _series(paths: list[Path], frames: list[Frame], size: tuple[int, int], format_: Format,
            findings: list[Finding]) -> Series:
    digest = digest_files(paths)
    instances = tuple(
        Instance(path=path, sop_instance_uid=make_uid(digest, "instance", index), frame=frame, position=position)
        for index, (path, frame, position) in enumerate(frames)
    )
    return Series(
        study_uid=make_uid(digest, "study"), series_uid=make_uid(digest, "series"), modality="OT", axis="time",
        format=format_, path=paths[0] if len(paths) == 1 and frames[0][1] is not None else paths[0].parent,
        instances=instances, rows=size[1], columns=size[0], findings=tuple(findings),
    )
