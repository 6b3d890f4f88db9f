"""Write the manifest of the POCUS lung ultrasound clips: convex probe, three classes, folds without shared patients.

usage: pocus_manifest.py DATA OUT, for example  pocus_manifest.py ../shared/data/pocus_lus work/pocus
"""

import argparse
import csv
import os
from collections import Counter
from pathlib import Path

CLASSES = ("covid", "pneumonia", "regular")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with index.csv and frames/")
    parser.add_argument("out", type=Path, help="the folder for labels.csv")
    args = parser.parse_args()
    with (args.data / "index.csv").open(newline="", encoding="utf-8") as file:
        clips = [row for row in csv.DictReader(file) if row["probe"] == "convex" and row["label"] in CLASSES]
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient", "fold"])
        for clip in clips:
            path = os.path.relpath(args.data / "frames" / clip["video_id"], args.out)
            writer.writerow([path, clip["label"], clip["group"], clip["fold_grouped"]])
    counts = Counter(clip["label"] for clip in clips)
    shares = ", ".join(f"{counts[name]} {name}" for name in CLASSES)
    print(f"{len(clips)} clips in {args.out / 'labels.csv'}: {shares}")


if __name__ == "__main__":
    main()
