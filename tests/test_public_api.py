"""``import seriatim``: about fifteen names, each there, none of them heavy before it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import seriatim
from seriatim.series import Inventory, Volume
from tiny_runs import read_rows

HEAVY = "{'torch', 'monai', 'torchvision', 'numpy', 'pydicom', 'SimpleITK', 'matplotlib', 'typer', 'pydantic'}"


def test_every_public_name_resolves_and_is_documented() -> None:
    for name in seriatim.__all__:
        assert inspect.getdoc(getattr(seriatim, name)), name
    assert set(seriatim.__all__) <= set(dir(seriatim))
    assert 8 <= len(seriatim.__all__) <= 16
    assert {"find_series", "read_volume", "read", "load_model", "score", "explain", "train"} <= set(seriatim.__all__)


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'scores'; it has .*score"):
        _ = seriatim.scores


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import seriatim", HEAVY),
        ("import seriatim; seriatim.find_series('.')", "{'torch', 'monai', 'torchvision', 'matplotlib'}"),
    ],
)
def test_importing_is_light(tmp_path: Path, code: str, heavy: str) -> None:
    check = f"{code}; import sys; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=240, cwd=tmp_path)


def test_the_names_work_together(tmp_path: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path) -> None:
    row = read_rows(head_ct / "labels.csv")[0]
    inventory = seriatim.find_series(head_ct / row["path"])
    assert isinstance(inventory, Inventory)
    volume = seriatim.read_volume(inventory.series[0])
    assert isinstance(volume, Volume)
    assert volume.array.shape == (len(inventory.series[0].instances), 32, 32)
    assert volume.array.dtype.kind == "i"
    assert volume.affine.shape == (4, 4)
    (same,) = seriatim.read(head_ct / row["path"])
    assert (same.array == volume.array).all()

    model = seriatim.load_model(tiny_run)
    from seriatim.tasks.predict import score_series

    scores = score_series(model.network, model.task, model.prepare(volume))
    written = {one["series_uid"]: one for one in read_rows(tiny_scores / "scores.csv")}[row["series_uid"]]
    assert float(scores.probabilities[0]) == float(written["probability_bleed"])  # every digit is in the table

    summary = seriatim.score(head_ct / row["path"], model=tiny_run, output=tmp_path / "scores", device="cpu")
    assert summary["counts"]["scored"] == 1
    rows = seriatim.explain(head_ct / row["path"], model=tiny_run, output=tmp_path / "pictures", device="cpu")
    assert [one["status"] for one in rows] == ["explained"]
    assert (tmp_path / "pictures" / rows[0]["picture"]).is_file()


def test_errors_have_one_base() -> None:
    from seriatim import errors

    for error in (errors.ConfigError, errors.InputError, errors.DecoderError, errors.RefusedError, errors.ModelError,
                  errors.OutputError):
        assert issubclass(error, seriatim.SeriatimError)
