"""The fuzzer: mutated files must be read right, refused with a reason, or told with a finding. ``make fuzz``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "io"))
