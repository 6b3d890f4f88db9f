"""Training: from an experiment to a run folder."""

from seriatim.training.examples import fold_table, held_out_series
from seriatim.training.run import train
from seriatim.training.run_folder import read_run_config

__all__ = ["fold_table", "held_out_series", "read_run_config", "train"]
