"""Everything that can be copied from the README works: its commands run, in its order, on a small synthetic set."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seriatim.cli import app
from seriatim.experiment import Experiment
from seriatim.synth import synthesize

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALL = ["--set", "training.epochs=1", "--set", "preprocessing.size=48", "--set", "training.accelerator=cpu"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(f"{program} ")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README says a user has: its manifest, its YAML, studies and new studies with labels."""
    folder = tmp_path_factory.mktemp("desk")
    synthesize("head-ct", folder / "set", count=12, seed=3, size=48)
    with (folder / "set" / "labels.csv").open(newline="") as file:
        made = list(csv.DictReader(file))
    (manifest,), (config,) = blocks("csv"), blocks("yaml")
    (folder / "manifest.csv").write_text(manifest)
    (folder / "bleed.yaml").write_text(config)
    for row in csv.DictReader(manifest.splitlines()):
        taken = next(one for one in made if one["bleed"] == row["bleed"])
        made.remove(taken)
        shutil.copytree(folder / "set" / taken["path"], folder / row["path"])
    lines = ["path,patient,bleed"]
    for row in made:
        name = f"new_studies/{Path(row['path']).name}"
        shutil.copytree(folder / "set" / row["path"], folder / name)
        lines.append(f"{name},{row['patient']},{row['bleed']}")
    (folder / "new_labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def worked(desk: Path) -> Path:
    """The folder after every ``seriatim`` command of the README, each with its own words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        for words in commands("seriatim"):
            trains = words[0] == "train" and "--resume" not in words
            result = CliRunner().invoke(app, [*words, *(SMALL if trains else [])], catch_exceptions=False)
            assert result.exit_code == 0, f"{' '.join(words)}: {result.output}"
    return desk


def test_the_readme_shows_every_command_but_synth() -> None:
    assert {words[0] for words in commands("seriatim")} == {"inspect", "train", "score", "explain", "evaluate"}


def test_the_commands_write_what_the_readme_says(worked: Path) -> None:
    for name in ("scores.csv", "slices.csv", "skipped.csv", "run.json"):
        assert (worked / "scores" / name).is_file()
    for name in ("config.yaml", "split.json", "metrics.jsonl", "curves.png", "model.safetensors", "card.md"):
        assert (worked / "runs" / "bleed" / name).is_file()
    assert (worked / "found.json").is_file()
    assert len(list((worked / "pictures").glob("*.png"))) == 6
    assert (worked / "evaluation" / "roc.png").is_file()


def test_every_file_and_column_is_explained(worked: Path) -> None:
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    explained = {word for span in re.findall(r"`([^`]+)`", page) for word in re.split(r"[, ]+", span)}
    picture = next((worked / "pictures").glob("2.*.csv"))
    tables = [*(worked / "scores").glob("*.csv"), *(worked / "evaluation").glob("*.csv"), picture]
    columns = {name for table in tables for name in table.read_text().splitlines()[0].split(",")}
    metrics = {line.split(",")[0] for line in (worked / "evaluation" / "evaluation.csv").read_text().splitlines()}
    files = {path.name.rstrip("/") for path in [*(worked / "runs" / "bleed").iterdir(), *(worked / "scores").iterdir()]}

    names = {name.replace("_bleed", "_<class>") for name in columns | metrics} | files - {"tensorboard"}

    assert names <= explained


def test_the_python_of_the_readme_runs(worked: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(worked)

    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})

    assert "'scored': 6" in capsys.readouterr().out


def test_the_yaml_of_the_readme_is_a_whole_experiment(desk: Path) -> None:
    experiment = Experiment.read(desk / "bleed.yaml")

    assert experiment.network.build(experiment.preprocessing.channels, experiment.task.outputs)


def test_make_has_the_targets_that_are_shown() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    shown = {words[0] for words in commands("make")} | set(re.findall(r"`make ([a-z-]+)`", README))

    assert {"demo", "test"} <= shown <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))]

    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]

    assert not missing


def test_the_picture_is_small_enough_to_load() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)

    assert pictures
    assert all((ROOT / picture).stat().st_size < 400_000 for picture in pictures)
