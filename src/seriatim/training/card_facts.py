"""What a run proves, by the facts that a model card tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seriatim.io.tables.manifest import read_table
from seriatim.io.tables.outputs import read_json
from seriatim.tasks import ViewSettings
from seriatim.trained import AnomalyModel, Model

Table = Sequence[Mapping[str, str]]


def gather_facts(model: Model | AnomalyModel, figures: Table) -> dict[str, str]:
    """By the ``fact`` of a checklist's item, what the run proves, with the file it stands in; "" where nothing.

    ``figures`` are the rows of an ``evaluation.csv``.
    """
    own = _diagnosis_facts(model) if isinstance(model, Model) else _anomaly_facts(model)
    return {**_shared_facts(model), **_measured(figures), **own}


def _shared_facts(model: Model | AnomalyModel) -> dict[str, str]:
    experiment, run = model.experiment, model.path
    rows = read_table(run / "manifest.csv")
    used = [row for row in rows if row["status"] == "used"]
    counts = "; ".join(
        f"{name}: {sum(row['split'] == name for row in used)} series of "
        f"{len({row['patient'] for row in used if row['split'] == name})} patients" for name in ("train", "val", "test")
    )
    return {
        "method": describe_method(model),
        "left_out": f"{len(rows) - len(used)} of {len(rows)} manifest rows were left out, each with its reason "
                    "(manifest.csv)",
        "preprocessing": f"`{experiment.preprocessing.model_dump_json()}` (config.yaml)",
        "splits": f"{'fold ' + experiment.data.fold if experiment.data.fold else 'column or draw'}, seed "
                  f"{experiment.seed}; {counts} (split.json)",
        "disjoint": f"{describe_splits(run)} (split.json)",
        "envelope": "see Input above (model.json)",
        "software": f"seriatim and the versions of environment.json, on {_environment(run)}",
        "first_weights": f"encoder: {Path(experiment.network.encoder.weights or 'random').name}; what is random "
                         f"follows from the seed {experiment.seed} (config.yaml)",
        "outside": "what differs from training is refused or noted: see Input above (model.json)",
        "counts": f"{counts} (manifest.csv)",
        "limits": "not tested on scanners, hospitals, protocols or patients beyond the manifest; validation figures "
                  "are optimistic",
        "files": f"config.yaml, model.json and model.safetensors, digest {model.digest[:16]}",
        "updating": "none stands in the run: weights, calibration and thresholds are those of training and validation "
                    "(model.json)",
        "subgroups": "",
    }


def _measured(figures: Table) -> dict[str, str]:
    measured = "; ".join(
        f"{row['metric']} {tell_number(row['value'])} ({tell_number(row['low'])} to {tell_number(row['high'])}, "
        f"{row['method']})" for row in figures if row["value"] and row["low"]
    )
    return {"evaluated": f"{figures[0]['n']} series (evaluation.csv)" if figures else "",
            "performance": f"{measured} (evaluation.csv)" if measured else ""}


def _diagnosis_facts(model: Model) -> dict[str, str]:
    training, task = model.experiment.training, model.experiment.task
    how = f"for a sensitivity of {task.target_sensitivity:g}" if task.target_sensitivity else "by Youden's index"
    limits = ", ".join(f"{name} {value:.3f}" for name, value in model.thresholds.items()) or "none"
    calibrated = ("probabilities are not calibrated" if task.calibration == "none"
                  else f"calibration {task.calibration}, fitted on validation (model.json)")
    return {
        "task": f"{task.target}: {', '.join(task.labels)} (config.yaml)",
        "training": f"{training.mode}, at most {training.epochs} epochs of batches of {training.batch_size}, AdamW at "
                    f"{training.learning_rate:g}; no tuning stands in the run (config.yaml, metrics.jsonl)",
        "chosen": f"the best epoch by {model.task.monitor[0]} on validation (metrics.jsonl)",
        "ensembling": f"one model, {_views(model.experiment.test_time)}; of several (`score --model A --model B`, or "
                      "the folder of a crossval) the probabilities are averaged, and each has a card of its own",
        "explaining": "attributions of slices and pixels (`seriatim explain`); how faithful they are stands "
                      "under Explanations",
        "imbalance": f"class_weights {task.class_weights}, focal_gamma {task.focal_gamma:g} (config.yaml); "
                     f"{calibrated}",
        "thresholds": f"{limits}, chosen {how} on validation{_tell_stand_ins(model)} (model.json)",
    }


def _tell_stand_ins(model: Model) -> str:
    """Which thresholds validation could not choose."""
    return f"; but 0.5 stands in for {', '.join(model.stand_ins)}, of which it holds one class alone" * bool(
        model.stand_ins)


def _anomaly_facts(model: AnomalyModel) -> dict[str, str]:
    task, norms = model.experiment.task, model.task.norms
    assert norms is not None
    share = (f"so that {task.false_alarm_rate:g} of the normal validation frames reach it"
             if task.false_alarms_per_minute is None
             else f"at {task.false_alarms_per_minute:g} false events per minute of normal validation frames")
    whose = f"those that {task.label} calls normal" if task.label else "all, taken as normal"
    return {
        "task": f"how unlike normal each frame is, and events; learnt from {whose} (config.yaml)",
        "training": f"each method by its own settings: `{task.model_dump_json(include={'methods'})}`, the encoder as "
                    "it was given; no tuning stands in the run (config.yaml)",
        "chosen": "of methods that learn by gradient the best epoch on validation's normal series (*metrics.jsonl)",
        "ensembling": f"{len(task.methods)} method(s), fused after each was calibrated; one encoder",
        "explaining": "the score of each method at every frame, and of some where in the frame it is unlike normal "
                      "(`seriatim explain`); a place that is unlike normal is no diagnosis",
        "imbalance": "normal series are learnt; abnormal ones of validation are only measured (config.yaml)",
        "thresholds": f"one for the fused score of {norms.frames} normal frames, {share} (model.json)",
    }


def describe_method(model: Model | AnomalyModel) -> str:
    """What kind of model it is, in a sentence."""
    network = model.experiment.network
    encoder = getattr(network.encoder, "name", network.encoder.kind)
    if isinstance(model, AnomalyModel):
        methods = ", ".join(method.kind for method in model.experiment.task.methods)
        return f"Anomaly detection over ordered frames: encoder {encoder}, methods {methods}"
    task, parts = model.experiment.task, model.experiment.network
    return (f"Deep learning over ordered slices: encoder {encoder}, sequence model {parts.temporal.kind}, pooling "
            f"{parts.pooling.kind}; it answers a {task.target} question: {', '.join(task.classes or task.labels)}")


def describe_splits(run: Path) -> str:
    """What proves that the splits of a run share no patient and no images."""
    proof = read_json(run / "split.json", "patients_in_two_splits")
    found = proof.get("duplicates", {})
    told = f"Patients in two splits: {proof['patients_in_two_splits']}."
    if not found.get("compared"):
        return f"{told} Images of the splits were not compared."
    return f"{told} {found['compared']} series compared by images: {found['nearly_the_same']} pairs nearly the same."


def tell_number(text: str) -> str:
    """A number of a table with three decimals, or a dash."""
    return f"{float(text):.3f}" if text else "-"


def _views(views: ViewSettings) -> str:
    """In which views a series is scored."""
    shown = [name for name, on in (("mirrored pictures", views.flip_left_right),
                                   ("slices from last to first", views.reverse_order)) if on]
    if not shown:
        return "which scores a series as it is (test_time of config.yaml)"
    return f"whose score is the mean over views: as it is, and with {' and '.join(shown)} (test_time of config.yaml)"


def _environment(run: Path) -> str:
    path = run / "environment.json"
    return str(read_json(path).get("device", "unknown")) if path.is_file() else "unknown"
