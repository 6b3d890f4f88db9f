"""Mutations of volume headers: the fields of NIfTI, the lines of NRRD and MetaImage."""

from __future__ import annotations

import random
import struct

from tools.fuzz.mutation import Files, Splice, unpack

NIFTI_FIELDS = {"sizeof_hdr": ("i", 0, 1), "dim": ("h", 40, 5), "intent_code": ("h", 68, 1), "datatype": ("h", 70, 1),
                "bitpix": ("h", 72, 1), "pixdim": ("f", 76, 8), "vox_offset": ("f", 108, 1), "scl_slope": ("f", 112, 1),
                "scl_inter": ("f", 116, 1), "xyzt_units": ("B", 123, 1), "qform_code": ("h", 252, 1),
                "sform_code": ("h", 254, 1), "quatern": ("f", 256, 6), "srow": ("f", 280, 12)}
FLOATS = (float("nan"), float("inf"), 0.0, -1.0, 1e38, 1e-38, 1.0, 0.5, 1000.0)
INTEGERS = {"h": (0, 1, 2, 3, 4, 8, 16, 64, 128, 512, 1792, -1, 32767, 7), "i": (0, 540, 1543569408, -1),
            "B": (0, 1, 2, 3, 10, 255)}
TEXTS = ("0", "-1", "nan", "inf", "999999999", "", "x", "1 2", "../../etc/passwd", "LOCAL", "True", "False", "float",
         "MET_DOUBLE", "gzip", "raw", "big", "%d")
Result = tuple[str, str, list[Splice]]


def change_field(rng: random.Random, files: Files) -> Result:
    """One number of a NIfTI header."""
    name = rng.choice(sorted(name for name in files if name.endswith((".nii", ".nii.gz", ".hdr"))))
    layer = "gzip" if name.endswith(".gz") else ""
    field = rng.choice(sorted(NIFTI_FIELDS))
    code, offset, count = NIFTI_FIELDS[field]
    at = offset + rng.randrange(count) * struct.calcsize(code)
    value = rng.choice(FLOATS) if code == "f" else rng.choice(INTEGERS[code])
    raw = struct.pack(f"<{code}", value)
    if unpack(files[name], layer)[at : at + len(raw)] == raw:
        raw = struct.pack(f"<{code}", 5)
    return "field", field, [Splice(file=name, at=at, drop=len(raw), insert=raw.hex(), layer=layer)]


def change_line(rng: random.Random, files: Files) -> Result:
    """One line of a text header: another value, lost, twice, or moved."""
    name = rng.choice(sorted(name for name in files if name.endswith((".nrrd", ".nhdr", ".mha", ".mhd"))))
    data = files[name]
    end = data.find(b"\n\n") + 1 if data.startswith(b"NRRD") else data.find(b"ElementDataFile")
    lines = [line for line in data[: end if end > 0 else len(data)].split(b"\n") if line]
    line = rng.choice(lines)
    at = data.index(line)
    key, mark, value = line.partition(b"=" if b"=" in line else b":")
    how = rng.choice(("value", "number", "lost", "twice"))
    where = key.decode("latin-1").strip()
    if how == "lost":
        return "line", where, [Splice(file=name, at=at, drop=len(line) + 1)]
    if how == "twice":
        return "line", where, [Splice(file=name, at=at, insert=(line + b"\n").hex())]
    parts = value.decode("latin-1").split(" ")
    if how == "value" or len(parts) < 2:
        new = rng.choice(TEXTS)
    else:
        parts[rng.randrange(len(parts))] = rng.choice(TEXTS)
        new = " ".join(parts)
    raw = key + mark + b" " + new.encode()
    return "line", where, [Splice(file=name, at=at, drop=len(line), insert=raw.hex())]
