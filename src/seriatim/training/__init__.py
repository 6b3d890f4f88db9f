"""Training: from an experiment to a run folder."""

from seriatim.training.examples import fold_table, held_out_series
from seriatim.training.run import read_run_config, train

__all__ = ["fold_table", "held_out_series", "read_run_config", "train"]
