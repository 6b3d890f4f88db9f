"""What computes a network's answers: torch, or a file that ``seriatim export`` made of the network and checked."""

from seriatim.trained.backends.choice import BACKENDS, PRECISIONS, TORCH, Backend, Compute, Precision, choose_compute
from seriatim.trained.backends.exported import Exported, read_export

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "TORCH",
    "Backend",
    "Compute",
    "Exported",
    "Precision",
    "choose_compute",
    "read_export",
]
