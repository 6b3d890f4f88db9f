"""Slice labels: the right row for each slice, and no row that silently fits nothing or the wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from seriatim.errors import ConfigError
from seriatim.io.tables.manifest import Case
from seriatim.io.tables.slice_labels import SliceLabels, read_slice_labels
from seriatim.series import Series
from seriatim.series.series import Instance


def make_series(uids: list[str], *, frames: bool = False, series_uid: str = "1.2", volume: str = "") -> Series:
    instances = tuple(
        Instance(path=Path("x"), sop_instance_uid=uid, frame=index if frames else None, position=float(index))
        for index, uid in enumerate(uids)
    )
    return Series(
        study_uid="1", series_uid=series_uid, modality="CT", axis="space", format="dicom", path=Path("x"),
        instances=instances, rows=2, columns=2, volume=volume,
    )


def case(path: str = "a") -> Case:
    return Case(path=Path(path), patient="p", row={"path": path})


def table(folder: Path, *lines: str) -> SliceLabels:
    (folder / "slices.csv").write_text("\n".join(lines) + "\n")
    return read_slice_labels(folder / "slices.csv", labels=["bleed"])


def labels(rows: SliceLabels, series: Series, path: str = "a") -> list[str | None]:
    return [None if row is None else row["bleed"] for row in rows.of(series, case(path))]


CT = make_series(["u0", "u1", "u2"])
CLIP = make_series(["u", "u", "u"], frames=True)


def test_the_instance_uid_wins_and_agrees_with_the_index(tmp_path: Path) -> None:
    rows = table(tmp_path, "series_uid,sop_instance_uid,index,bleed", "1.2,u2,2,1", "1.2,u0,,0", "1.2,,1,1")
    assert labels(rows, CT) == ["0", "1", "1"]
    assert rows.unused_count == 0


def test_an_index_that_contradicts_the_instance_uid_is_an_error(tmp_path: Path) -> None:
    rows = table(tmp_path, "series_uid,sop_instance_uid,index,bleed", "1.2,u0,0,0", "1.2,u2,1,1")
    with pytest.raises(ConfigError, match=r"Line 3 .* is slice 2 of series 1.2, its index says 1"):
        labels(rows, CT)


def test_a_row_of_another_instance_never_labels_by_its_index(tmp_path: Path) -> None:
    rows = table(tmp_path, "series_uid,sop_instance_uid,index,bleed", "1.2,other,1,1", "1.9,u0,0,1")
    assert labels(rows, CT) == [None, None, None]
    assert rows.unused_count == len(rows) == 2


@pytest.mark.parametrize("key", ["1.2,,", ",u,", "1.2,u,", ",,a"])
def test_frames_are_found_by_index(tmp_path: Path, key: str) -> None:
    rows = table(tmp_path, "series_uid,sop_instance_uid,path,index,bleed", f"{key},2,1", f"{key},0,0")
    assert labels(rows, CLIP) == ["0", None, "1"]


def test_clips_that_share_a_series_uid_keep_their_own_labels(tmp_path: Path) -> None:
    rows = table(tmp_path, "series_uid,sop_instance_uid,index,bleed", "1.2,u,0,1", "1.2,v,0,0", "1.2,v,1,1")
    assert labels(rows, CLIP) == ["1", None, None]
    assert labels(rows, make_series(["v", "v"], frames=True)) == ["0", "1"]


def test_a_path_counts_only_in_rows_without_a_series_uid(tmp_path: Path) -> None:
    rows = table(tmp_path, "series_uid,path,index,bleed", "1.9,a,0,1", ",a,1,1")
    assert labels(rows, CT) == [None, "1", None]
    assert rows.unused_count == 1


def test_rows_of_one_slice_must_agree(tmp_path: Path) -> None:
    header = "series_uid,index,reader,bleed"
    with pytest.raises(ConfigError, match="lines 2 and 4 give one slice different labels"):
        table(tmp_path, header, "1.2,0,x,1", "1.2,1,x,1", "1.2,0,y,0")
    assert labels(table(tmp_path, header, "1.2,0,x,1", "1.2,0,y,1"), CT) == ["1", None, None]


def test_an_index_beyond_the_series_is_an_error(tmp_path: Path) -> None:
    rows = table(tmp_path, "series_uid,index,bleed", "1.2,1,0", "1.2,3,1")
    with pytest.raises(ConfigError, match=r"Line 3 .* index 3 is beyond series 1.2 with 3 slices. .* 0-based"):
        labels(rows, CT)
    assert labels(rows, make_series(["u0", "u1"], volume="echo 1")) == [None, "0"]


def test_rows_of_other_series_are_counted_and_no_error(tmp_path: Path) -> None:
    rows = table(tmp_path, "series_uid,index,bleed", "1.2,0,1", "1.3,40,1", "1.4,0,1")
    assert labels(rows, CT) == ["1", None, None]
    assert (rows.unused_count, len(rows)) == (2, 3)
    assert SliceLabels().of(CT, case()) == [None, None, None]
