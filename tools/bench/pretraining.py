"""What series without labels bring where labels are few: each model trained twice, the second time pretrained first.

usage: pretraining.py CONFIG OUT [--few-shot 4 8 16] [--draws 1] [--epochs 30] [--set KEY=VALUE ...]
    for example  pretraining.py configs/ct_ich.yaml work/runs/ct_ich_unlabelled

For each number of labelled patients per class (those that validate among them), draw and fold, both models learn from
the same labels with the same seed and budget. One starts from its first weights; the other learns first from the images
of all training patients of the fold, labelled or not. Both score the fold that was left out, which neither has seen.
Printed are the AUC pooled over the folds, the mean over the draws, and the paired difference with a bootstrap over
patients. What is finished in OUT is not done again.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from seriatim.evaluation.intervals import Clusters, Estimate, bootstrap
from seriatim.experiment import Experiment
from seriatim.series import Series
from seriatim.tasks.metrics import roc_auc
from seriatim.tasks.predict import score_embeddings
from seriatim.trained import load_model
from seriatim.training import fold_table, train
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import Embedder
from seriatim.training.examples import gather_examples

ARMS = ("plain", "pretrained")
Scores = dict[str, tuple[float, float]]
"""By series: label and probability."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--few-shot", type=int, nargs="+", default=[4, 8, 16], help="labelled patients per class")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=30, help="epochs of pretraining")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    store = f"training.embedding_store={(args.out / 'embeddings').resolve()}"
    experiment = Experiment.read(args.config, [store, *args.set])
    print(f"{'labelled':>8}{'plain':>8}{'pretrained':>12}   difference (95 %)")
    for count in args.few_shot:
        found = [
            {arm: collect(experiment, args, arm=arm, count=count, draw=draw) for arm in ARMS}
            for draw in range(args.draws)
        ]
        aucs = [np.mean([auc(one[arm], sorted(one[arm])) for one in found]) for arm in ARMS]
        told = difference(found)
        print(f"{2 * count:8}{aucs[0]:8.3f}{aucs[1]:12.3f}   {told.value:+.3f} ({told.low:+.3f} to {told.high:+.3f})")


def collect(experiment: Experiment, args: argparse.Namespace, *, arm: str, count: int, draw: int) -> Scores:
    """The scores of all folds, each by the model that did not see it."""
    scores: Scores = {}
    for fold in dict.fromkeys(row["fold"] for row in fold_table(experiment)):
        chosen = {"fold": fold, "patients_per_class": count, "patients_draw": draw}
        content = experiment.model_dump(mode="json")
        content["data"] |= chosen
        content["pretraining"] = {"epochs": args.epochs} if arm == "pretrained" else None
        folder = args.out / f"{arm}_{count}" / f"draw{draw}" / f"fold{fold}"
        scores |= run(Experiment.from_content(content, where=str(folder)), folder)
    return scores


def run(experiment: Experiment, folder: Path) -> Scores:
    """Train one model, and score what it was not shown from stored embeddings."""
    path = folder / "test.json"
    if not path.is_file():
        if not (folder / "model.json").is_file():
            train(experiment, folder, resume=folder.is_dir())
        path.write_text(json.dumps({key: [label, value] for key, label, value in score(experiment, folder)}))
    return {key: (label, value) for key, (label, value) in json.loads(path.read_text()).items()}


def score(experiment: Experiment, folder: Path) -> Iterator[tuple[str, float, float]]:
    """Key, label and probability of each test series."""
    model = load_model(folder)
    prepared = PreparedSeries(experiment.preprocessing, cache=False, limits=experiment.data.reading.limits)
    embedder = Embedder(model.network, prepared, experiment, augment=None)

    def check(_: Series) -> None:
        """Nothing of train or val is read again."""

    for example in gather_examples(experiment, model.task, check).of("test"):
        found = score_embeddings(model.network, model.task, embedder.embed(example.series))
        yield example.key, example.labels[0], float(found.probabilities[0])


def difference(found: list[dict[str, Scores]]) -> Estimate:
    """The mean over the draws of the second AUC minus the first; one series is one patient here."""
    keys = sorted(found[0]["plain"])
    clusters = Clusters(np.arange(len(keys)))

    def statistic(index: np.ndarray) -> float:
        chosen = [keys[row] for row in index]
        return float(np.mean([auc(one["pretrained"], chosen) - auc(one["plain"], chosen) for one in found]))

    return bootstrap(statistic, clusters)


def auc(scores: Scores, keys: list[str]) -> float:
    """The AUC of some series."""
    labels, values = np.array([scores[key] for key in keys]).T
    return roc_auc(labels, values)


if __name__ == "__main__":
    main()
