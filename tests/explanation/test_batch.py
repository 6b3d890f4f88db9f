"""Explaining folders: a picture and numbers per series, which agree with the scores; a bad series stops nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seriatim.errors import ConfigError, InputError, ModelError, OutputError
from seriatim.explanation import ExplainOptions, explain
from seriatim.explanation.batch import explain_volume
from seriatim.io import find_series, read_volume
from seriatim.trained import load_model
from tiny_runs import read_header, read_rows


@pytest.fixture
def two(tmp_path: Path, head_ct: Path) -> Path:
    """A bleeding and a healthy series."""
    rows = read_rows(head_ct / "labels.csv")
    for name, wanted in (("bleeding", "1"), ("healthy", "0")):
        path = next(row["path"] for row in rows if row["bleed"] == wanted)
        shutil.copytree(head_ct / path, tmp_path / "two" / name)
    return tmp_path / "two"


def test_every_series_gets_a_picture_and_its_numbers(
    tmp_path: Path, two: Path, tiny_run: Path, tiny_scores: Path
) -> None:
    told: list[tuple[int, int, str]] = []
    out = tmp_path / "out"
    rows = explain(
        two, model=tiny_run, output=out, device="cpu", top=3,
        report=lambda done, of, _series, reason: told.append((done, of, reason)),
    )  # fmt: skip
    assert told == [(1, 2, ""), (2, 2, "")]
    assert read_rows(out / "explanations.csv") == rows
    assert read_header(out / "explanations.csv") == [
        "series_uid", "volume", "path", "status", "reason", "picture", "page", "thumbnail", "label", "score",
        "prediction"]  # fmt: skip
    scores = {row["series_uid"]: row for row in read_rows(tiny_scores / "scores.csv")}
    for row in rows:
        assert float(row["score"]) == pytest.approx(float(scores[row["series_uid"]]["probability_bleed"]))
        assert (row["prediction"] == "bleed") == (scores[row["series_uid"]]["prediction"] == "1")
        assert (out / "thumbnails" / row["thumbnail"]).stat().st_size < 5000
    assert all(row["page"] in (out / "index.html").read_text() for row in rows)
    assert {path.name for path in out.iterdir()} == {"explanations.csv", "index.html", "thumbnails"} | {
        f"{row['series_uid']}{ending}" for row in rows for ending in (".png", ".csv", ".html")
    }
    scored: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(tiny_scores / "slices.csv"):
        scored.setdefault(row["series_uid"], []).append(row)
    for row in rows:
        with Image.open(out / row["picture"]) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) > 500
        assert pixels.std() > 20  # something is drawn
        numbers = read_rows(out / f"{row['series_uid']}.csv")
        expected = scored[row["series_uid"]]
        assert [one["sop_instance_uid"] for one in numbers] == [one["sop_instance_uid"] for one in expected]
        np.testing.assert_allclose(
            [float(one["attention"]) for one in numbers], [float(one["attention"]) for one in expected], rtol=1e-5
        )


def test_an_explanation_is_of_the_score_that_scoring_gives(two: Path, tiny_run: Path, tiny_scores: Path) -> None:
    model = load_model(tiny_run)
    written = {row["series_uid"]: row for row in read_rows(tiny_scores / "scores.csv")}
    for series in find_series(two).series:
        explanation = explain_volume(read_volume(series), model, top=4)
        row = written[series.series_uid]
        assert explanation.probability == float(row["probability_bleed"])
        assert explanation.prediction == ("bleed" if row["prediction"] == "1" else "no bleed")
        assert explanation.threshold == model.thresholds["bleed"]
        shown = explanation.attribution()
        assert sorted(shown[list(explanation.top)]) == sorted(shown)[-4:]
        assert explanation.shown_attribution == "integrated_gradients"
        assert "nothing was measured" in explanation.shown_because
        assert explanation.heat is not None
        assert explanation.heat.shape == explanation.images.shape
        assert explanation.letters == ("R", "L", "A", "P")
        assert explanation.unit == "mm"


def test_pages_can_be_left_out_and_figures_added(tmp_path: Path, two: Path, tiny_run: Path) -> None:
    out = tmp_path / "out"
    options = ExplainOptions(page=False, figures=("svg",))
    (row,) = explain(two / "bleeding", model=tiny_run, output=out, device="cpu", top=2, options=options)
    uid = row["series_uid"]
    assert {path.name for path in out.iterdir()} == {"explanations.csv", f"{uid}.png", f"{uid}.csv", "figures"}
    assert {path.name for path in (out / "figures").iterdir()} == {
        f"{uid}_{name}.svg" for name in ("strip", "montage", "curves")} | {"cohort.svg"}
    assert "integrated gradients in 1 series" in (out / "figures" / "cohort.svg").read_text()  # as it is shown
    options = ExplainOptions(page=False, figures=("svg",), show="slice_scores")
    explain(two, model=tiny_run, output=out, device="cpu", top=2, options=options)
    assert "slice score in 2 series" in (out / "figures" / "cohort.svg").read_text()
    with pytest.raises(ConfigError, match="png or svg"):
        ExplainOptions(figures=("gif",))


def test_only_and_limit(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    uids = [row["series_uid"] for row in read_rows(head_ct / "labels.csv")][3:6]
    rows = explain(head_ct, model=tiny_run, output=tmp_path, device="cpu", only=uids, limit=2, top=1)
    assert len(rows) == 2
    assert {row["series_uid"] for row in rows} <= set(uids)


def test_a_bad_series_is_a_row_and_the_rest_is_explained(
    tmp_path: Path, two: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.explanation import batch

    shutil.copytree(two / "healthy", two / "gap")
    import pydicom

    datasets = {path: pydicom.dcmread(path) for path in (two / "gap").iterdir()}
    for path, dataset in datasets.items():
        dataset.SeriesInstanceUID = "1.2.3.4"
        dataset.save_as(path)
    sorted(datasets, key=lambda path: float(datasets[path].ImagePositionPatient[2]))[5].unlink()
    original = batch.read_volume

    def read(series: object, **options: object) -> object:
        if series.path.name == "bleeding":
            raise RuntimeError("lost")
        return original(series, **options)

    monkeypatch.setattr(batch, "read_volume", read)
    rows = explain(two, model=tiny_run, output=tmp_path / "out", device="cpu", top=1)
    by_status = {row["status"]: row for row in rows}
    assert set(by_status) == {"explained", "refused", "failed"}
    assert by_status["refused"]["reason"].startswith("GAP: ")
    assert by_status["failed"]["reason"] == "RuntimeError: it cannot be read or computed. Copy or export it again."
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


def test_mistakes_are_told(tmp_path: Path, two: Path, tiny_run: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        explain(tmp_path / "nothing", model=tiny_run, output=tmp_path / "out", device="cpu")
    with pytest.raises(ModelError, match="not a finished run"):
        explain(two, model=tmp_path, output=tmp_path / "out", device="cpu")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        explain(two, model=tiny_run, output=tmp_path / "file" / "out", device="cpu")
    volume = read_volume(find_series(two).series[0])
    with pytest.raises(ValueError, match="top must be 1 to 8"):
        explain_volume(volume, load_model(tiny_run), top=9)
