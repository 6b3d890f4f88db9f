"""The picture of a run's curves."""

import warnings
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from seriatim.training.curves import SCORES, TRAIN, VALIDATION, draw_curves

LINES = [
    {"epoch": epoch, "volume_loss": 1 / epoch, "val_log_loss": 1.2 / epoch, "val_auc": 0.5 + epoch / 20}
    for epoch in range(1, 6)
]


def count_pixels(path: Path, colour: str, *, half: int) -> int:
    """How many pixels have a colour in the left (0, losses) or right half (1, scores)."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    pixels = np.array_split(pixels, 2, axis=1)[half]
    return int((pixels == np.round(np.array(to_rgb(colour)) * 255)).all(axis=2).sum())


def draw(path: Path, *missing: str, best_epoch: int = 3) -> Path:
    lines = [{key: value for key, value in line.items() if key not in missing} for line in LINES]
    draw_curves(lines, path, title="tiny", best_epoch=best_epoch)
    return path


def test_losses_stand_beside_the_validation_scores(tmp_path: Path) -> None:
    path = draw(tmp_path / "all.png")
    assert count_pixels(path, TRAIN, half=0) > 100
    assert count_pixels(path, VALIDATION, half=0) > 100
    assert count_pixels(path, TRAIN, half=1) == 0
    assert count_pixels(path, VALIDATION, half=1) > 100


def test_what_a_run_did_not_measure_is_not_drawn(tmp_path: Path) -> None:
    """A run without validation labels, say: its axes stay, and hold no curve; nothing is complained about."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = draw(tmp_path / "few.png", "val_log_loss", *SCORES)
    assert count_pixels(path, TRAIN, half=0) > 100
    assert count_pixels(path, VALIDATION, half=0) == 0
    assert count_pixels(path, VALIDATION, half=1) == 0


def test_the_kept_epoch_is_marked_in_both_halves(tmp_path: Path) -> None:
    """Below the title, a picture with another kept epoch differs where the line was and where it is."""
    pictures = []
    for epoch in (1, 5):
        with Image.open(draw(tmp_path / "one.png", best_epoch=epoch)) as picture:
            pictures.append(np.asarray(picture.convert("L"), dtype=int)[picture.height // 6 :])
    for first, last in zip(*(np.array_split(picture, 2, axis=1) for picture in pictures), strict=True):
        changed = np.flatnonzero((first != last).any(axis=0)) / first.shape[1]
        assert changed.min() < 0.3
        assert changed.max() > 0.7
