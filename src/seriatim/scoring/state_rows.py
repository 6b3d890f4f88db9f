"""Predictions as bytes and back, to the bit, without pickle: compressed JSON that is read as the one type it may be."""

from __future__ import annotations

import json
import re
import zlib

from seriatim.io.isolation.wire import from_plain, to_plain
from seriatim.series import Prediction

CODE = re.compile(r"[A-Z][A-Z_]+(?=:)")


def pack_prediction(prediction: Prediction) -> bytes:
    """A prediction as bytes."""
    return zlib.compress(json.dumps(to_plain(prediction), separators=(",", ":")).encode(), 1)


def unpack_prediction(packed: bytes) -> Prediction:
    """The prediction of ``pack_prediction``, equal to the bit. Raises WireError where it is none."""
    prediction: Prediction = from_plain(Prediction, json.loads(zlib.decompress(packed)))
    return prediction


def reason_code(reason: str) -> str:
    """The code with which a reason begins; "OTHER" where it has none, "" where there is no reason."""
    found = CODE.match(reason)
    return found.group() if found else "OTHER" if reason else ""
