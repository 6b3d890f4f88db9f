"""How good the scores are: metrics with intervals, reliability, and whether the model looks at the right slices.

Nothing here needs torch.
"""

from seriatim.evaluation.intervals import Clusters, Estimate
from seriatim.evaluation.report import Evaluation, EvaluationSettings, describe, evaluate

__all__ = ["Clusters", "Estimate", "Evaluation", "EvaluationSettings", "describe", "evaluate"]
