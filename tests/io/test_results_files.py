"""Result files: valid, the same for the same result, of the right patient, and never over another's."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import make_enhanced, make_stack, random_stack, save, save_stack
from results_of import DIGEST, LABEL, check_valid, find_one, make_result, read_results
from test_dicom_frames import make_cine

from seriatim.errors import InputError
from seriatim.io.results import Algorithm
from seriatim.series import Series

pytest.importorskip("highdicom", reason="the extra dicom-results is not installed")

from seriatim.io.results.write import write_results

FILED = {"StudyDate": "20260102", "StudyTime": "101112", "StudyID": "7", "AccessionNumber": "A1"}
ALL = ["attention", "gradcam", "key-images", "report", "summary"]


def make_series(folder: Path, **values: Any) -> Series:
    return find_one(save_stack(make_stack(random_stack(3), **{**FILED, **values}), folder / "in", seed=1))


def test_every_object_is_valid(tmp_path: Path) -> None:
    write_results(make_result(make_series(tmp_path)), tmp_path / "out")
    assert sorted(read_results(tmp_path / "out")) == ALL
    check_valid(sorted((tmp_path / "out").iterdir()))


def test_objects_about_frames_are_valid(tmp_path: Path) -> None:
    clip = make_cine(4, Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1", **FILED)
    clip.PixelData, clip.SamplesPerPixel, clip.PlanarConfiguration = b"\x80" * (len(clip.PixelData) * 3), 3, 0
    clip.PhotometricInterpretation, clip.BitsAllocated, clip.BitsStored, clip.HighBit = "RGB", 8, 8, 7
    clip.PixelData = b"\x80" * (4 * clip.Rows * clip.Columns * 3)
    save(clip, tmp_path / "clip" / "a.dcm")
    filed = write_results(make_result(find_one(tmp_path / "clip")), tmp_path / "out" / "clip")
    assert sorted(read_results(tmp_path / "out" / "clip")) == ["key-images", "report", "summary"]
    assert sorted(filed.left_out) == ["attention", "gradcam"]
    enhanced = make_enhanced(random_stack(3), np.arange(9.0).reshape(3, 3), [{}] * 3, [1.0] * 3)
    save(enhanced, tmp_path / "enhanced" / "a.dcm")
    write_results(make_result(find_one(tmp_path / "enhanced")), tmp_path / "out" / "enhanced")
    assert sorted(read_results(tmp_path / "out" / "enhanced")) == ALL
    check_valid(sorted((tmp_path / "out").glob("*/*.dcm")))


def test_the_same_result_is_the_same_objects(tmp_path: Path) -> None:
    result = make_result(make_series(tmp_path))
    first, second = (write_results(result, tmp_path / name) for name in ("a", "b"))
    assert [one.sop_instance_uid for one in first.files] == [one.sop_instance_uid for one in second.files]
    assert all(one.sop_instance_uid.startswith("2.25.") for one in first.files)
    assert len({one.sop_instance_uid for one in first.files}) == 5
    mine, again = read_results(tmp_path / "a"), read_results(tmp_path / "b")
    assert len({one.SeriesInstanceUID for one in mine.values()}) == 5
    for kind, one in mine.items():
        for dataset in (one, again[kind]):
            for keyword in ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime",
                            "DateOfSecondaryCapture", "TimeOfSecondaryCapture", "ContributingEquipmentSequence"):
                if keyword in dataset:
                    del dataset[keyword]
        assert one == again[kind], kind


def test_other_numbers_or_another_model_are_other_objects_of_the_right_series(tmp_path: Path) -> None:
    result = make_result(make_series(tmp_path))
    write_results(result, tmp_path / "a")
    numbers = replace(result, prediction=replace(result.prediction, probabilities={LABEL: 0.8123456789012355}))
    write_results(numbers, tmp_path / "b")
    write_results(replace(result, algorithm=Algorithm(name="tiny", version="0.1", digest="cd" * 32)), tmp_path / "c")
    one, other, model = (read_results(tmp_path / name) for name in "abc")
    assert one["report"].SOPInstanceUID != other["report"].SOPInstanceUID
    assert one["report"].SeriesInstanceUID == other["report"].SeriesInstanceUID
    assert one["gradcam"].SOPInstanceUID == other["gradcam"].SOPInstanceUID  # it does not hold the number
    for kind in ALL:
        assert one[kind].SOPInstanceUID != model[kind].SOPInstanceUID
        assert one[kind].SeriesInstanceUID != model[kind].SeriesInstanceUID


def test_a_file_that_is_there_is_kept_replaced_or_left_alone(tmp_path: Path) -> None:
    result, out = make_result(make_series(tmp_path)), tmp_path / "out"
    assert {one.outcome for one in write_results(result, out).files} == {"written"}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {one.outcome for one in write_results(result, out).files} == {"kept"}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    changed = replace(result, prediction=replace(result.prediction, probabilities={LABEL: 0.25}))
    outcomes = {one.path.stem: one.outcome for one in write_results(changed, out).files}
    assert outcomes == {kind: "replaced" if kind == "report" else "kept" for kind in ALL}
    (out / "summary.dcm").write_bytes(b"somebody's")
    filed = write_results(result, out)
    assert (out / "summary.dcm").read_bytes() == b"somebody's"
    assert "is no result of seriatim" in filed.left_out["summary"]
    assert len(filed.files) == 4
    assert not list(out.glob("*.partial"))


NAMES = {
    "latin": ("ISO_IR 100", "Müller^Jürgen"), "utf8": ("ISO_IR 192", "Ώμέγα^Ирина=山田^太郎"),
    "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "cyrillic": ("ISO_IR 144", "Иванов^Иван"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_is_the_same_in_whatever_characters_it_came(tmp_path: Path, kind: str) -> None:
    charset, name = NAMES[kind]
    series = make_series(tmp_path, SpecificCharacterSet=charset, PatientName=name)
    write_results(make_result(series, maps=()), tmp_path / "out")
    for dataset in read_results(tmp_path / "out").values():
        assert str(dataset.PatientName) == name
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
    check_valid([tmp_path / "out" / "report.dcm"])


ODD: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "missing": ({"PatientID": None, "PatientName": None}, {"PatientID": "", "PatientName": ""}),
    "long": ({"PatientID": "X" * 100, "PatientName": "N" * 90, "StudyDescription": "d" * 100},
             {"PatientID": "X" * 100, "PatientName": "N" * 90, "StudyDescription": "d" * 64}),
    "illegal": ({"PatientBirthDate": "1970.01.02", "PatientSex": "male", "PatientAge": "45", "PatientWeight": "nan",
                 "StudyDate": "20261399", "StudyTime": "noon"},
                {"PatientBirthDate": "19700102", "PatientSex": "", "StudyDate": "", "StudyTime": ""}),
    "backslash": ({"PatientID": "A\\B"}, {"PatientID": "A\\B"}),
    "single-name": ({"PatientName": "REMOVED"}, {"PatientName": "REMOVED"}),
    "hostile": ({"SpecificCharacterSet": "ISO_IR 192", "PatientName": "<script>alert(1)</script>^\x1b[31m\u202eRed",
                 "PatientID": "'; DROP TABLE patients;--", "StudyDescription": "<img src=x>\x00\x1b[2J"},
                {"PatientName": "<script>alert(1)</script>^[31m\u202eRed", "PatientID": "'; DROP TABLE patients;--",
                 "StudyDescription": "<img src=x>[2J"}),
    "anonymous": ({"PatientIdentityRemoved": "YES"}, {"DeidentificationMethod": "not stated"}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_odd_values_of_the_source_break_nothing(tmp_path: Path, kind: str) -> None:
    values, expected = ODD[kind]
    with pydicom.config.disable_value_validation():
        series = make_series(tmp_path, **values)
        result = make_result(series)
        filed = write_results(replace(result, maps=result.maps[:1]), tmp_path / "out")
        assert not filed.left_out
        for dataset in read_results(tmp_path / "out").values():
            for keyword, value in expected.items():
                told = dataset.get(keyword)
                parts = told if isinstance(told, pydicom.multival.MultiValue) else [told]
                assert "\\".join(str("" if part is None else part) for part in parts) == value, keyword
            assert "PatientAge" not in dataset or kind != "illegal"
    if kind not in ("long", "backslash"):  # an identifier that is none in the source stays what it is
        check_valid([tmp_path / "out" / f"{name}.dcm" for name in ALL if name != "gradcam"])


def test_names_of_classes_and_models_are_plain_text_in_the_objects(tmp_path: Path) -> None:
    """What seriatim adds to the objects is one printable line, as long as DICOM allows."""
    hostile = "<script>\u202e\x1b[31m\\'; DROP TABLE x;--\n" + "long " * 40
    series = make_series(tmp_path)
    algorithm = Algorithm(name=hostile, version="0.1", digest=DIGEST, parameters=(hostile,))
    count = len(series.instances)
    result = make_result(series, algorithm=algorithm, thresholds={hostile: 0.5}, predicted={
        "probabilities": {hostile: 0.5}, "slice_scores": {hostile: np.linspace(0, 1, count)}})
    filed = write_results(replace(result, maps=tuple(replace(one, label=hostile) for one in result.maps)),
                          tmp_path / "out")
    assert not filed.left_out
    check_valid(sorted((tmp_path / "out").iterdir()))
    for dataset in read_results(tmp_path / "out").values():
        told = str(dataset)  # pydicom writes one line for each element
        assert "\u202e" not in told
        assert "\x1b" not in told
        assert "DROP TABLE" in told


@pytest.mark.filterwarnings("ignore")
def test_values_of_another_kind_than_their_tag(tmp_path: Path) -> None:
    datasets = make_stack(random_stack(3))
    for dataset in datasets:
        del dataset.PatientID, dataset.PatientName
        dataset.add_new(0x00100020, "OB", b"ID-7")
        dataset.add_new(0x00100010, "UN", b"Some^One")
        dataset.add_new(0x00100040, "US", 5)
    filed = write_results(make_result(find_one(save_stack(datasets, tmp_path / "in"))), tmp_path / "out")
    assert not filed.left_out
    report = read_results(tmp_path / "out")["report"]
    assert (report.PatientID, str(report.PatientName), report.PatientSex) == ("ID-7", "Some^One", "")


@pytest.mark.filterwarnings("ignore")
def test_an_identifier_that_none_could_be_is_refused(tmp_path: Path) -> None:
    with pydicom.config.disable_value_validation():
        series = make_series(tmp_path, PatientID="X" * 5000)
    with pytest.raises(InputError, match="PatientID has more than 1024 characters"):
        write_results(make_result(series), tmp_path / "out")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("uid", ["ID_6431af929", "Secret^Person", ""])
def test_a_series_that_nothing_can_refer_to_is_refused(tmp_path: Path, uid: str) -> None:
    with pydicom.config.disable_value_validation():
        series = make_series(tmp_path, StudyInstanceUID=uid)
    with pytest.raises(InputError, match="StudyInstanceUID is missing or no DICOM UID"):
        write_results(make_result(series), tmp_path / "out")


def test_images_of_a_private_class_are_referred_to_by_it(tmp_path: Path) -> None:
    series = make_series(tmp_path, SOPClassUID="1.2.840.113619.4.3")  # GE Private CT Image Storage
    filed = write_results(make_result(series), tmp_path / "out")
    assert not filed.left_out
    for kind in ("report", "key-images"):
        (study,) = read_results(tmp_path / "out")[kind].CurrentRequestedProcedureEvidenceSequence
        classes = {one.ReferencedSOPClassUID for one in study.ReferencedSeriesSequence[0].ReferencedSOPSequence}
        assert classes == {"1.2.840.113619.4.3"}


def test_nothing_tells_who_it_is_but_the_objects(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    series = make_series(tmp_path, PatientName="Secret", StudyDescription="SECRET-STUDY")  # a name of one part warns
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.dcm").write_bytes(b"somebody's")
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        filed = write_results(make_result(series), tmp_path / "out")
    told = [repr(filed), caplog.text, *(str(one.message) for one in caught), *capsys.readouterr()]
    told += [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert "report" in filed.left_out
    assert "SECRET" not in "".join(told).upper()


@pytest.mark.parametrize("stated", [{}, {"LossyImageCompressionRatio": [10.5], "LossyImageCompressionMethod": "ISO_1"}])
def test_what_was_made_of_lossy_pixels_says_so(tmp_path: Path, stated: dict[str, Any]) -> None:
    series = make_series(tmp_path, LossyImageCompression="01", **stated)
    write_results(make_result(series), tmp_path / "out")
    objects = read_results(tmp_path / "out")
    for kind in ("attention", "gradcam", "summary"):
        assert objects[kind].LossyImageCompression == "01"
        assert objects[kind].get("LossyImageCompressionRatio") == (10.5 if stated else None)
    assert "LossyImageCompression" not in objects["report"]
