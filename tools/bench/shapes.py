"""What simple measures of a shape tell, for scale: areas of sections against depth inside, with plain classifiers.

usage: shapes.py MANIFEST LABEL
for example: shapes.py work/adrenal/labels.csv hyperplasia

Each classifier is judged by five folds within the rows whose ``split`` is train, and, fitted to all of them, on the
rows whose ``split`` is val. Areas are the voxels of each section along the three axes, as in the bar of
../shared/data/README.md. Depth is the distance in mm to the surface (``preprocessing.kind: mask``): its quantiles, its
histogram, and the largest in each section, sorted. Nothing is tuned.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seriatim.io import find_series, read_volume
from seriatim.series import Volume
from seriatim.transforms.shape import measure_depth

AXES = ((1, 2), (0, 2), (0, 1))
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
DEEPEST_MM = 13
MODELS = {
    "forest": RandomForestClassifier(500, min_samples_leaf=2, class_weight="balanced", random_state=0),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)),
}


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    manifest, label = Path(sys.argv[1]), sys.argv[2]
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("train", "val")]
    volumes = (read_volume(find_series(manifest.parent / row["path"]).series[0]) for row in rows)
    areas, depths = (np.array(one) for one in zip(*map(describe, volumes), strict=True))
    labels = np.array([int(row[label]) for row in rows])
    train = np.array([row["split"] == "train" for row in rows])
    print("measures  classifier  AUC by five folds of train  AUC of val")
    for name, table in (("areas", areas), ("depth", depths), ("both", np.hstack([areas, depths]))):
        for classifier, model in MODELS.items():
            print(name, classifier, *(f"{one:.3f}" for one in judge(model, table, labels, train)), sep="  ", flush=True)


def describe(volume: Volume) -> tuple[NDArray[Any], NDArray[Any]]:
    """The areas, and the measures of depth, of one mask."""
    inside, spacing = volume.array != 0, volume.series.spacing_mm
    assert spacing is not None
    depth = measure_depth(inside, spacing[::-1], most=1000)
    own = depth[inside]
    histogram = np.histogram(own, bins=DEEPEST_MM, range=(0, DEEPEST_MM))[0] / len(own)
    deepest = [np.sort(depth.max(axis))[::-1] for axis in AXES]
    areas = np.concatenate([inside.sum(axis) for axis in AXES])
    return areas, np.concatenate([np.quantile(own, QUANTILES), [own.mean(), len(own)], histogram, *deepest])


def judge(model: Any, table: NDArray[Any], labels: NDArray[Any], train: NDArray[Any]) -> tuple[float, float]:
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    inside = cross_val_predict(model, table[train], labels[train], cv=folds, method="predict_proba")[:, 1]
    held_out = model.fit(table[train], labels[train]).predict_proba(table[~train])[:, 1]
    return roc_auc_score(labels[train], inside), roc_auc_score(labels[~train], held_out)


if __name__ == "__main__":
    main()
