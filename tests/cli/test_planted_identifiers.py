"""Forty planted tokens in every kind of input, whole and broken: no command repeats one, anywhere."""

from __future__ import annotations

import csv
import io
import logging
import warnings
import zipfile
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

import pytest
from PIL import Image
from planted import TRACES, broken_dicoms, name_patient, write, write_archives, write_pictures, write_volumes
from pydicom import dcmread

from tiny_runs import CommandLine, read_rows

FAST_STEP = 41
"""The fast test takes every 41st way to spoil a DICOM file; the slow one takes all."""


def write_dicoms(root: Path, head_ct: Path, *, step: int) -> None:
    """A series of four slices for each way to spoil it, and a whole one."""
    rows = read_rows(head_ct / "labels.csv")
    slices = [dcmread(path) for path in (head_ct / rows[0]["path"]).iterdir()]
    slices = sorted(slices, key=lambda dataset: float(dataset.ImagePositionPatient[2]))[:4]
    ways = [("whole", lambda dataset, _: write(dataset)), *list(broken_dicoms())[::step]]
    for index, (name, spoil) in enumerate(ways):
        folder = root / name
        folder.mkdir(parents=True)
        for number, one in enumerate(slices):
            dataset = name_patient(deepcopy(one))
            dataset.SeriesInstanceUID, dataset.SOPInstanceUID = f"2.25.{index + 1}", f"2.25.{index + 1}.{number}"
            (folder / f"{number}.dcm").write_bytes(spoil(dataset, number))


def plant(root: Path, head_ct: Path, *, step: int) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dicoms(root / "dicom", head_ct, step=step)
    write_volumes(root / "volumes")
    write_pictures(root / "pictures")
    write_archives(root / "archives", (root / "dicom" / "whole" / "0.dcm").read_bytes())
    return root


def find_traces(content: bytes) -> set[bytes]:
    lowered = content.lower()
    return {trace for trace in TRACES if trace in lowered or trace.decode().encode("utf-16-le") in lowered}


def unpack(path: Path) -> Iterable[bytes]:
    """What a result file says: its bytes, and what is packed in them."""
    raw = path.read_bytes()
    yield raw
    if raw.startswith(b"\x89PNG"):
        yield repr(Image.open(io.BytesIO(raw)).info).encode()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            yield from (file.read(name) for name in file.namelist())


def assert_silent(folder: Path, *texts: str) -> None:
    lines = {("text", line[:300].encode()) for text in texts for line in text.splitlines()}
    for path in folder.rglob("*"):
        lines.add(("a name", str(path.relative_to(folder)).encode()))
        if path.is_file():
            lines |= {(path.name, line) for content in unpack(path) for line in content.splitlines()}
    leaks = sorted((where, line[:300]) for where, line in lines if find_traces(line))
    assert not leaks, "\n".join(f"{where}: {line!r}" for where, line in leaks)


def run_all(root: Path, work: Path, model: Path, command: CommandLine, log: pytest.LogCaptureFixture) -> None:
    work.mkdir()
    model_options = ["--model", model, "--device", "cpu", "--on", "GAP=keep", "--on", "NOT_A_SERIES=keep",
                     "--on", "MISSING_GEOMETRY=keep"]
    done = [
        command("--verbose", "--debug", "inspect", root, "--json", work / "found.json"),
        command("--verbose", "--debug", "score", root, "--output", work / "scores", *model_options),
        command("--verbose", "--debug", "explain", root, "--output", work / "pictures", "--limit", 3, "--top", 1,
                *model_options),
        command("--verbose", "--debug", "inspect", root / "dicom" / "absent"),
    ]
    assert [one.code for one in done if one is not done[2]] == [8, 8, 2]
    scored = read_rows(work / "scores" / "scores.csv")
    with (work / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["series_uid", "bleed"])
        writer.writerows((uid, index % 2) for index, uid in enumerate(sorted({row["series_uid"] for row in scored
                                                                             if row["status"] == "scored"})))
    done += [command("--verbose", "--debug", "evaluate", work / "scores" / "scores.csv", "--labels",
                     work / "labels.csv", "--output", work / "evaluation")]
    for one in done:
        assert_silent(work, one.out, one.err)
    assert_silent(work, log.text)


def test_no_command_repeats_a_planted_token(
    tmp_path: Path, head_ct: Path, tiny_run: Path, seriatim_command: CommandLine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    root = plant(tmp_path / "input", head_ct, step=FAST_STEP)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        caplog.clear()
        run_all(root, tmp_path / "work", tiny_run, seriatim_command, caplog)
    assert_silent(tmp_path / "work", "\n".join(str(one.message) for one in warned))


@pytest.mark.slow
def test_no_command_repeats_a_planted_token_in_all_inputs(
    tmp_path: Path, head_ct: Path, tiny_run: Path, seriatim_command: CommandLine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    root = plant(tmp_path / "input", head_ct, step=1)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        caplog.clear()
        run_all(root, tmp_path / "work", tiny_run, seriatim_command, caplog)
    assert_silent(tmp_path / "work", "\n".join(str(one.message) for one in warned))
