"""The model card: what the run folder proves, by items of CLAIM 2024 and TRIPOD+AI, and what only people can answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from seriatim.errors import ConfigError, ModelError
from seriatim.io.tables.manifest import read_table
from seriatim.io.tables.outputs import read_json, write_text
from seriatim.settings import build_settings, read_yaml
from seriatim.trained import AnomalyModel, Model, is_anomaly_model, load_anomaly_model, load_model
from seriatim.trained.faithfulness import FAITHFULNESS, Faithfulness, load_faithfulness
from seriatim.trained.intensity import PERCENTILES
from seriatim.training.card_facts import Table, describe_method, describe_splits, gather_facts, tell_number
from seriatim.training.checklists import CLAIM, TRIPOD, CardAnswers, Item

CARD, ANSWERS = "card.md", "card.yaml"


def write_card(run: Path, *, evaluation: Path | None = None, answers: Path | None = None) -> Path:
    """Write ``card.md`` into a finished run, from its files alone.

    Args:
        run: the folder that ``seriatim train`` wrote.
        evaluation: the folder of a ``seriatim evaluate`` of this model on series that it was not trained on.
        answers: a YAML with keys of ``CardAnswers``; ``card.yaml`` of the run where it is there.

    Raises:
        ModelError: the run is not finished, or lacks ``split.json`` or ``manifest.csv``.
        ConfigError: an answer has no such key, or a table cannot be read.
    """
    given = answers or (run / ANSWERS if (run / ANSWERS).is_file() else None)
    told = build_settings(CardAnswers, read_yaml(given), where=str(given)) if given else CardAnswers()
    model = load_anomaly_model(run) if is_anomaly_model(run) else load_model(run)
    missing = [name for name in ("split.json", "manifest.csv", "validation.csv") if not (run / name).is_file()]
    if missing:
        raise ModelError(f"{run} has no {' and no '.join(missing)}: copy the whole run folder to make its card.")
    figures = _read_figures(evaluation / "evaluation.csv") if evaluation else ()
    lines = [*_describe(model, figures), *_checklists(gather_facts(model, figures), told)]
    write_text(run / CARD, "\n".join(lines) + "\n")
    return run / CARD


def _read_figures(path: Path) -> Table:
    """The rows of an ``evaluation.csv``. Raises ConfigError where it is none."""
    rows = read_table(path)
    for line, row in enumerate(rows, start=2):
        for name in ("metric", "value", "low", "high", "method", "n"):
            if name not in row:
                raise ConfigError(f"{path} has no column {name!r}. Give --evaluation a folder of `seriatim evaluate`.")
        try:
            [tell_number(row[name]) for name in ("value", "low", "high")]
        except ValueError as error:
            raise ConfigError(f"{path}, line {line}: {error}. Run `seriatim evaluate` again.") from error
    return rows


def write_questions(path: Path) -> None:
    """Write the questions that only people can answer as a YAML to fill in."""
    fields = CardAnswers.model_fields.items()
    write_text(path, "\n".join(f"# {field.description}\n{name}: \"\"" for name, field in fields) + "\n")


def _describe(model: Model | AnomalyModel, figures: Table) -> Iterator[str]:
    experiment, run = model.experiment, model.path
    splits = read_json(run / "split.json", "splits")["splits"]
    yield f"# Model card: {experiment.name}\n\n**Research use only; not a medical device.**\n"
    yield f"{describe_method(model)}\n\n## Data\n\n| split | series | patients |\n|---|---|---|"
    yield from (f"| {name} | {one['series']} | {one['patients']} |" for name, one in splits.items())
    yield f"\n{describe_splits(run)}\n\n## Input it is made for\n\n| | training and validation | else |\n|---|---|---|"
    yield from _envelope_rows(model)
    validation = read_json(run / "model.json", "validation")["validation"]
    yield "\n## Validation (it chose the kept epoch and the thresholds: optimistic, no test result)\n"
    yield "| measure | value |\n|---|---|"
    yield from (f"| {name} | {value:.4f} |" for name, value in validation.items())
    if isinstance(model, Model):
        yield from _one_sided(model)
    yield "\n## Evaluation\n"
    if not figures:
        yield "None is given: `seriatim card RUN --evaluation FOLDER` adds one of series the model was not trained on."
    else:
        yield "As given; that it is of this model, on series it was not trained on, is for its giver to say.\n"
        yield "| measure | value | 95 % interval | method | n |\n|---|---|---|---|---|"
        yield from (
            f"| {row['metric']} | {tell_number(row['value'])} | {tell_number(row['low'])} to "
            f"{tell_number(row['high'])} | {row['method']} | {row['n']} |" for row in figures if row["value"]
        )
    yield from _explanations(load_faithfulness(run / FAITHFULNESS, digest=model.digest))


def _explanations(known: Faithfulness | None) -> Iterator[str]:
    """What was measured of the explanations: in words and numbers, of slices and of pixels."""
    yield "\n## Explanations\n"
    if known is None:
        yield ("How faithful they are is not measured yet: `seriatim faithfulness RUN` does it, on series that it was "
               "not trained on.")
        return
    maps = known.pixels
    yield " ".join([*known.words, *(maps.words if maps is not None else ())])
    yield from _tabulate_figures(known)
    if maps is not None:
        yield from _tabulate_figures(maps)


def _tabulate_figures(known: Faithfulness) -> Iterator[str]:
    """A row for each method, a column for each measure."""
    measures = list(dict.fromkeys(name for figures in known.methods.values() for name in figures))
    yield f"\n| method | {' | '.join(name.replace('_', ' ') for name in measures)} |"
    yield "|---" * (len(measures) + 1) + "|"
    for method, figures in known.methods.items():
        cells = (f"{figures[name].value:.3f}" if name in figures else "-" for name in measures)
        yield f"| {method.replace('_', ' ')} | {' | '.join(cells)} |"


def _envelope_rows(model: Model | AnomalyModel) -> Iterator[str]:
    seen, asked = model.envelope, _actions(model)
    yield f"| modality | {', '.join(seen.modalities)} | refused |"
    yield f"| plane, axis | {', '.join(seen.planes) or 'unknown'}, {seen.axis} | refused |"
    yield f"| body part | {', '.join(seen.body_parts) or 'not told by the files'} | {asked['body_part']} |"
    yield f"| slices | {seen.slices[0]} to {seen.slices[1]} | noted |"
    if seen.slice_spacing_mm:
        yield f"| slice spacing | {seen.slice_spacing_mm[0]:.2f} to {seen.slice_spacing_mm[1]:.2f} mm | noted |"
    for percentile, (low, high) in zip(PERCENTILES, seen.intensity, strict=False):
        yield f"| percentile {percentile} of the values | {low:.4g} to {high:.4g} | {asked['intensity']} |"
    known = model.familiarity if isinstance(model, Model) else None
    limit = "not learnt" if known is None else f"{len(known.points)} series, limit {known.threshold:.3f}"
    yield f"| distance of embeddings | {limit} | {'-' if known is None else asked['distance']} |"


def _actions(model: Model | AnomalyModel) -> dict[str, str]:
    """What is done with a series outside of what training saw."""
    if isinstance(model, AnomalyModel):
        return {"body_part": model.outside, "intensity": "not compared"}
    asked = model.experiment.envelope
    return {"body_part": asked.body_part, "intensity": f"{asked.intensity}, far outside", "distance": asked.distance}


def _one_sided(model: Model) -> Iterator[str]:
    labels = np.array([model.task.encode_labels(row) for row in read_table(model.path / "validation.csv")])
    for name in model.task.one_sided(labels):
        yield f"\nNo threshold could be chosen for {name}: validation holds one class only, and 0.5 stands in."


def _checklists(facts: Mapping[str, str], answers: CardAnswers) -> Iterator[str]:
    for name, items in (("CLAIM 2024", CLAIM), ("TRIPOD+AI", TRIPOD)):
        answered = [_answer(item, facts, answers) for item in items]
        unanswered = sum("**To answer**" in one for one in answered)
        yield f"\n## {name}\n\n{len(items) - unanswered} of {len(items)} rows are answered.\n"
        yield "| item | what | answer |\n|---|---|---|"
        yield from (f"| {item.number} | {item.asks} | {one} |" for item, one in zip(items, answered, strict=True))


def _answer(item: Item, facts: Mapping[str, str], answers: CardAnswers) -> str:
    parts = [facts[item.fact]] if item.fact and facts[item.fact] else []
    if item.question:
        said = " ".join(str(getattr(answers, item.question)).split()).replace("|", "/")
        asked = CardAnswers.model_fields[item.question].description
        parts.append(said or f"**To answer** (`{item.question}`): {asked}")
    return ". ".join(parts) or "**To answer**: give `--evaluation`, made with `--by` for subgroups"
