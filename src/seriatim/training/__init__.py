"""Training: from an experiment to a run folder."""

from seriatim.training.run import read_run_config, train

__all__ = ["read_run_config", "train"]
