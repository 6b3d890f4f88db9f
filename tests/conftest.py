"""What every test shares: one thread, and tensor shapes checked at run time."""

from jaxtyping import install_import_hook

with install_import_hook("seriatim.models", "beartype.beartype"):
    import seriatim.models  # noqa: F401  checked from here on, wherever a test imports it

import torch

torch.set_num_threads(1)
