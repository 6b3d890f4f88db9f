"""Training: from an experiment to a run folder."""

from seriatim.training.examples import digest_labels, fold_table, held_out_series
from seriatim.training.run import pretrain_only, train
from seriatim.training.run_folder import read_run_config

__all__ = ["digest_labels", "fold_table", "held_out_series", "pretrain_only", "read_run_config", "train"]
