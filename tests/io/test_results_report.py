"""The report: every number, code and reference is what was predicted of that image; nothing is there beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import make_stack, random_stack, save, save_stack
from pydicom.dataset import Dataset
from results_of import DIGEST, LABEL, find_items, find_one, make_result, predict
from test_dicom_frames import make_cine

from seriatim.io.results import SeriesResult, SliceAttribution

pytest.importorskip("highdicom", reason="the extra dicom-results is not installed")

from seriatim.io.results.report import make_report
from seriatim.io.results.source import read_source

IDENTITY = {"StudyDate": "20260102", "StudyTime": "101112", "StudyID": "7", "AccessionNumber": "A1"}


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Five slices whose files carry no order."""
    return save_stack(make_stack(random_stack(5), **IDENTITY), tmp_path / "in", seed=3)


def report_on(result: SeriesResult) -> Dataset:
    return make_report(result, read_source(result.series))


def groups_of(report: Dataset) -> list[Dataset]:
    return find_items(report, "CONTAINER", "125007")


def tell(group: Dataset) -> dict[str, tuple[float, ...]]:
    """The numbers of a group by the code of their names; all are without a unit, and have all their digits."""
    told: dict[str, list[float]] = {}
    for item in find_items(group, "NUM"):
        measured = item.MeasuredValueSequence[0]
        unit = measured.MeasurementUnitsCodeSequence[0]
        assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("1", "UCUM")
        assert float(measured.NumericValue) == pytest.approx(measured.FloatingPointValue, rel=1e-9)
        told.setdefault(item.ConceptNameCodeSequence[0].CodeValue, []).append(measured.FloatingPointValue)
    return {name: tuple(values) for name, values in told.items()}


def code_of(group: Dataset, name: str) -> tuple[str, str]:
    (item,) = find_items(group, "CODE", name)
    concept = item.ConceptCodeSequence[0]
    return concept.CodeValue, concept.CodingSchemeDesignator


def images_of(group: Dataset) -> list[tuple[str, object]]:
    """(SOP Instance UID, frames) of the images that a group is about."""
    return [(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
             item.ReferencedSOPSequence[0].get("ReferencedFrameNumber")) for item in find_items(group, "IMAGE")]


def test_each_number_stands_with_the_image_it_is_about(stack: Path) -> None:
    result = make_result(find_one(stack))
    told = result.prediction
    whole, *single = groups_of(report_on(result))
    assert tell(whole) == {"122157": (0.8123456789012345,), "122411": (0.5,)}  # DCM: probability, threshold value
    assert [uid for uid, _ in images_of(whole)] == list(told.sop_instance_uids)
    assert code_of(whole, "decision") == ("52101004", "SCT")  # present
    assert code_of(whole, "121401") == ("uncalibrated", "99SERIATIM")
    assert len(single) == 5
    assert told.attention is not None
    for index, group in enumerate(single):
        assert images_of(group) == [(told.sop_instance_uids[index], None)]
        assert tell(group) == {"attention": (told.attention[index],), "122157": (told.slice_scores[LABEL][index],)}
        assert code_of(group, "121401") == ("uncalibrated", "99SERIATIM")
        assert find_items(group, "TEXT", "112039")[0].TextValue == f"image {index + 1} of 5: {LABEL}"
    uids = [find_items(group, "UIDREF", "112040")[0].UID for group in (whole, *single)]
    assert len(set(uids)) == 6


def test_the_report_says_which_model_which_series_and_what_for(stack: Path) -> None:
    result = make_result(find_one(stack), calibrated=True)
    report = report_on(result)
    whole, *single = groups_of(report)
    assert code_of(whole, "121401") == ("calibrated", "99SERIATIM")
    assert [item.TextValue for item in find_items(whole, "TEXT", "111001")] == ["tiny"]
    assert [item.TextValue for item in find_items(whole, "TEXT", "111003")] == [f"seriatim 0.1, model {DIGEST[:12]}"]
    assert [item.TextValue for item in find_items(whole, "TEXT", "111002")] == [
        f"model sha256 {DIGEST}", "task diagnosis"]
    assert all(find_items(group, "TEXT", "111003") for group in single)
    finding = find_items(whole, "CODE", "121071")[0].ConceptCodeSequence[0]
    assert (finding.CodingSchemeDesignator, finding.CodeMeaning) == ("99SERIATIM", LABEL)
    assert len(finding.CodeValue) == 16  # a digest: the label is not a legal code
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99SERIATIM"
    texts = [item.TextValue for item in find_items(report, "TEXT", "121106")]
    assert texts[0].startswith("Research use only")
    assert any("calibrated on validation data" in text for text in texts)
    assert "Threshold chosen on: validation." in texts
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert code_of(report, "121058") == ("25045-6", "LN")  # procedure reported: CT
    assert code_of(report, "121005") == ("121007", "DCM")  # observed by a device


def test_evidence_and_library_name_every_image_once(stack: Path) -> None:
    series = find_one(stack)
    report = report_on(make_result(series))
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (referred,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, referred.SeriesInstanceUID) == ("1.2.3", "1.2.3.4")
    uids = [one.sop_instance_uid for one in series.instances]
    assert [item.ReferencedSOPInstanceUID for item in referred.ReferencedSOPSequence] == uids
    (library,) = find_items(report, "CONTAINER", "111028")
    assert [uid for uid, _ in images_of(library)] == uids
    places = [float(item.MeasuredValueSequence[0].NumericValue)
              for item in find_items(library, "NUM") if "Z" in item.ConceptNameCodeSequence[0].CodeMeaning]
    assert places == [30.0, 32.5, 35.0, 37.5, 40.0]
    names = [item.ConceptNameCodeSequence[0].CodeValue for item in report.ContentSequence]
    assert names.index("111028") < names.index("126010")  # TID 1500: the library before the measurements


