"""The memory that may be used: that of the machine, or less where a control group says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from seriatim.io.isolation.machine import _group_bytes, machine_bytes

V2, V1 = "0::/a/b\n", "5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


@pytest.mark.parametrize(("own", "limits", "expected"), [
    (V2, {"a/b/memory.max": "700\n", "a/memory.max": "max\n"}, [700]),
    (V2, {"a/b/memory.max": "max\n", "a/memory.max": "300\n"}, [300]),  # the group above bounds its groups
    (V2, {"memory.max": "400\n"}, [400]),  # a container that shows the path on its host
    ("0::/../../c\n", {"memory.max": "400\n"}, [400]),
    ("0::/\n", {"unified/memory.max": "50\n"}, [50]),
    (V1, {"memory/a/b/memory.limit_in_bytes": "500\n", "memory/memory.limit_in_bytes": "900\n"}, [500, 900]),
    (V1, {"cpu/a/memory.limit_in_bytes": "1\n"}, []),
    ("", {"memory.max": "400\n"}, []),
])
def test_limits_of_control_groups(tmp_path: Path, own: str, limits: dict[str, str], expected: list[int]) -> None:
    write(tmp_path / "own", own)
    for name, text in limits.items():
        write(tmp_path / "groups" / name, text)
    assert sorted(_group_bytes(tmp_path / "groups", tmp_path / "own")) == expected


def test_no_groups_at_all(tmp_path: Path) -> None:
    assert list(_group_bytes(tmp_path / "groups", tmp_path / "own")) == []


def test_the_memory_of_this_machine_is_some() -> None:
    assert 1 << 26 < machine_bytes() <= 1 << 62
