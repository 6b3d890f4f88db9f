"""Tiny data sets, configs and runs for the tests that go from files to files."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from seriatim.experiment import Experiment

CT_CONFIG: dict[str, Any] = {
    "name": "tiny",
    "data": {"manifest": "labels.csv", "slice_labels": "slices.csv"},
    "preprocessing": {"kind": "ct", "size": 32, "windows_hu": [[40, 80], [70, 180]]},
    "network": {
        "encoder": {"kind": "small_cnn", "widths": [8, 16]},
        "temporal": {"kind": "lstm", "hidden": 8},
        "pooling": {"kind": "attention", "hidden": 8},
    },
    "task": {"kind": "diagnosis", "target": "binary", "labels": ["bleed"], "slice_loss_weight": 1.0},
    "training": {"epochs": 2, "batch_size": 2, "learning_rate": 0.003, "accelerator": "cpu"},
}
CLIP_CONFIG: dict[str, Any] = {
    **CT_CONFIG,
    "data": {"manifest": "labels.csv"},
    "preprocessing": {"kind": "intensity", "size": 32},
    "task": {"kind": "diagnosis", "target": "binary", "labels": ["bleed"]},
}


@pytest.fixture(scope="session", autouse=True)
def curves_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The runs of a process share the first one's picture of curves: drawing takes a third of a tiny run's time.

    For rooms that train: their ``conftest.py`` imports it. What the picture shows is tested in training/test_curves.py.
    """
    from seriatim.training import outcome

    draw, first = outcome.draw_curves, tmp_path_factory.mktemp("curves") / "first.png"

    def copy(lines: Sequence[Mapping[str, Any]], path: Path, *, title: str, best_epoch: int) -> None:
        if not first.exists():
            draw(lines, first, title=title, best_epoch=best_epoch)
        shutil.copyfile(first, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "draw_curves", copy)
        yield


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left: exit code and streams."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs ``seriatim`` in this process, through the same ``main`` as the installed command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Outcome:
        from seriatim.cli import main

        self._monkeypatch.setattr(sys, "argv", ["seriatim", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        streams = self._capsys.readouterr()
        code = stopped.value.code
        return Outcome(code if isinstance(code, int) else int(code is not None), streams.out, streams.err)


def write_config(folder: Path, data: Path, *overrides: str, content: Mapping[str, Any] = CT_CONFIG) -> Path:
    """A config in ``folder`` for the manifest below ``data``; ``overrides`` are KEY=VALUE."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(content)))
    names = [f"data.{key}={data / name}" for key, name in content["data"].items()]
    experiment = Experiment.read(path, [*names, *overrides])
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
    return path


def make_experiment(
    folder: Path, data: Path, *overrides: str, content: Mapping[str, Any] = CT_CONFIG
) -> Experiment:
    """The experiment of ``write_config``."""
    return Experiment.read(write_config(folder, data, *overrides, content=content))


def make_uneven(folder: Path, data: Path) -> list[str]:
    """Options for 7 training series and 3 of validation below ``data``: two without a label, one without slice labels,
    the others with every second, and the columns grade (none, low, high) and age.
    """
    rows = read_rows(data / "labels.csv")
    for index, row in enumerate(rows):
        row |= {"path": str(data / row["path"]), "grade": ("none", "low", "high")[index % 3], "age": str(40 + index)}
    chosen = sorted(rows, key=lambda row: ("train", "test", "val").index(row["split"]))
    used, held_out = chosen[:7], chosen[-3:]
    for row, split in [*((row, "train") for row in used), *((row, "val") for row in held_out)]:
        row["split"], row["patient"] = split, row["series_uid"]
    used[2]["bleed"] = used[5]["bleed"] = ""
    slices = [row for row in read_rows(data / "slices.csv") if row["series_uid"] != used[0]["series_uid"]]
    manifest = write_rows(folder / "uneven.csv", [*used, *held_out])
    return [f"data.manifest={manifest}", f"data.slice_labels={write_rows(folder / 'some_slices.csv', slices[::2])}"]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def without(rows: Iterable[Mapping[str, str]], *columns: str) -> list[dict[str, str]]:
    """The rows without some columns."""
    return [{key: value for key, value in row.items() if key not in columns} for row in rows]
