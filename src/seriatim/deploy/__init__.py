"""A trained model for other libraries: exported, held against the model it was made of, kept only where both agree."""

from seriatim.deploy.export import export_run, find_doubt, largest_logit_move, largest_moves

__all__ = ["export_run", "find_doubt", "largest_logit_move", "largest_moves"]
