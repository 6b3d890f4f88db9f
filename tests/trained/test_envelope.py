"""What a model's envelope says of a series: refused, noted, or nothing."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from seriatim.errors import ModelError
from seriatim.experiment import EnvelopeSettings
from seriatim.explanation import explain
from seriatim.io import find_series, read_volume
from seriatim.scoring import score
from seriatim.trained import Envelope, Model, load_ensemble, load_model, measure_intensity, write_description
from seriatim.trained.familiarity import Familiarity
from tiny_runs import read_rows

ENVELOPE = Envelope(
    modalities=("CT",), planes=("axial",), axis="space", slices=(20, 30), slice_spacing_mm=(5.0, 5.0),
    body_parts=("head",),
    intensity=((-1000, -990), (-1000, -950), (-900, -800), (0, 30), (30, 50), (60, 90), (400, 900)),
)
INSIDE = (-995.0, -980.0, -850.0, 20.0, 40.0, 80.0, 600.0)


def with_envelope(model: Model, envelope: Envelope, **settings: object) -> Model:
    asked = EnvelopeSettings.model_validate(settings)
    experiment = model.experiment.model_copy(update={"envelope": asked})
    return dataclasses.replace(model, envelope=envelope, experiment=experiment)


@pytest.fixture
def folder(head_ct: Path) -> Path:
    return head_ct / read_rows(head_ct / "labels.csv")[0]["path"]


def test_another_body_part_is_refused_or_noted_and_an_unknown_one_passes(tiny_run: Path, folder: Path) -> None:
    series = find_series(folder).series[0]
    told = {"modalities": ("CT",), "slices": (2, 99), "body_parts": ("head",)}
    envelope = dataclasses.replace(load_model(tiny_run).envelope, **told)
    model = with_envelope(load_model(tiny_run), envelope)
    for parts, refused in (((), False), (("head", "neck"), False), (("leg",), True)):
        other = dataclasses.replace(series, body_parts=parts)
        assert model.refuse(other).startswith("BODY_PART: the files say leg") is refused
        assert ("OUTSIDE_TRAINED_BODY_PART" in model.note(other)) is refused
    knee = dataclasses.replace(series, body_parts=("leg",))
    assert with_envelope(model, envelope, body_part="note").refuse(knee) == ""
    silent = dataclasses.replace(envelope, body_parts=())
    assert with_envelope(model, silent).refuse(knee) == ""  # training told none: nothing to hold it against


@pytest.mark.parametrize(
    ("change", "noted", "grave"),
    [
        (lambda one: one, False, False),
        (lambda one: [value + 5 for value in one], False, False),  # within a tenth of the range
        (lambda one: [*one[:6], 1000.0], True, False),
        (lambda one: [*one[:2], 20.0, *one[3:]], True, False),  # a narrow field of view: less air, the same unit
        (lambda one: [value + 1024 for value in one], True, True),  # rescale intercept forgotten
        (lambda one: [-value for value in one], True, True),
        (lambda one: [value / 10 for value in one], True, True),
    ],
)
def test_intensities_are_noted_beyond_the_range_and_refused_far_beyond(change, noted: bool, grave: bool) -> None:
    judged = ENVELOPE.judge_intensity(change(INSIDE))
    assert (judged is not None) is noted
    assert judged is None or judged.grave is grave


def test_an_envelope_of_an_older_run_judges_no_intensities() -> None:
    content = dataclasses.asdict(ENVELOPE)
    assert Envelope.from_dict(content) == ENVELOPE
    for name in ("intensity", "body_parts"):
        del content[name]
    older = Envelope.from_dict(content)
    assert older.judge_intensity([value + 9999 for value in INSIDE]) is None


def test_intensity_is_told_by_percentiles() -> None:
    values = torch.arange(101.0).repeat(4, 1)[:, :, None].expand(4, 101, 3)
    assert measure_intensity(values) == pytest.approx((1, 5, 25, 50, 75, 95, 99))


@pytest.fixture
def foreign_run(tmp_path: Path, tiny_run: Path, folder: Path) -> Path:
    """A run whose familiar embeddings all lie opposite to those of its own series."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    model = load_model(run)
    mean = model.embed(model.prepare(read_volume(find_series(folder).series[0])))[0].double().mean(dim=0).numpy()
    points = -np.repeat((mean / np.linalg.norm(mean))[None], 4, axis=0).astype(np.float32)
    write_description(
        run, experiment=model.experiment, task=model.task, thresholds=model.thresholds, envelope=model.envelope,
        metrics={}, familiarity=Familiarity(points=points, threshold=0.5),
    )
    return run


def test_what_looks_foreign_is_refused_with_its_distance_or_noted(
    tmp_path: Path, tiny_run: Path, foreign_run: Path, folder: Path
) -> None:
    for outside, status in (("refuse", "refused"), ("note", "scored"), (None, "refused")):
        counts = score(folder, model=foreign_run, output=tmp_path / "out", device="cpu", outside=outside)["counts"]
        row = read_rows(tmp_path / "out" / "scores.csv")[0]
        assert row["status"] == status
        assert counts[status] == 1
        assert "OUT_OF_DISTRIBUTION" in row["findings"].split(";")
        assert row["reason"].startswith("OUT_OF_DISTRIBUTION: ") is (status == "refused")
        assert float(row["distance"]) == pytest.approx(4, rel=1e-3)  # 2, the diameter, over a threshold of 0.5
    score(folder, model=tiny_run, output=tmp_path / "out", device="cpu")
    assert read_rows(tmp_path / "out" / "scores.csv")[0]["distance"] == ""


def test_what_is_not_scored_is_not_explained(tmp_path: Path, foreign_run: Path, folder: Path) -> None:
    refused = explain(folder, model=foreign_run, output=tmp_path / "refused", device="cpu", top=1)[0]
    assert (refused["status"], refused["picture"]) == ("refused", "")
    assert refused["reason"].startswith("OUT_OF_DISTRIBUTION: ")
    assert sorted(path.name for path in (tmp_path / "refused").iterdir()) == ["explanations.csv", "index.html"]
    noted = explain(folder, model=foreign_run, output=tmp_path / "noted", device="cpu", top=1, outside="note")[0]
    assert noted["status"] == "explained"


def test_of_several_models_any_may_refuse(tmp_path: Path, tiny_run: Path, foreign_run: Path, folder: Path) -> None:
    both = load_ensemble([tiny_run, foreign_run])
    score(folder, model=both, output=tmp_path / "out")
    assert read_rows(tmp_path / "out" / "scores.csv")[0]["status"] == "refused"
    score(folder, model=both, output=tmp_path / "out", outside="note")
    assert read_rows(tmp_path / "out" / "scores.csv")[0]["status"] == "scored"


def test_the_familiar_embeddings_belong_to_the_model(foreign_run: Path) -> None:
    path = foreign_run / "familiarity.safetensors"
    assert load_file(path)["points"].shape == (4, 16)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"familiarity\.safetensors is missing, or not the file"):
        load_model(foreign_run)
    path.unlink()
    with pytest.raises(ModelError, match="Copy the run again"):
        load_model(foreign_run)
