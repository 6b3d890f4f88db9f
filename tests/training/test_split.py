"""Splits: by patient, proven, refused where a patient stands in two."""

from pathlib import Path

import pytest

from seriatim.errors import ConfigError
from seriatim.experiment import DataSettings
from seriatim.io.tables.manifest import Case
from seriatim.training.split import assign_folds, assign_splits, prove_split


def make_cases(rows: list[dict[str, str]]) -> list[Case]:
    return [Case(path=Path(str(index)), patient=row["patient"], row=row) for index, row in enumerate(rows)]


def settings(**options: object) -> DataSettings:
    return DataSettings(manifest=Path("m.csv"), **options)


def test_a_patient_in_two_splits_is_refused_without_being_named() -> None:
    cases = make_cases(
        [{"patient": "Jane", "split": "train"}, {"patient": "b", "split": "val"}, {"patient": "Jane", "split": "test"}]
    )
    with pytest.raises(ConfigError, match="lines 2 and 4") as caught:
        assign_splits(cases, settings(), strata=["0", "1", "0"], seed=0)
    assert "Jane" not in str(caught.value)


def test_a_patient_in_two_folds_is_refused() -> None:
    cases = make_cases([{"patient": "a", "fold": "0"}, {"patient": "a", "fold": "1"}])
    with pytest.raises(ConfigError, match="more than one split"):
        assign_splits(cases, settings(fold=0), strata=["0", "1"], seed=0)


def test_a_fold_is_left_out_and_validation_is_drawn_by_patient() -> None:
    rows = [{"patient": str(index // 2), "fold": str(index // 2 % 4)} for index in range(80)]
    cases = make_cases(rows)
    splits = assign_splits(cases, settings(fold="2"), strata=[str(index // 2 % 2) for index in range(80)], seed=1)
    assert [split == "test" for split in splits] == [row["fold"] == "2" for row in rows]
    proof = prove_split(cases, splits)
    assert proof["patients_in_two_splits"] == 0
    assert 8 <= proof["splits"]["val"]["series"] <= 16


def test_drawn_validation_depends_on_the_seed_and_not_on_the_row_order() -> None:
    rows = [{"patient": f"p{index:02}"} for index in range(40)]
    strata = [str(index % 2) for index in range(40)]
    first = dict(
        zip(
            (row["patient"] for row in rows),
            assign_splits(make_cases(rows), settings(), strata=strata, seed=3),
            strict=True,
        )
    )
    turned = assign_splits(make_cases(rows[::-1]), settings(), strata=strata[::-1], seed=3)
    assert first == dict(zip((row["patient"] for row in rows[::-1]), turned, strict=True))
    assert list(first.values()) != assign_splits(make_cases(rows), settings(), strata=strata, seed=4)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"patient": "a", "split": "trian"}], {}, "'trian'; legal are"),
        ([{"patient": "a", "fold": "0"}], {"fold": "7"}, "fold=7 is none of"),
        ([{"patient": "a", "fold": "0"}, {"patient": "b", "fold": ""}], {"fold": "0"}, "line 3: 'fold' is ''"),
        ([{"patient": "a", "fold": "/../x"}], {"fold": "/../x"}, r"line 2: 'fold' is '/\.\./x', and folders"),
        ([{"patient": "a"}], {"fold": "0"}, "no column 'fold'"),
        ([{"patient": "a", "split": "test"}, {"patient": "b", "split": "test"}], {}, "No series is left for train"),
    ],
)
def test_mistakes_name_the_value_and_the_repair(rows: list[dict[str, str]], options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        assign_splits(make_cases(rows), settings(**options), strata=["0"] * len(rows), seed=0)


def test_drawn_folds_are_alike_in_labels_and_in_size_and_keep_patients_together() -> None:
    rows = [{"patient": f"p{index // 2:02}"} for index in range(62)]
    strata = ["1" if index // 2 % 3 == 0 else "0" for index in range(62)]
    folds = assign_folds(make_cases(rows), settings(folds=5), strata=strata, seed=3)
    assert set(folds) == set("01234")
    assert all(folds[index] == folds[index + 1] for index in range(0, 62, 2))
    sizes = [folds.count(fold) for fold in "01234"]
    of_positives = [own for own, stratum in zip(folds, strata, strict=True) if stratum == "1"]
    positives = [of_positives.count(fold) for fold in "01234"]
    assert max(sizes) - min(sizes) <= 2
    assert max(positives) - min(positives) <= 2
    shuffled = make_cases(rows[::-1])
    again = assign_folds(shuffled, settings(folds=5), strata=strata[::-1], seed=3)
    assert again[::-1] == folds
    assert assign_folds(make_cases(rows), settings(folds=5), strata=strata, seed=4) != folds


def test_folds_are_made_only_where_the_manifest_has_none() -> None:
    cases = make_cases([{"patient": "a", "fold": "0"}, {"patient": "b", "fold": "1"}])
    with pytest.raises(ConfigError, match=r"leave data\.folds out"):
        assign_folds(cases, settings(folds=2), strata=["0", "1"], seed=0)
    assert assign_folds(cases, settings(), strata=["0", "1"], seed=0) == ["0", "1"]
