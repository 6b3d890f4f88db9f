"""Files <-> series: the only room that knows file formats."""

from seriatim.io.discover import find_series
from seriatim.io.read import read, read_volume

__all__ = ["find_series", "read", "read_volume"]
