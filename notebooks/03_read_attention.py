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
# # 3. Read attention
#
# Which slices drove the score of a series, and do they bleed? The synthetic data knows the answer. Run notebooks 1 and 2
# before this one.
#
# Attention says which slices the model weighed, not why. Read it as a pointer to the images, not as a finding.

# %%
import csv
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image

import seriatim

FOLDER = Path(os.environ.get("SERIATIM_NOTEBOOKS", "runs/notebooks"))
RUN, HELD_OUT, SCORES, PICTURES = FOLDER / "run", FOLDER / "held_out", FOLDER / "scores", FOLDER / "pictures"


def read_table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# %% [markdown]
# ## One weight per image
#
# `slices.csv` has one row per slice, with the SOP Instance UID of the image it belongs to. Nothing was resampled between
# slices, so a weight can be traced to a file. The weights of a series sum to 1.

# %%
bleeds = {row["sop_instance_uid"]: row["bleed"] == "1" for row in read_table(FOLDER / "data" / "slices.csv")}
by_series = {}
for row in read_table(SCORES / "slices.csv"):
    by_series.setdefault(row["series_uid"], []).append(row)
for rows in by_series.values():
    assert abs(sum(float(row["attention"]) for row in rows) - 1) < 1e-5

bleeding = {uid: rows for uid, rows in by_series.items() if any(bleeds[row["sop_instance_uid"]] for row in rows)}
print(f"{len(by_series)} scored series, {len(bleeding)} with a bleed")

# %% [markdown]
# ## Attention and truth
#
# Orange: attention over slice position. Grey: the slices that truly bleed.

# %%
shown = list(bleeding.values())[:3]
figure, panels = plt.subplots(1, len(shown), figsize=(4 * len(shown), 2.6), squeeze=False)
for panel, rows in zip(panels[0], shown, strict=True):
    position = np.array([float(row["position"]) for row in rows])
    attention = np.array([float(row["attention"]) for row in rows])
    for place, row in zip(position, rows, strict=True):
        if bleeds[row["sop_instance_uid"]]:
            panel.axvspan(place - 2.5, place + 2.5, color="0.88")
    panel.plot(position, attention, "o-", color="tab:orange", markersize=3)
    panel.axhline(1 / len(rows), color="0.6", linestyle=":")
    panel.set_xlabel("position (mm), I to S")
panels[0][0].set_ylabel("attention")
figure.tight_layout()
plt.show()

# %%
hits = [bleeds[max(rows, key=lambda row: float(row["attention"]))["sop_instance_uid"]] for rows in bleeding.values()]
chance = np.mean([np.mean([bleeds[row["sop_instance_uid"]] for row in rows]) for rows in bleeding.values()])
print(f"the most attended slice bleeds in {sum(hits)} of {len(hits)} bleeding series; by chance in {chance:.0%}")

# %% [markdown]
# ## The picture
#
# `seriatim explain runs/notebooks/held_out --model runs/notebooks/run --output runs/notebooks/pictures --limit 3` does the
# same from a shell. Below the curve stand the slices that mattered most in the first window, each beside the same
# slice with Grad-CAM over it. The CSV beside the picture has the numbers, with what leaving out each slice does.

# %%
PICTURES.mkdir(exist_ok=True)
rows = seriatim.explain(HELD_OUT, model=RUN, output=PICTURES, device="cpu", only=set(list(bleeding)[:1]))
print(rows)
Image(PICTURES / rows[0]["picture"], width=900)

# %% [markdown]
# ## The page
#
# The same as a page to go through: wheel, keys and clicks in the curves. `explain` writes it beside the picture; here it is
# made of a series and its explanation.

# %%
from seriatim.explanation import explain_volume

model = seriatim.load_model(RUN)
series = seriatim.find_series(rows[0]["path"]).series[0]
seriatim.show(series, explain_volume(seriatim.read_volume(series), model), model=model)

# %%
table = read_table(PICTURES / rows[0]["picture"].replace(".png", ".csv"))
for row in sorted(table, key=lambda row: int(row["rank"]))[:5]:
    print(row["rank"], f"{float(row['position']):8.1f} {row['unit']}", f"attention {float(row['attention']):.3f}",
          f"leaving it out {float(row['leave_out']):+.2f}", "bleeds" if bleeds[row["sop_instance_uid"]] else "")
