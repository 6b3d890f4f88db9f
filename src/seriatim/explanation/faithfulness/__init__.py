"""How faithful explanations are: measured, because a picture that looks right may show nothing of the model."""

from seriatim.trained.faithfulness import FAITHFULNESS, Curves, Faithfulness, Measured, load_faithfulness

__all__ = ["FAITHFULNESS", "Curves", "Faithfulness", "Measured", "load_faithfulness"]
