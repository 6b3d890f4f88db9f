"""Every code of the closed list, provoked by one small input: its default action, what changes it, what it says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import SAGITTAL, make_slice, make_stack, random_stack, save, save_stack
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from test_bombs import nifti
from test_isolated import PLANTED, QUICK

from seriatim.errors import ConfigError
from seriatim.experiment import DataSettings
from seriatim.io import find_series, read_volume
from seriatim.io.dicom_pixels.codecs import check_decoder
from seriatim.io.isolation import isolated
from seriatim.io.isolation.limits import IsolatedError
from seriatim.series.findings import DEFAULT_ACTIONS, KEEPABLE, REPAIRABLE, Action, Code, Finding, parse_actions
from seriatim.series.series import Series
from tiny_runs import CommandLine

ADVICE = re.compile(r"[.)] (Copy|Export|Put|Give|Install|Convert|Decrypt|Use|Best|Raise)\b")
"""Every refusal tells what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """``make`` writes it into a folder; ``numbers`` are those that the finding must hold, by name."""

    code: Code
    make: Callable[[Path], object]
    numbers: dict[str, float]
    slices: int = 0
    """How many slices are read where the series is kept or repaired."""


def stack(folder: Path, count: int = 8, *, only: dict[int, dict[str, Any]] | None = None, **values: Any) -> None:
    """A CT stack; ``only`` sets attributes of single slices."""
    datasets = make_stack(random_stack(count), **values)
    for index, own in (only or {}).items():
        for name, value in own.items():
            setattr(datasets[index], name, value)
    save_stack(datasets, folder)


def at_positions(folder: Path, positions: list[tuple[float, float, float]]) -> None:
    stored = random_stack(len(positions))
    save_stack([make_slice(pixels, place, InstanceNumber=index + 1)
                for index, (pixels, place) in enumerate(zip(stored, positions, strict=True))], folder)


def with_gap(folder: Path) -> None:
    stack(folder)
    (folder / "IM0003.dcm").unlink()


def with_copy(folder: Path) -> None:
    stack(folder)
    (folder / "copy.dcm").write_bytes((folder / "IM0003.dcm").read_bytes())


def with_another_at_one_place(folder: Path) -> None:
    datasets = make_stack(random_stack(6))
    extra = make_slice(random_stack(1, seed=9)[0], datasets[2].ImagePositionPatient, InstanceNumber=7)
    save_stack([*datasets, extra], folder)


def in_two_directions(folder: Path) -> None:
    stack(folder / "a", 5)
    for index, dataset in enumerate(make_stack(random_stack(5, seed=1), orientation=SAGITTAL)):
        dataset.SOPInstanceUID = f"1.2.3.5.{index + 1}"
        save(dataset, folder / "a" / f"SAG{index}.dcm")


def pictures(folder: Path, *sizes: tuple[int, int]) -> None:
    folder.mkdir(exist_ok=True)
    for index, size in enumerate(sizes):
        Image.fromarray(np.full(size, index + 1, np.uint8)).save(folder / f"{index + 1}.png")


def without_geometry(folder: Path) -> None:
    datasets = make_stack(random_stack(5))
    for dataset in datasets:
        del dataset.ImagePositionPatient
    save_stack(datasets, folder)


def truncated(folder: Path) -> None:
    stack(folder)
    path = folder / "IM0003.dcm"
    path.write_bytes(path.read_bytes()[:-20])


def polyglot(folder: Path) -> None:
    stack(folder)
    path = folder / "IM0003.dcm"
    path.write_bytes(b"MZ" + path.read_bytes()[2:])


def write(name: str, content: bytes) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return make


def encoded(folder: Path, syntax: str) -> None:
    dataset = make_slice(random_stack(1)[0], (0, 0, 0))
    dataset.PixelData = encapsulate([b"\xff\x0a a stream"])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / "one.dcm", enforce_file_format=True, implicit_vr=False, little_endian=True)


