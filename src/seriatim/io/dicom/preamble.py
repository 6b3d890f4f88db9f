"""The 128 bytes before a DICOM file (PS3.10 section 7.1): DICOM does not read them, others may (CVE-2019-11687)."""

from __future__ import annotations

from typing import BinaryIO

from seriatim.series.findings import Code, Finding, find

PREAMBLE_BYTES = 128
STARTS = {
    b"MZ": "a Windows program", b"\x7fELF": "a Linux program", b"\xfe\xed\xfa\xce": "a macOS program",
    b"\xfe\xed\xfa\xcf": "a macOS program", b"\xce\xfa\xed\xfe": "a macOS program",
    b"\xcf\xfa\xed\xfe": "a macOS program", b"\xca\xfe\xba\xbe": "a macOS or Java program", b"#!": "a script",
    b"%PDF": "a PDF document", b"PK": "an archive", b"<": "a web page", b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture", b"II+\0": "a TIFF picture", b"MM\0+": "a TIFF picture",
}


def check_preamble(file: BinaryIO) -> list[Finding]:
    """POLYGLOT where the file starts like one of another kind. The file is left at its start."""
    head = file.read(PREAMBLE_BYTES + 4)
    file.seek(0)
    if head[PREAMBLE_BYTES:] != b"DICM":
        return []
    what = next((what for start, what in STARTS.items() if head.startswith(start)), "")
    if not what:
        return []
    advice = ("Whole slide scanners make such files, and DICOM allows them." if "TIFF" in what
              else "Find out where it comes from before you pass it on.")
    return [find(Code.POLYGLOT, f"A file starts like {what} too. {advice}")]
