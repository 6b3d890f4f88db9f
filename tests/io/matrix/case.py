"""Cases: the files of a folder, what is in them, and how a reader may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TIE = 0.0111455
"""Directions nearer than this to the middle between two axes are a tie (docs/geometry.md)."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class TrueSlice:
    """(H,W) real-world values; the centre of the first pixel and the steps of a column and of a row, LPS mm."""

    pixels: NDArray[np.float64]
    origin: NDArray[np.float64]
    per_column: NDArray[np.float64]
    per_row: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TrueVolume:
    """The slices of a volume in the order of the direction rule, or as given where ``ordered`` is False.

    ``placed`` is False where the files hold no geometry: then only values and order count.
    """

    slices: tuple[TrueSlice, ...]
    placed: bool = True


@dataclass(frozen=True, kw_only=True)
class Case:
    """A folder of files with its truth.

    ``required`` volumes must load whole and right (all of a clean case); ``possible`` ones may load or be refused
    with one of ``refusals``. A volume that loads in part must carry one of ``codes``; with ``always_told`` also one
    that loads whole.
    """

    files: dict[str, bytes]
    required: tuple[TrueVolume, ...] = ()
    possible: tuple[TrueVolume, ...] = ()
    refusals: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    always_told: bool = False
    tolerance_mm: float = 1e-3

    def write(self, folder: Path) -> Path:
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder


Draw = np.random.Generator
Maker = Callable[[Draw, int], Case]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A named kind of case; ``make(random, variant)`` builds one, ``variants`` are the forms it comes in."""

    name: str
    clean: bool
    make: Maker
    variants: int = 1


@dataclass
class Registry:
    """The kinds of one list, filled by its decorator."""

    clean: bool
    kinds: list[Kind] = field(default_factory=list)

    def __call__(self, name: str, variants: int = 1) -> Callable[[Maker], Maker]:
        def add(make: Maker) -> Maker:
            self.kinds.append(Kind(name=name, clean=self.clean, make=make, variants=variants))
            return make

        return add


CLEAN, FAULTY = Registry(clean=True), Registry(clean=False)


def order(slices: list[TrueSlice]) -> tuple[TrueSlice, ...]:
    """The slices in the order of the direction rule (docs/geometry.md), told from their true places."""
    first = slices[0]
    normal = LPS_TO_RAS @ np.cross(first.per_column, first.per_row)
    normal /= np.linalg.norm(normal)
    size = np.abs(normal)
    axis = max(axis for axis in (0, 1, 2) if size[axis] >= size.max() - TIE)
    normal *= np.sign(normal[axis])
    return tuple(sorted(slices, key=lambda one: float(LPS_TO_RAS @ one.origin @ normal)))
