"""What is known of an open set: where it is published, under which licence, and what is made of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """``note`` says what its name does not: a ban on redistribution, or licences that differ from file to file."""

    name: str
    url: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """The one file a set is published as.

    ``url`` is None where the publisher asks for a sign-in; ``md5`` is None where no checksum is published; a download
    of more than ``most_bytes`` is refused.
    """

    name: str
    url: str | None
    md5: str | None = None
    most_bytes: int = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What was made of a set's files.

    ``config`` is the content of a ready config beside the manifest, ``sources`` the files that were read or are used in
    place, ``check`` how they were verified, ``notes`` what a user should know about this copy.
    """

    series: int
    config: Mapping[str, Any]
    sources: tuple[Path, ...]
    check: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """An open set by name. ``page`` is where a person finds it, ``forms`` what ``--from`` may lead to."""

    name: str
    title: str
    task: str
    size: str
    licence: Licence
    citation: str
    page: str
    file: PublishedFile
    forms: str
    prepare: Callable[[Path, Path], Prepared]
    """(file or folder with the set, output folder) -> what was written there: labels.csv, and slices.csv if known."""

    @property
    def by_hand(self) -> str:
        """One sentence: what a person puts where, without a network here."""
        return f"Get {self.file.name} from {self.page} and name the folder it lies in: --from FOLDER."
