"""The fuzzer: mutated files must be read right, refused with a reason, or told with a finding. ``make fuzz``."""
