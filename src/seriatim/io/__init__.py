"""Files <-> series: the only room that knows file formats."""

from seriatim.io.discover import find_series
from seriatim.io.isolation.limits import Limits
from seriatim.io.read import read, read_volume
from seriatim.io.time_frames import frames_over_time

__all__ = ["Limits", "find_series", "frames_over_time", "read", "read_volume"]
