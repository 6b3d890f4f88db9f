"""Few labels on purpose: nested draws by patient, the same roles at every number, and no label of anybody else."""

from pathlib import Path

import pytest

from seriatim.errors import ConfigError
from seriatim.experiment import DataSettings, Experiment
from seriatim.io.tables.manifest import Case
from seriatim.series.batch import IGNORE
from seriatim.training.examples import gather_examples
from seriatim.training.few_shot import Groups, name_groups
from seriatim.training.split import Split, assign_splits, prove_split
from tiny_runs import make_experiment


def draw(groups: Groups, *, rows: list[dict[str, str]] | None = None, **options: object) -> list[Split]:
    rows = rows or [{"patient": f"p{index:03}"} for index in range(len(groups))]
    cases = [Case(path=Path(str(index)), patient=row["patient"], row=row) for index, row in enumerate(rows)]
    data = DataSettings(manifest=Path("m.csv"), **options)
    return assign_splits(cases, data, strata=[str(group) for group in groups], groups=groups, seed=3)


def members(splits: list[Split], name: str) -> set[int]:
    return {index for index, split in enumerate(splits) if split == name}


CLASSES = [(str(index % 3),) for index in range(90)]


@pytest.mark.parametrize("small", [2, 4, 8, 16])
def test_a_smaller_number_is_within_every_larger_one_with_the_same_roles(small: int) -> None:
    few, many = (draw(CLASSES, patients_per_class=count) for count in (small, 29))
    for name in ("train", "val"):
        assert members(few, name) < members(many, name)
    labelled = members(few, "train") | members(few, "val")
    for group in ("0", "1", "2"):
        assert sum(CLASSES[index] == (group,) for index in labelled) == small
        assert any(CLASSES[index] == (group,) for index in members(few, "val"))
    assert len(members(few, "unlabelled")) == 90 - 3 * small


def test_another_draw_takes_others_and_the_test_fold_stays() -> None:
    rows = [{"patient": f"p{index:03}", "fold": str(index % 4)} for index in range(90)]
    first, second = (draw(CLASSES, rows=rows, fold="1", patients_per_class=8, patients_draw=one) for one in (0, 1))
    assert members(first, "test") == members(second, "test") == {index for index in range(90) if index % 4 == 1}
    assert members(first, "train") != members(second, "train")


def test_named_validation_stays_as_it_is_and_patients_move_whole() -> None:
    rows = [{"patient": f"p{index // 2:03}", "split": "val" if index >= 70 else "train"} for index in range(90)]
    groups = [(str(index // 2 % 2),) for index in range(90)]
    splits = draw(groups, rows=rows, patients_per_class=5)
    assert members(splits, "val") == set(range(70, 90))
    assert len(members(splits, "train")) == 20
    assert all(splits[index] == splits[index + 1] for index in range(0, 90, 2))
    cases = [Case(path=Path(str(index)), patient=row["patient"], row=row) for index, row in enumerate(rows)]
    proof = prove_split(cases, splits)
    assert proof["patients_in_two_splits"] == 0
    assert proof["splits"]["unlabelled"]["patients"] == 25


def test_a_group_too_small_is_told_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"4 patients that may train are of group '1'. Ask for at most 4"):
        draw([("1",)] * 4 + [("0",)] * 40, patients_per_class=5)


def groups_of(values: list[tuple[float, ...]], **task: object) -> Groups:
    content = {
        "name": "x",
        "data": {"manifest": "m.csv"},
        "preprocessing": {"kind": "ct"},
        "network": {"encoder": {"kind": "small_cnn"}, "temporal": {"kind": "none"}, "pooling": {"kind": "mean"}},
        "task": {"kind": "diagnosis", **task},
    }
    return name_groups(values, Experiment.from_content(content, where="test"))


def test_groups_are_classes_positive_labels_or_all_who_are_labelled() -> None:
    assert groups_of([(1.0,), (0.0,), (IGNORE,)], labels=["a"]) == [("1",), ("0",), ()]
    several = [(1.0, 1.0), (0.0, 1.0), (0.0, IGNORE), (IGNORE, IGNORE)]
    assert groups_of(several, target="multilabel", labels=["a", "b"]) == [("a", "b"), ("b",), ("none",), ()]
    assert groups_of([(2.5,), (IGNORE,)], target="regression", labels=["a"]) == [("labelled",), ()]


def test_several_positive_labels_are_drawn_nested_with_enough_of_each() -> None:
    names = ("a", "b", "c")
    groups = [tuple(name for bit, name in enumerate(names) if index >> bit & 1) or ("none",) for index in range(120)]
    few, many = (draw(groups, patients_per_class=count) for count in (4, 10))
    assert members(few, "train") < members(many, "train")
    for count, splits in ((4, few), (10, many)):
        labelled = members(splits, "train") | members(splits, "val")
        assert all(sum(name in groups[index] for index in labelled) >= count for name in (*names, "none"))
        assert len(labelled) <= 4 * count


def test_the_labels_of_all_others_are_gone(tmp_path: Path, head_ct: Path) -> None:
    experiment = make_experiment(tmp_path, head_ct, "data.patients_per_class=2", "data.split=none")
    read: list[str] = []
    examples = gather_examples(experiment, experiment.task.build(), lambda series: read.append(series.series_uid))
    others = examples.of("unlabelled")
    assert len(examples.of("train")) + len(examples.of("val")) == len(read) >= 4
    assert others
    assert all(label == IGNORE for example in others for label in example.labels)
    assert all((example.slice_labels == IGNORE).all() for example in others)
    assert not {example.series.series_uid for example in others} & set(read)
