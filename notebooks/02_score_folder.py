# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. Score a folder
#
# The model of notebook 1 scores series that it never saw. One of them is damaged first, as happens on real discs: it
# becomes a row with a reason, and the others are scored. Run notebook 1 before this one.

# %%
import csv
import json
import os
import shutil
from pathlib import Path

from IPython.display import Image

import seriatim
from seriatim.evaluation import EvaluationSettings, evaluate

FOLDER = Path(os.environ.get("SERIATIM_NOTEBOOKS", "runs/notebooks"))
RUN, HELD_OUT, SCORES = FOLDER / "run", FOLDER / "held_out", FOLDER / "scores"


def read_table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# %% [markdown]
# ## A folder as it comes
#
# The test series, a text file that is no image, and one series with a slice missing: a file was lost.

# %%
shutil.rmtree(HELD_OUT, ignore_errors=True)
test = [row for row in read_table(FOLDER / "data" / "labels.csv") if row["split"] == "test"]
for row in test:
    shutil.copytree(FOLDER / "data" / row["path"], HELD_OUT / Path(row["path"]).name)
(HELD_OUT / "readme.txt").write_text("not an image")

damaged = seriatim.find_series(HELD_OUT).series[0]
damaged.instances[len(damaged.instances) // 2].path.unlink()

inventory = seriatim.find_series(HELD_OUT)
for series in inventory.series[:4]:
    print(f"{series.path.name}  {len(series.instances)} slices  {'usable' if series.usable else series.reason}")
for skipped in inventory.skipped:
    print(f"left out: {skipped.path.name}: {skipped.reason}")

# %% [markdown]
# ## Scoring
#
# `seriatim score runs/notebooks/held_out --model runs/notebooks/run --output runs/notebooks/scores` does the same from a
# shell. The counts add up: every series is scored, refused or failed.

# %%
summary = seriatim.score(HELD_OUT, model=RUN, output=SCORES, device="cpu")
print(json.dumps(summary["counts"]))

# %%
for row in read_table(SCORES / "scores.csv")[:6]:
    print(Path(row["path"]).name, row["status"], row["probability_bleed"][:6], row["prediction"], row["reason"][:60])

# %% [markdown]
# The score of a series does not depend on the others. Scored alone, it is the same to the last bit.

# %%
first = next(row for row in read_table(SCORES / "scores.csv") if row["status"] == "scored")
seriatim.score(first["path"], model=RUN, output=FOLDER / "scores_alone", device="cpu")
alone = read_table(FOLDER / "scores_alone" / "scores.csv")[0]
assert alone["probability_bleed"] == first["probability_bleed"]
print(first["probability_bleed"], "=", alone["probability_bleed"])

# %% [markdown]
# ## Scores against labels
#
# Every figure has a 95 % interval. With so few series the intervals are wide, and that is the honest message. The damaged
# series is counted as not evaluated, with its reason.

# %%
settings = EvaluationSettings(labels=FOLDER / "data" / "labels.csv", slices=FOLDER / "data" / "slices.csv")
evaluation = evaluate([SCORES / "scores.csv"], settings=settings, output=FOLDER / "evaluation")
for name, found in evaluation.all_measures.items():
    if found.value is not None and found.low is not None:
        print(f"{name:32s} {found.value:.3f}  ({found.low:.3f} to {found.high:.3f}), n = {found.n}")
print(evaluation.missing_counts)

# %%
Image(FOLDER / "evaluation" / "roc.png")
