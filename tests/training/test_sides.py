"""Who mirrors series whose labels name a side is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from seriatim.training.sides import tell_mirrored_sides
from tiny_runs import make_experiment


@pytest.mark.parametrize(
    ("labels", "options", "told"),
    [
        ("left_effusion", ["augmentation.flip_left_right=true"], "augmentation.flip_left_right"),
        ("Laterality", ["test_time.flip_left_right=true"], "test_time.flip_left_right"),
        ("left_effusion", ["augmentation.noise=1"], ""),
        ("bright_lesion", ["augmentation.flip_left_right=true"], ""),
        ("cleft", ["augmentation.flip_left_right=true", "test_time.flip_left_right=true"], ""),
    ],
)
def test_a_mirrored_side_is_told(
    tmp_path: Path, head_ct: Path, caplog: pytest.LogCaptureFixture, labels: str, options: list[str], told: str
) -> None:
    tell_mirrored_sides(make_experiment(tmp_path, head_ct, f"task.labels=[{labels}]", *options))
    assert (told in caplog.text and repr(labels) in caplog.text) if told else not caplog.text
