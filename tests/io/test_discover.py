"""find_series on mixed folders: every file in one series or among the skipped, in a fixed order."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dicom_files import make_slice, make_stack, random_stack, save, save_stack
from PIL import Image

from seriatim.errors import ConfigError, InputError
from seriatim.io import find_series, read, read_volume
from seriatim.series import Code
from seriatim.series.findings import parse_actions


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    save_stack(make_stack(random_stack(5)), tmp_path / "study" / "ct", seed=1)
    save_stack(make_stack(random_stack(4), SeriesInstanceUID="1.2.3.5"), tmp_path / "study" / "other", seed=2)
    (tmp_path / "clip").mkdir()
    for index in range(4):
        Image.new("L", (8, 8), index).save(tmp_path / "clip" / f"{index}.png")
    Image.new("L", (8, 8)).save(tmp_path / "study" / "ct" / "preview.png")
    for name, content in (
        ("labels.csv", b"a"),
        ("x.dcm", b""),
        (".DS_Store", b"x"),
        ("report.pdf", b"%PDF"),
        ("data.zip", b"PK\x03\x04aaaa"),
        ("broken.dcm", b"\0" * 128 + b"DICM" + b"\xff" * 60),
    ):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_every_file_is_in_one_series_or_left_out_with_a_reason(mixed: Path) -> None:
    inventory = find_series(mixed)
    places = Counter(
        path for series in inventory.series for path in {instance.path for instance in series.instances}
    ) + Counter(one.path for one in inventory.skipped)
    assert places == Counter(Path(folder, name) for folder, _, names in os.walk(mixed) for name in names)
    assert all(one.reason for one in inventory.skipped)
    assert sum(series.usable for series in inventory.series) == 3


def test_the_order_of_the_result_is_fixed(mixed: Path) -> None:
    first, second = find_series(mixed), find_series(str(mixed))
    assert [series.series_uid for series in first.series] == [series.series_uid for series in second.series]
    assert [str(series.path) for series in first.series] == sorted(str(series.path) for series in first.series)


def test_a_single_file_can_be_named(mixed: Path) -> None:
    path = next((mixed / "study" / "ct").glob("*.dcm"))
    (series,) = find_series(path).series
    assert series.path == path
    assert len(series.instances) == 1
    assert series.usable


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_series(tmp_path / "nothing")
    with pytest.raises(InputError, match="No usable series"):
        read(tmp_path)


def test_a_series_over_several_folders_is_one_series(tmp_path: Path) -> None:
    stored = random_stack(6)
    datasets = make_stack(stored)
    save_stack(datasets[::2], tmp_path / "a" / "x")
    save_stack(datasets[1::2], tmp_path / "a" / "y")
    (series,) = find_series(tmp_path).series
    assert series.path == tmp_path / "a"
    np.testing.assert_array_equal(read(tmp_path)[0].array, stored.astype(int) - 1024)


def test_a_linked_folder_is_read_once(tmp_path: Path) -> None:
    save_stack(make_stack(random_stack(4)), tmp_path / "a")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (series,) = find_series(tmp_path).series
    assert len(series.instances) == 4
    assert series.findings == ()


def test_files_without_preamble_or_extension_are_found(tmp_path: Path) -> None:
    for index, dataset in enumerate(make_stack(random_stack(4))):
        path = save(dataset, tmp_path / f"I{index * 10}")
        path.write_bytes(path.read_bytes()[132:])
    (series,) = find_series(tmp_path).series
    assert len(series.instances) == 4


def test_the_caller_can_refuse_what_is_kept_and_keep_what_is_refused(tmp_path: Path) -> None:
    datasets = [
        make_slice(pixels, (0, 0, z)) for pixels, z in zip(random_stack(12), [*range(6), *range(7, 18, 2)], strict=True)
    ]
    save_stack(datasets, tmp_path)
    assert find_series(tmp_path).series[0].usable
    assert not find_series(tmp_path, {Code.UNEVEN_SPACING: "refuse"}).series[0].usable


def test_no_reason_tells_who_the_patient_is(mixed: Path) -> None:
    inventory = find_series(mixed)
    told = [str(finding) for series in inventory.series for finding in series.findings] + [
        one.reason for one in inventory.skipped
    ]
    assert not any("secret" in text.lower() for text in told)


@pytest.mark.parametrize("code", ["DUPLICATE_POSITION", "BAD_VALUE", "TRUNCATED", "MIXED_SIZE", "DUPLICATE_SLICE"])
def test_what_leaves_no_order_or_values_cannot_be_kept(tmp_path: Path, code: str) -> None:
    with pytest.raises(ConfigError, match=rf"{code}=keep is not possible: only .*GANTRY_TILT, GAP, LOSSY"):
        parse_actions([f"{code}=keep"])
    with pytest.raises(ConfigError, match=r"only .*GANTRY_TILT"):
        find_series(tmp_path, {Code(code): "keep"})
    with pytest.raises(ConfigError, match="only DUPLICATE_SLICE can have 'repair'"):
        parse_actions(["GAP=repair"])
    assert parse_actions([f"{code}=refuse"]) == {Code(code): "refuse"}


def test_slices_without_a_place_can_be_kept_where_instance_numbers_order_them(tmp_path: Path) -> None:
    stored = random_stack(3)
    datasets = [make_slice(pixels, None, InstanceNumber=9 - index) for index, pixels in enumerate(stored)]
    (series,) = find_series(save_stack(datasets, tmp_path), {Code.MISSING_GEOMETRY: "keep"}).series
    np.testing.assert_array_equal(read_volume(series).array, stored[::-1].astype(int) - 1024)
    datasets[0].InstanceNumber = 8
    (series,) = find_series(save_stack(datasets, tmp_path), {Code.MISSING_GEOMETRY: "keep"}).series
    assert "InstanceNumber repeats" in series.reason


def test_a_series_that_cannot_be_put_together_is_a_refused_row(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.io import discover

    def fail(planes: list[object], **values: object) -> list[object]:
        if len(planes) == 5:
            raise TypeError("a secret value")
        return build(planes, **values)

    build = discover.build_series
    monkeypatch.setattr(discover, "build_series", fail)
    found = find_series(mixed).series
    (refused,) = [series for series in found if not series.usable]
    assert refused.reason == "UNREADABLE: The series cannot be put together (TypeError). Export it again."
    assert len(refused.instances) == 5
    assert sum(series.usable for series in found) == 2
