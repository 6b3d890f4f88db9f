"""A ZIP archive in place of its folder, from end to end: training, scoring, explaining and evaluating give the same."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from seriatim.evaluation.join import join
from seriatim.evaluation.scores import read_scores
from seriatim.explanation import explain
from seriatim.scoring import score
from seriatim.training import train
from tiny_runs import make_experiment, read_rows, without, write_rows

LABELS, SLICES = "labels.csv", "slices.csv"
METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


@pytest.fixture(scope="module", params=METHODS)
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> Path:
    """``head_ct`` in an archive, tables and all. Never write into it."""
    path = tmp_path_factory.mktemp("archive") / "head-ct.zip"
    with zipfile.ZipFile(path, "w", METHODS[request.param]) as file:
        for one in sorted(head_ct.rglob("*")):
            if one.is_file():
                file.write(one, one.relative_to(head_ct).as_posix())
    return path


def below(rows: list[dict[str, str]], root: Path) -> list[tuple[str, str]]:
    """Where each series lies below what was given."""
    return sorted((row["series_uid"], Path(row["path"]).relative_to(root).as_posix()) for row in rows)


def point_into(archive: Path, head_ct: Path, *, uid: str = "series_uid") -> Path:
    """The manifest of ``head_ct`` beside the archive, with paths into it; ``uid`` is what it calls the series UID."""
    rows = [{**row, "path": f"{archive.name}/{row['path']}", uid: row["series_uid"]}
            for row in read_rows(head_ct / LABELS)]
    return write_rows(archive.parent / f"{uid}.csv", without(rows, *({"series_uid", "study_uid"} - {uid})))


def test_scores_are_those_of_the_folder(
    tmp_path: Path, archive: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path
) -> None:
    summary = score(archive, model=tiny_run, output=tmp_path, device="cpu")
    found, expected = read_rows(tmp_path / "scores.csv"), read_rows(tiny_scores / "scores.csv")
    assert len(found) == 12
    assert without(found, "path", "seconds") == without(expected, "path", "seconds")
    assert below(found, archive) == below(expected, head_ct)
    assert (tmp_path / SLICES).read_bytes() == (tiny_scores / SLICES).read_bytes()
    assert summary["counts"] == json.loads((tiny_scores / "run.json").read_text())["counts"]


def test_a_series_folder_in_the_archive_scores_alike(
    tmp_path: Path, archive: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path
) -> None:
    case = read_rows(head_ct / LABELS)[3]
    score(archive / case["path"], model=tiny_run, output=tmp_path, device="cpu")
    expected = [row for row in read_rows(tiny_scores / "scores.csv") if row["series_uid"] == case["series_uid"]]
    assert without(read_rows(tmp_path / "scores.csv"), "path", "seconds") == without(expected, "path", "seconds")


def test_explanations_are_those_of_the_folder(tmp_path: Path, archive: Path, head_ct: Path, tiny_run: Path) -> None:
    rows = {}
    for name, data in (("zip", archive), ("folder", head_ct)):
        rows[name] = explain(data, model=tiny_run, output=tmp_path / name, device="cpu", limit=2, top=2)
    assert without(rows["zip"], "path") == without(rows["folder"], "path")
    assert [row["status"] for row in rows["zip"]] == ["explained"] * 2
    for row in rows["zip"]:
        for file in (f"{row['series_uid']}.csv", row["picture"]):
            assert (tmp_path / "zip" / file).read_bytes() == (tmp_path / "folder" / file).read_bytes(), file


def test_training_on_paths_into_the_archive_gives_the_same_model(
    tmp_path: Path, archive: Path, head_ct: Path, tiny_run: Path
) -> None:
    train(make_experiment(tmp_path, head_ct, f"data.manifest={point_into(archive, head_ct)}"), tmp_path / "run")
    for name in ("validation.csv", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tiny_run / name).read_bytes(), name


def test_labels_join_by_paths_into_the_archive(tmp_path: Path, archive: Path, head_ct: Path, tiny_run: Path) -> None:
    score(archive, model=tiny_run, output=tmp_path, device="cpu")
    labels = point_into(archive, head_ct, uid="true_uid")
    joined = join([read_scores(tmp_path / "scores.csv")], labels, include_training=True)
    assert len(joined.pairs) == 12
    assert joined.joined_by == {"path": 12}
    assert [pair.label["true_uid"] for pair in joined.pairs] == [pair.score["series_uid"] for pair in joined.pairs]
