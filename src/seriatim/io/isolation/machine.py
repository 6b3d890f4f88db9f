"""The memory that this process may use: the machine's, or less where its control group (a container) has less."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNKNOWN = 1 << 62


@functools.cache
def machine_bytes() -> int:
    """The memory of this machine, or of the control group of this process; very much, where neither tells."""
    return min([_physical_bytes(), *_group_bytes(GROUPS, OWN_GROUPS)])


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN


def _group_bytes(groups: Path, own: Path) -> Iterator[int]:
    """The limits of the control groups of this process, and of those above them (cgroups(7), both versions).

    In a container a group may be shown by its path on the host: then the limit stands where its groups begin.
    """
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            roots, name = [groups, groups / "unified"], "memory.max"
        elif "memory" in controllers.split(","):
            roots, name = [groups / "memory"], "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for root in roots:
            told = (_read(root.joinpath(*parts[:depth], name)).strip() for depth in range(len(parts) + 1))
            yield from (int(limit) for limit in told if limit.isdecimal())  # "max" is none


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
