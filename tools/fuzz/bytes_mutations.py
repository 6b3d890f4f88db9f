"""Mutations of files as plain bytes: for every format, whatever it means."""

from __future__ import annotations

import random

from tools.fuzz.mutation import Files, Splice

HOSTILE_BYTES = (b"\0", b"\xff", b"\x7f", b"\x80", b" ", b"\\", b"/")
SECTOR = 512


def flip(rng: random.Random, files: Files, layer: str = "") -> tuple[str, str, list[Splice]]:
    """One to three bits or bytes anywhere in one file."""
    name, size = _pick(rng, files)
    splices = {}
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(min(size, rng.choice((size, 400))))
        splices[at] = Splice(file=name, at=at, drop=1, insert=_changed(rng, files[name][at]), layer=layer)
    return "flip", region(name, min(splices), size), list(splices.values())


def truncate(rng: random.Random, files: Files) -> tuple[str, str, list[Splice]]:
    """One file ends early."""
    name, size = _pick(rng, files)
    at = rng.choice((rng.randrange(size), size - rng.randint(1, min(16, size)), rng.randrange(min(size, 512))))
    return "truncate", "end", [Splice(file=name, at=at, drop=-1)]


def blank(rng: random.Random, files: Files) -> tuple[str, str, list[Splice]]:
    """A run of zeros, as a bad sector leaves it."""
    name, size = _pick(rng, files)
    at = rng.randrange(size)
    drop = min(rng.choice((4, 16, 64, SECTOR)), size - at)
    return "blank", region(name, at, size), [Splice(file=name, at=at, drop=drop, insert="00" * drop)]


def shift(rng: random.Random, files: Files) -> tuple[str, str, list[Splice]]:
    """Bytes lost or added inside: everything after them moves."""
    name, size = _pick(rng, files)
    at = rng.randrange(size)
    if rng.random() < 0.5:
        return "shift", region(name, at, size), [Splice(file=name, at=at, drop=min(rng.randint(1, 40), size - at))]
    return "shift", region(name, at, size), [Splice(file=name, at=at, insert=rng.randbytes(rng.randint(1, 40)).hex())]


def tail(rng: random.Random, files: Files) -> tuple[str, str, list[Splice]]:
    """Bytes after the end."""
    name, size = _pick(rng, files)
    return "tail", "end", [Splice(file=name, at=size, insert=rng.randbytes(rng.choice((1, 2, 100, 4000))).hex())]


def whole_files(rng: random.Random, files: Files) -> tuple[str, str, list[Splice]]:
    """A file is lost, empty, there twice, or holds the content of another."""
    name, other = rng.choice(sorted(files)), rng.choice(sorted(files))
    how = rng.choice(("lost", "empty", "twice", "swapped") if len(files) > 1 else ("empty", "twice"))
    if how == "lost":
        return "files", "lost", [Splice(file=name, delete=True)]
    if how == "empty":
        return "files", "empty", [Splice(file=name, drop=-1)]
    if how == "twice":
        return "files", "twice", [Splice(file=f"copy-{name}" if "/" not in name else f"{name}c", file_from=name)]
    return "files", "swapped", [Splice(file=name, file_from=other)]


def region(name: str, at: int, size: int) -> str:
    """Header or body of a file that is no DICOM, told coarsely by its place."""
    return f"{name.rpartition('.')[2]} {'head' if at < min(352, size // 4) else 'body'}"


def _changed(rng: random.Random, byte: int) -> str:
    if rng.random() < 0.6:
        return bytes([byte ^ 1 << rng.randrange(8)]).hex()
    value = rng.choice(HOSTILE_BYTES)
    return value.hex() if value[0] != byte else bytes([byte ^ 0xFF]).hex()


def _pick(rng: random.Random, files: Files) -> tuple[str, int]:
    name = rng.choice(sorted(files))
    return name, len(files[name])


GENERAL = (flip, truncate, blank, shift, tail, whole_files)
