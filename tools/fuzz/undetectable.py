"""The only changes that may pass without a finding: each with the reason why no reader could notice."""

from __future__ import annotations

from tools.fuzz.touched import STREAM, VALUES

GEOMETRY = frozenset({"affine", "positions"})
VALUES_ONLY = frozenset({"pixels"})
ONE_FILE = ("us_", "palette", "mr_enhanced", "nifti", "nrrd", "nhdr", "mha", "mhd", "tiff", "gif", "mp4", "avi", "mkv")
"""Cases whose volume is one file: no other slice can contradict its header."""


def why_undetectable(case: str, parts: set[str], what: frozenset[str]) -> str:
    """The reason, or "" where the change must be told. ``parts`` were touched, ``what`` came out different."""
    one_file = case.startswith(ONE_FILE)
    for rule_parts, rule_what, only_one_file, reason in RULES:
        if parts and parts <= rule_parts and what <= rule_what and (one_file or not only_one_file):
            return reason
    return ""


RULES: tuple[tuple[frozenset[str], frozenset[str], bool, str], ...] = (
    (frozenset({VALUES}), VALUES_ONLY, False, "values of uncompressed pixels: each is as legal as any other"),
    (frozenset({STREAM}), VALUES_ONLY, False, "bits of a compressed stream without a checksum that still decodes whole"),
)
