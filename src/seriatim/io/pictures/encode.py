"""Pictures for a page: encoded in memory, never read again."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode_jpeg(image: NDArray[np.uint8], *, quality: int = 88) -> bytes:
    """An image uint8 (H,W) or (H,W,3) as a JPEG file without any metadata."""
    memory = BytesIO()
    Image.fromarray(image).save(memory, format="JPEG", quality=quality, optimize=True)
    return memory.getvalue()


def encode_thumbnail(image: NDArray[np.uint8], *, side: int = 80, quality: int = 60) -> bytes:
    """An image uint8 (H,W) or (H,W,3) within ``side`` pixels, as a WebP file without any metadata: about a kilobyte."""
    memory, small = BytesIO(), Image.fromarray(image)
    small.thumbnail((side, side))
    small.save(memory, format="WEBP", quality=quality)
    return memory.getvalue()