def test_a_document_of_the_patient_and_study_of_its_source(stack: Path) -> None:
    report = report_on(make_result(find_one(stack)))
    assert (str(report.PatientName), report.PatientID) == ("Secret^Person", "SECRET-ID")
    assert {key: report.get(key) for key in IDENTITY} == IDENTITY
    assert report.StudyInstanceUID == "1.2.3"
    assert report.SeriesInstanceUID.startswith("2.25.")
    assert report.SOPInstanceUID.startswith("2.25.")


def test_frames_of_one_object_are_told_apart(tmp_path: Path) -> None:
    save(make_cine(4, Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1"), tmp_path / "in" / "clip.dcm")
    result = make_result(find_one(tmp_path / "in"))
    report = report_on(result)
    whole, *single = groups_of(report)
    uid = result.prediction.sop_instance_uids[0]
    assert images_of(whole) == [(uid, [1, 2, 3, 4])]
    assert [images_of(group) for group in single] == [[(uid, number)] for number in (1, 2, 3, 4)]
    assert len({find_items(group, "UIDREF", "112040")[0].UID for group in single}) == 4
    (library,) = find_items(report, "CONTAINER", "111028")
    assert images_of(library) == [(uid, None)]


def test_several_classes_have_a_group_each(stack: Path) -> None:
    series = find_one(stack)
    scores = {"a": np.linspace(0, 1, 5), "b": np.linspace(1, 0, 5)}
    several = {"probabilities": {"a": 0.25, "b": 0.5}, "prediction": "b", "slice_scores": scores}
    thresholds = {"a": 0.5, "b": 0.25}
    report = report_on(make_result(series, answer="multilabel", predicted=several, thresholds=thresholds))
    first, second, *single = groups_of(report)
    assert (tell(first)["122157"], tell(first)["122411"]) == ((0.25,), (0.5,))
    assert (tell(second)["122157"], tell(second)["122411"]) == ((0.5,), (0.25,))
    assert code_of(first, "decision") == ("272519000", "SCT")  # absent
    assert code_of(second, "decision") == ("52101004", "SCT")
    assert [code_of(group, "121071")[0] for group in (first, second)] == ["F-a", "F-b"]
    assert len(single) == 15  # of each image: attention, a, b
    assert [list(tell(group)) for group in single[:3]] == [["attention"], ["122157"], ["122157"]]
    assert [tell(group)["122157"] for group in single[1:3]] == [(0.0,), (1.0,)]


def test_attention_of_each_class_stands_with_the_class(stack: Path) -> None:
    own = {"a": np.full(5, 0.2), "b": np.arange(5) / 10}
    several = {"probabilities": {"a": 0.25, "b": 0.75}, "prediction": "b", "slice_scores": {}, "class_attention": own}
    report = report_on(make_result(find_one(stack), answer="multiclass", predicted=several, thresholds={}))
    first, second, *single = groups_of(report)
    assert code_of(first, "likeliest") == ("373067005", "SCT")  # no
    assert code_of(second, "likeliest") == ("373066001", "SCT")  # yes
    assert [tell(group) for group in single[2:4]] == [{"attention": (0.2,)}, {"attention": (0.1,)}]


@pytest.mark.parametrize(("answer", "name", "shared"), [("regression", "value", "attention"),
                                                        ("anomaly", "anomaly_score", "surprise_share")])
def test_what_is_no_probability_is_not_called_one(stack: Path, answer: str, name: str, shared: str) -> None:
    report = report_on(make_result(find_one(stack), answer=answer))
    whole, *single = groups_of(report)
    assert set(tell(whole)) == {name} | ({"122411"} if answer == "anomaly" else set())
    assert set(tell(single[0])) == {name, shared}
    assert not find_items(report, "CODE", "121401")  # nothing is called calibrated or not
    assert bool(find_items(whole, "CODE", "decision")) == (answer == "anomaly")


def test_disagreement_of_several_models_is_told(stack: Path) -> None:
    report = report_on(make_result(find_one(stack), predicted={"disagreement": {LABEL: 0.125}}))
    assert tell(groups_of(report)[0])["disagreement"] == (0.125,)


def test_a_number_that_is_none_is_left_out(stack: Path) -> None:
    scores = np.array([0.5, np.nan, 0.5, 0.5, 0.5])
    report = report_on(make_result(find_one(stack), predicted={"slice_scores": {LABEL: scores}}))
    assert [set(tell(group)) for group in groups_of(report)[1:3]] == [{"attention", "122157"}, {"attention"}]


def test_a_result_about_other_images_is_refused(stack: Path, tmp_path: Path) -> None:
    other = find_one(save_stack(make_stack(random_stack(4)), tmp_path / "other"))
    with pytest.raises(ValueError, match="other images"):
        make_result(find_one(stack), prediction=predict(other))
    with pytest.raises(ValueError, match="attribution of 5 slices"):
        make_result(find_one(stack), attribution=SliceAttribution(code="a", title="a", label=LABEL,
                                                                  values=np.ones((5, 2))))
