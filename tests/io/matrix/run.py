"""Running kinds of cases."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import clean_encoding, clean_form, clean_mixed, faults_structure, faults_values  # noqa: F401 - they register
from .case import CLEAN, FAULTY, Kind
from .verdict import Verdict, judge


@dataclass(frozen=True, kw_only=True)
class Result:
    kind: Kind
    variant: int
    seed: int
    verdict: Verdict

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def detail(self) -> str:
        return f"form {self.variant}, seed {self.seed}"

    @property
    def good(self) -> bool:
        return self.verdict.word == "right" or (self.verdict.word == "refused" and not self.kind.clean)


def every_kind() -> list[Kind]:
    """All kinds, clean ones first."""
    return [*CLEAN.kinds, *FAULTY.kinds]


def run_kind(kind: Kind, folder: Path, *, scale: int = 1, forms: int | None = None) -> Iterator[Result]:
    """The verdict on each form of a kind, ``scale`` random cases per form."""
    key = zlib.crc32(kind.name.encode())
    for variant in range(min(kind.variants, forms or kind.variants)):
        for seed in range(scale):
            case = kind.make(np.random.default_rng((key, variant, seed)), variant)
            place = folder / f"{key:08x}-{variant}-{seed}"
            verdict = judge(case, place, clean=kind.clean)
            for path in sorted(place.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            yield Result(kind=kind, variant=variant, seed=seed, verdict=verdict)
