"""Names of files that hold what a terminal obeys, a spreadsheet runs or UTF-8 cannot hold."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from tiny_runs import CommandLine, read_rows

HOSTILE = (b"line\nforged row,1", b"=cmd()|' /C calc'!A0", b"\x1b[31mred\x1b]0;title\x07", b"pat\xff\xe4",
           b'comma, "quote"', b"[bold]markup[/bold]", "Müller 患者".encode(), b"-rf", b"\xe2\x80\xaegpj")


@pytest.fixture
def hostile(tmp_path: Path, head_ct: Path) -> Path:
    """Folders of one series each, and a text file, with every hostile name."""
    root, rows = tmp_path / "studies", read_rows(head_ct / "labels.csv")
    root.mkdir()
    for row, name in zip(rows, HOSTILE, strict=False):
        shutil.copytree(head_ct / row["path"], root / os.fsdecode(name))
        (root / os.fsdecode(name + b".txt")).write_text("no image")
    return root


def assert_plain(text: str) -> None:
    strange = {sign for sign in text if unicodedata.category(sign).startswith("C") and sign not in "\n\r"}
    assert not strange, strange


@pytest.mark.parametrize("command", ["inspect", "score", "explain"])
def test_hostile_names_come_through_every_command(
    tmp_path: Path, hostile: Path, tiny_run: Path, seriatim_command: CommandLine, caplog: pytest.LogCaptureFixture,
    command: str,
) -> None:
    caplog.set_level(logging.INFO)
    out = tmp_path / "out"
    out.mkdir()
    options = ["--json", out / "found.json"]
    if command != "inspect":
        options = ["--model", tiny_run, "--output", out, "--device", "cpu"]
    if command == "explain":
        options += ["--limit", 3, "--top", 1]
    done = seriatim_command("--verbose", command, hostile, *options)
    assert done.code == 0, done.err
    assert_plain(done.out)
    assert_plain(done.err.replace("\x1b[?25l", "").replace("\x1b[?25h", ""))
    for path in out.rglob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.reader(file))
        assert len({len(row) for row in table}) == 1
        for cell in (cell for row in table for cell in row):
            assert_plain(cell)
            assert "\n" not in cell
            assert not cell.startswith(("=", "@"))
    if command == "score":
        assert len(read_rows(out / "scores.csv")) == len(read_rows(out / "skipped.csv")) == len(HOSTILE)
    if command == "inspect":
        assert len(json.loads((out / "found.json").read_text())["series"]) == len(HOSTILE)
        assert "forged row" not in [line[:10] for line in done.out.splitlines()]


def test_an_error_names_a_hostile_path_plainly(tmp_path: Path, seriatim_command: CommandLine) -> None:
    done = seriatim_command("inspect", tmp_path / "\x1b[31mabsent\nseriatim: all is well")
    assert done.code == 2
    assert_plain(done.err)
    assert len(done.err.strip().splitlines()) == 1


def test_the_debug_trace_repeats_no_words_of_other_libraries(
    tmp_path: Path, seriatim_command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim import io
    from seriatim.errors import InputError

    def fail(*_: object, **__: object) -> None:
        try:
            float("Doe^Jane")
        except ValueError as error:
            raise InputError("A value is not a number. Correct it.") from error

    monkeypatch.setattr(io, "find_series", fail)
    done = seriatim_command("--debug", "inspect", tmp_path)
    assert "ValueError" in done.err
    assert "in fail" in done.err
    assert "seriatim: A value is not a number. Correct it." in done.err
    assert "could not convert" not in done.err
