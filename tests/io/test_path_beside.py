"""Tables name places from their own folder, so that images and results can be moved together."""

from __future__ import annotations

from pathlib import Path

import pytest

from seriatim.io.tables.outputs import path_beside


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("out", "studies/a", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


@pytest.mark.parametrize(("path", "told"), [
    ("{project}/studies/a", "../studies/a"), ("../studies/a", "../studies/a"), ("b", "../elsewhere/b"),
    ("{project}/studies.zip/a/b", "../studies.zip/a/b"), ("{project}/out/x.dcm", "x.dcm"), ("{project}/out", "."),
])  # fmt: skip
def test_a_place_is_told_from_the_folder(project: Path, path: str, told: str) -> None:
    assert path_beside(Path(path.format(project=project)), project / "out") == told


def test_what_shares_the_root_only_is_absolute(project: Path) -> None:
    assert path_beside(Path("/another drive/studies/a"), project / "out") == "/another drive/studies/a"


def test_links_of_the_data_stay_and_those_of_the_folder_are_followed(project: Path) -> None:
    (project / "deep" / "er").mkdir(parents=True)
    (project / "results").symlink_to(project / "deep" / "er")
    (project / "studies" / "b").symlink_to(project / "studies" / "a")
    told = path_beside(project / "studies" / "b", project / "results")
    assert told == "../../studies/b"
    assert (project / "results" / told).samefile(project / "studies" / "a")