INPUTS = [
    Input(code=Code.GAP, make=with_gap, numbers={"gaps": 1, "slice": 3, "step_mm": 5.0, "expected_mm": 2.5}, slices=7),
    Input(code=Code.DUPLICATE_SLICE, make=with_copy, numbers={"copies": 1}, slices=8),
    Input(code=Code.DUPLICATE_POSITION, make=with_another_at_one_place, numbers={"repeats": 1}),
    Input(code=Code.UNEVEN_SPACING, numbers={"smallest_mm": 2.5, "largest_mm": 5.0}, slices=12,
          make=lambda folder: at_positions(folder, [(0, 0, 2.5 * min(n, 6) + 5 * max(n - 6, 0)) for n in range(12)])),
    Input(code=Code.GANTRY_TILT, numbers={"degrees": np.degrees(np.arctan(0.2))}, slices=8,
          make=lambda folder: at_positions(folder, [(0, 0.5 * n, 2.5 * n) for n in range(8)])),
    Input(code=Code.MIXED_ORIENTATION, make=in_two_directions, numbers={"slices": 5}, slices=5),
    Input(code=Code.MIXED_SIZE, make=lambda folder: pictures(folder, (8, 8), (8, 9), (8, 8)), numbers={}),
    Input(code=Code.MISSING_GEOMETRY, make=without_geometry, numbers={}, slices=5),
    Input(code=Code.BAD_VALUE, make=lambda folder: stack(folder, RescaleSlope=0), numbers={"files": 8}),
    Input(code=Code.SHORT_COVERAGE, make=lambda folder: stack(folder, ImagesInAcquisition=20), slices=8,
          numbers={"slices": 8, "expected": 20}),
    Input(code=Code.TRUNCATED, make=truncated, numbers={"held": 40}),
    Input(code=Code.UNREADABLE, make=write("a.nii", b"\1no volume " * 100), numbers={}),
    Input(code=Code.LOSSY, numbers={"ratio": 12.0}, slices=8,
          make=lambda folder: stack(folder, LossyImageCompression="01", LossyImageCompressionRatio=12)),
    Input(code=Code.BURNED_IN_TEXT, make=lambda folder: stack(folder, BurnedInAnnotation="YES"), numbers={}, slices=8),
    Input(code=Code.POLYGLOT, make=polyglot, numbers={}, slices=8),
    Input(code=Code.NOT_A_SERIES, make=lambda folder: pictures(folder, (8, 8)), numbers={}, slices=1),
    Input(code=Code.DERIVED, make=lambda folder: stack(folder, ImageType=["DERIVED", "SECONDARY", "MPR"]), numbers={},
          slices=8),
    Input(code=Code.TOO_LARGE, make=write("a.nii", nifti((32767, 32767, 32767))), numbers={}),
    Input(code=Code.DECODER_MISSING, make=lambda folder: encoded(folder, "1.2.840.10008.1.2.4.201"), numbers={}),
    Input(code=Code.UNSUPPORTED, make=lambda folder: encoded(folder, "1.2.3.4.5.6"), numbers={}),
]
AT_READING = {Code.DECODER_CRASH: "segfault", Code.TIMEOUT: "hang", Code.TOO_LARGE: "allocate"}
LEFT_OUT = {Code.ENCRYPTED: bytes.fromhex("30820400 0609 2a864886f70d010703 a08203f1") + bytes(1024)}
each_input = pytest.mark.parametrize("given", INPUTS, ids=lambda given: str(given.code))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """For DECODER_MISSING: a machine without the extras."""
    call = getattr(request.node, "callspec", None)
    given = call.params.get("given") if call else None
    if given is not None and given.code == Code.DECODER_MISSING:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setattr("seriatim.io.dicom_pixels.codecs.find_decoders", lambda syntax: ())
        check_decoder.cache_clear()
    yield
    check_decoder.cache_clear()


def find_told(folder: Path, code: Code, actions: dict[Code, Action] | None = None) -> list[tuple[Series, Finding]]:
    """Each series of which a code is told, with the finding."""
    return [(one, finding) for one in find_series(folder, actions).series for finding in one.findings
            if finding.code == code]


