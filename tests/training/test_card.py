"""The model card says what the run proves, asks what it cannot, and takes no answer to a question nobody asked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from seriatim.errors import ConfigError, ModelError
from seriatim.evaluation import EvaluationSettings, evaluate
from seriatim.trained import load_model
from seriatim.training.card import write_card
from seriatim.training.card_facts import gather_facts
from seriatim.training.checklists import CLAIM, TRIPOD, CardAnswers
from tiny_runs import CommandLine, make_experiment


@pytest.fixture
def run(tmp_path: Path, tiny_run: Path) -> Path:
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


def row_of(card: str, asks: str) -> str:
    return next(line for line in card.splitlines() if f"| {asks} |" in line)


def test_training_wrote_the_card_that_the_command_writes(run: Path) -> None:
    before = (run / "card.md").read_bytes()
    assert write_card(run).read_bytes() == before


def test_the_run_answers_what_it_can_and_asks_the_rest(run: Path) -> None:
    card = (run / "card.md").read_text()
    for items in (CLAIM, TRIPOD):
        assert all(f"| {item.number} | {item.asks} |" in card for item in items)
    assert "Patients in two splits: 0. 12 series compared by images: 0 pairs nearly the same." in row_of(
        card, "at which level they are disjoint")
    assert "**To answer** (`ethics`)" in row_of(card, "ethics")
    assert "give `--evaluation`" in row_of(card, "performance with precision")
    assert "SYN-" not in card  # no patient


def test_the_views_of_test_time_are_told(tmp_path: Path, head_ct: Path, run: Path) -> None:
    assert "scores a series as it is" in row_of((run / "card.md").read_text(), "ensembling")
    views = make_experiment(tmp_path, head_ct, "test_time={flip_left_right: true, reverse_order: true}")
    told = gather_facts(replace(load_model(run), experiment=views), ())["ensembling"]
    assert "as it is, and with mirrored pictures and slices from last to first" in told


def test_answers_and_an_evaluation_fill_it(run: Path, tiny_scores: Path, head_ct: Path, tmp_path: Path) -> None:
    settings = EvaluationSettings(labels=head_ct / "labels.csv")
    evaluate([tiny_scores / "scores.csv"], settings=settings, output=tmp_path / "evaluation")
    (run / "card.yaml").write_text(yaml.safe_dump({"ethics": "Board 7 | waived\nconsent"}))
    card = write_card(run, evaluation=tmp_path / "evaluation").read_text()
    assert row_of(card, "ethics") == "| 17 | ethics | Board 7 / waived consent |"
    assert "auc " in row_of(card, "performance with precision")


def test_what_cannot_be_is_refused(run: Path) -> None:
    (run / "card.yaml").write_text("ethic: typo\n")
    with pytest.raises(ConfigError, match="Did you mean ethics"):
        write_card(run)
    (run / "card.yaml").unlink()
    header = "metric,value,low,high,method,n"
    for text, told in (("a,b\n1,2\n", "has no column 'metric'"), (f"{header}\nauc,high,,,x,3\n", "line 2")):
        (run / "evaluation.csv").write_text(text)
        with pytest.raises(ConfigError, match=told):
            write_card(run, evaluation=run)
    (run / "split.json").write_text("{")
    with pytest.raises(ConfigError, match=r"split\.json cannot be read"):
        write_card(run)
    (run / "split.json").unlink()
    with pytest.raises(ModelError, match=r"has no split\.json"):
        write_card(run)


def test_the_command_writes_questions_that_can_be_answered(run: Path, seriatim_command: CommandLine) -> None:
    outcome = seriatim_command("card", run, "--questions", run / "questions.yaml")
    assert outcome.code == 0
    assert set(yaml.safe_load((run / "questions.yaml").read_text())) == set(CardAnswers.model_fields)
    assert seriatim_command("card", run, "--answers", run / "questions.yaml").code == 0
