"""What identifies a patient in the headers stands in no output, log, message or file name, damaged files included."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pydicom
import pytest

from tiny_runs import CommandLine, read_rows

CANARIES = {
    "PatientName": "CANARYNAME^Greta", "PatientID": "CANARYID77", "AccessionNumber": "CANARYACC5",
    "PatientBirthDate": "19310217", "ReferringPhysicianName": "CANARYDOC^Otto", "InstitutionName": "CANARYHOSPITAL",
    "PatientAddress": "CANARYSTREET 1", "OtherPatientIDs": "CANARYOTHER", "StudyDescription": "CANARYSTUDY",
    "SeriesDescription": "CANARYSERIES", "PatientComments": "CANARYCOMMENT", "StudyID": "CANARYSID",
    "ProtocolName": "CANARYPROTOCOL", "ImageComments": "CANARYIMAGE", "RequestingPhysician": "CANARYREQ",
}  # fmt: skip
TRACES = (b"CANARY", b"Canary", b"canary", b"19310217", b"Greta", b"GRETA")


@pytest.fixture
def studies(tmp_path: Path, head_ct: Path) -> Path:
    """Series of a named patient: whole, truncated, with a damaged value, with a gap, of two sizes, and a torn file."""
    root, rows = tmp_path / "studies", read_rows(head_ct / "labels.csv")
    for index, name in enumerate(("whole", "truncated", "value", "gap", "sizes", "torn")):
        shutil.copytree(head_ct / rows[index]["path"], root / name)
        for number, path in enumerate(sorted((root / name).iterdir())):
            dataset = pydicom.dcmread(path)
            for keyword, value in CANARIES.items():
                setattr(dataset, keyword, value)
            if name == "value" and number == 2:
                dataset.add_new(0x00280030, "LO", ["CANARYSPACING", "x"])
            if name == "sizes" and number == 3:
                dataset.Rows, dataset.Columns = 16, 64
            dataset.save_as(path)
            if name == "truncated" and number == 4:
                path.write_bytes(path.read_bytes()[:-900])
            if name == "torn" and number == 1:
                path.write_bytes(path.read_bytes()[:700])
            if name == "torn" and number == 2:
                path.write_bytes(b"\0" * 128 + b"DICM" + b"CANARYNAME" * 40)
    ordered = sorted(
        (root / "gap").iterdir(), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2])
    )
    ordered[6].unlink()
    return root


def assert_no_trace(content: bytes, where: object) -> None:
    for trace in TRACES:
        assert trace not in content, f"{trace.decode()} stands in {where}"


@pytest.mark.parametrize("command", ["inspect", "score", "explain"])
def test_no_command_tells_who_the_patient_is(
    tmp_path: Path,
    studies: Path,
    tiny_run: Path,
    seriatim_command: CommandLine,
    caplog: pytest.LogCaptureFixture,
    command: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    out = tmp_path / "out"
    out.mkdir()
    options = ["--json", out / "found.json"]
    if command != "inspect":
        options = ["--model", tiny_run, "--output", out, "--device", "cpu"]
    done = seriatim_command("--verbose", command, studies, *options)
    assert done.code == 8, done.err
    assert_no_trace(done.out.encode(), "stdout")
    assert_no_trace(done.err.encode(), "stderr")
    assert_no_trace(caplog.text.encode(), "the log")
    written = [path for path in out.rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert_no_trace(path.read_bytes(), path.name)
        assert_no_trace(path.name.encode(), "a file name")


def test_what_is_damaged_is_told_all_the_same(tmp_path: Path, studies: Path, tiny_run: Path, seriatim_command) -> None:
    seriatim_command("score", studies, "--model", tiny_run, "--output", tmp_path / "out", "--device", "cpu")
    rows: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(tmp_path / "out" / "scores.csv"):
        rows.setdefault(Path(row["path"]).name, []).append(row)
    assert [row["status"] for row in rows["whole"]] == ["scored"]
    for name in ("truncated", "value", "gap"):
        assert any(row["status"] in ("refused", "failed") and row["reason"] for row in rows[name]), name


def test_a_training_run_repeats_nothing_of_the_headers(
    tmp_path: Path, head_ct: Path, seriatim_command: CommandLine, caplog: pytest.LogCaptureFixture
) -> None:
    from tiny_runs import write_config

    caplog.set_level(logging.DEBUG)
    data = tmp_path / "data"
    shutil.copytree(head_ct, data)
    for path in (data / "series").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for keyword, value in CANARIES.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    torn = next((data / "series" / "0006").iterdir())
    torn.write_bytes(torn.read_bytes()[:-900])
    done = seriatim_command("--verbose", "train", write_config(tmp_path, data), "--output", tmp_path / "run")
    assert done.code == 0, done.err
    for text in (done.out, done.err, caplog.text):
        assert_no_trace(text.encode(), "a message")
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert_no_trace(path.read_bytes(), path.name)