def test_every_code_is_provoked() -> None:
    assert {given.code for given in INPUTS} | AT_READING.keys() | LEFT_OUT.keys() == set(Code)


@each_input
def test_the_default_is_that_of_the_table_and_the_finding_says_what_and_how_much(tmp_path: Path, given: Input) -> None:
    given.make(tmp_path / "in")
    told = find_told(tmp_path / "in", given.code)
    assert told
    for series, finding in told:
        default = DEFAULT_ACTIONS[given.code]
        assert finding.action == default
        assert series.usable is (default != "refuse")
        assert {name: finding.numbers[name] for name in given.numbers} == pytest.approx(given.numbers)
        assert str(finding).startswith(f"{given.code}: ")
        if default == "refuse":
            assert series.reason.startswith(f"{given.code}: ")
            assert ADVICE.search(str(finding)), str(finding)
        else:
            assert len(read_volume(series).array) == given.slices


@each_input
@pytest.mark.parametrize("how", ["--on", "data.findings"])
def test_an_action_that_is_possible_is_taken(tmp_path: Path, given: Input, how: str) -> None:
    given.make(tmp_path / "in")
    possible: list[Action] = ["refuse", *(["keep"] if given.code in KEEPABLE else [])]
    for action in possible:
        actions = {given.code: action}
        if how == "--on":
            actions = parse_actions([f"{given.code}={action}"])
        else:
            actions = DataSettings(manifest=Path("labels.csv"), findings=actions).findings
        for series, finding in find_told(tmp_path / "in", given.code, actions):
            assert finding.action == action
            if action == "refuse":
                assert series.reason.startswith(f"{given.code}: ")
            else:
                assert len(read_volume(series).array) == given.slices


@pytest.mark.parametrize("code", Code)
@pytest.mark.parametrize("action", ["keep", "repair"])
def test_an_action_that_is_not_possible_names_those_that_are(
    code: Code, action: Action, seriatim_command: CommandLine, tmp_path: Path
) -> None:
    possible = KEEPABLE if action == "keep" else REPAIRABLE
    if code in possible:
        assert parse_actions([f"{code}={action}"]) == {code: action}
        return
    with pytest.raises(ConfigError) as refused:
        parse_actions([f"{code}={action}"])
    told = str(refused.value)
    assert told.startswith(f"{code}={action} is not possible")
    assert all(str(one) in told for one in possible)
    assert f"{code}=refuse" in told
    with pytest.raises(ValueError, match=f"{code}={action} is not possible"):
        DataSettings(manifest=Path("labels.csv"), findings={code: action})
    done = seriatim_command("inspect", tmp_path, "--on", f"{code}={action}")
    assert done.code == 2
    assert told in done.err


@pytest.mark.skipif(os.name == "nt", reason="Windows reads in one process")
@pytest.mark.parametrize("code", AT_READING)
def test_what_happens_while_reading_is_told_alike(tmp_path: Path, code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "WORKER", PLANTED)
    monkeypatch.setattr(isolated, "_workers", isolated._Workers())
    folder = tmp_path / f"bad-{AT_READING[code]}"
    stack(folder)
    (series,) = find_series(folder).series
    with pytest.raises(IsolatedError) as ended:
        read_volume(series, limits=QUICK)
    assert ended.value.finding.code == code
    assert ended.value.finding.action == DEFAULT_ACTIONS[code]
    assert str(ended.value).startswith(f"{code}: ")
    assert ADVICE.search(str(ended.value)), str(ended.value)


@pytest.mark.parametrize("code", LEFT_OUT)
def test_what_no_series_can_be_made_of_is_left_out_with_its_code(tmp_path: Path, code: Code) -> None:
    (tmp_path / "one.dcm").write_bytes(LEFT_OUT[code])
    for actions in ({}, parse_actions([f"{code}=refuse"])):
        inventory = find_series(tmp_path, actions)
        assert inventory.series == ()
        (skipped,) = inventory.skipped
        assert skipped.reason.startswith(f"{code}: ")
        assert ADVICE.search(skipped.reason), skipped.reason
