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
# # 1. Train a model
#
# Synthetic head CTs are made, some with a bleed on known slices. A small network learns to find the series that bleed.
# It takes about three minutes on two CPU cores. Research use only; not a medical device.
#
# The next two notebooks use what this one writes. Everything goes into one folder: `runs/notebooks`, or the folder that
# the environment variable `SERIATIM_NOTEBOOKS` names.

# %% tags=["parameters"]
COUNT, SIZE, EPOCHS = 80, 128, 20

# %%
import json
import os
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Image, Markdown

import seriatim
from seriatim.synth import synthesize

FOLDER = Path(os.environ.get("SERIATIM_NOTEBOOKS", "runs/notebooks"))
FOLDER.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The data
#
# DICOM files in Hounsfield units. File names and instance numbers are shuffled on purpose: only positions carry the order.

# %%
summary = synthesize("head-ct", FOLDER / "data", count=COUNT, seed=0, size=SIZE, force=True)
print(f"{summary.series} series of {summary.patients} patients, {summary.positive} with a bleed")
print((FOLDER / "data" / "labels.csv").read_text().splitlines()[0])

# %% [markdown]
# `find_series` reads headers only. `read_volume` reads pixels: here in HU, slices from inferior to superior.

# %%
inventory = seriatim.find_series(FOLDER / "data")
volume = seriatim.read_volume(inventory.series[1])
print(f"{len(inventory.series)} series, {len(inventory.skipped)} files left out")
print("array", volume.array.shape, volume.array.dtype, "from", volume.positions[0], "to", volume.positions[-1], "mm")

figure, panels = plt.subplots(1, 6, figsize=(12, 2.4))
for panel, index in zip(panels, range(2, len(volume.array), len(volume.array) // 6), strict=False):
    panel.imshow(volume.array[index], cmap="gray", vmin=0, vmax=80)
    panel.set_title(f"{volume.positions[index]:.0f} mm", fontsize=8)
    panel.axis("off")
plt.show()

# %% [markdown]
# ## The experiment
#
# One YAML describes the whole run. It is data, never code. Every setting: docs/config.md.

# %%
YAML = f"""
name: notebook
data:
  manifest: data/labels.csv
  slice_labels: data/slices.csv
preprocessing:
  kind: ct
  size: 96
  windows_hu: [[40, 80], [70, 180], [500, 2000]]
augmentation: {{rotate_degrees: 15, translate: 0.06, scale: 0.1, flip_left_right: true}}
network:
  encoder: {{kind: small_cnn}}
  temporal: {{kind: lstm, hidden: 64}}
  pooling: {{kind: attention}}
task:
  kind: diagnosis
  target: binary
  labels: [bleed]
  slice_loss_weight: 1.0
  slice_positive_weight: 5.0
training:
  epochs: {EPOCHS}
  max_slices: 40
  learning_rate: 2.0e-3
  patience: 20
  accelerator: cpu
"""
(FOLDER / "train.yaml").write_text(YAML)
experiment = seriatim.Experiment.read(FOLDER / "train.yaml")

# %% [markdown]
# ## The run
#
# `seriatim train runs/notebooks/train.yaml --output runs/notebooks/run` does the same from a shell.

# %%
RUN = FOLDER / "run"
shutil.rmtree(RUN, ignore_errors=True)
result = seriatim.train(experiment, RUN)
print("best epoch", result["best_epoch"], {name: round(value, 3) for name, value in result["validation"].items()})

# %%
Image(RUN / "curves.png")

# %% [markdown]
# ## What it left behind
#
# No patient is in two splits: training refuses that, and `split.json` proves it. The model card says what the model saw.

# %%
print("patients in two splits:", json.loads((RUN / "split.json").read_text())["patients_in_two_splits"])
print("\n".join(sorted(path.name for path in RUN.iterdir())))

# %%
Markdown((RUN / "card.md").read_text())
