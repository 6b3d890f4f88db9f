"""Mutations of DICOM files that know where elements, items and fragments lie."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from tools.fuzz.elements import PIXELS, Element, fragments
from tools.fuzz.mutation import Files, Splice, header_of, unpack

HOSTILE = {
    "DS": ("nan", "inf", "-1e308", "1e400", "0", "-0", "", "abc", "1\\2\\3\\4\\5\\6\\7", "1e-30", "9" * 16, "-3.5",
           "1"),
    "IS": ("0", "-1", "2147483648", "1.5", "", "x", "99999", "2"),
    "CS": ("", "MONOCHROME1", "PALETTE COLOR", "YBR_FULL", "YBR_RCT", "RGB", "CT", "MR", "US", "LOCALIZER", "\xc4"),
    "UI": ("", "1.2.3", "../../etc/passwd", "9" * 64, "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.88.11",
           "a"),
    "LO": ("", "x" * 64, "\x1b$B", "other"),
}
NUMBERS = (0, 1, 2, 3, 7, 8, 12, 16, 17, 32, 64, 255, 512, 32767, 65535)
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
            "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57",
            "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
            "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.100", "1.2.3.4", "")
VRS = ("AE", "CS", "DS", "IS", "LO", "OB", "OW", "SQ", "UI", "UN", "US", "UL", "FD", "ZZ", "UT")
STREAM_BYTES = (b"\xff\xd8", b"\xff\xd9", b"\xff\x00", b"\0\0", b"\xff\xff", b"\x80")
Result = tuple[str, str, list[Splice]]


@dataclass(frozen=True, slots=True)
class Target:
    """One DICOM file of a case, parsed."""

    name: str
    data: bytes
    layer: str
    elements: list[Element]

    def splice(self, at: int, drop: int = 0, insert: bytes = b"") -> Splice:
        return Splice(file=self.name, at=at, drop=drop, insert=insert.hex(), layer=self.layer)

    @property
    def pixels(self) -> Element | None:
        return next((one for one in self.elements if one.tag == PIXELS and not one.depth), None)

    def pick(self, rng: random.Random) -> Element:
        """Any element but the pixel data."""
        return rng.choice([one for one in self.elements if one.tag != PIXELS])


def pick_target(rng: random.Random, files: Files) -> Target:
    """A random DICOM file, parsed."""
    name = rng.choice(sorted(name for name, data in files.items() if data[128:132] == b"DICM"))
    layer = "deflate" if b"1.2.840.10008.1.2.1.99" in files[name][:400] else ""
    data = unpack(files[name], layer)
    return Target(name, data, layer, header_of(files[name], layer))


def set_value(rng: random.Random, target: Target) -> Result:
    """A hostile value, with a right length."""
    element = target.pick(rng)
    return "value", element.keyword, [_replace(target, element, _hostile(rng, element.vr))]


def drop_element(rng: random.Random, target: Target) -> Result:
    element = target.pick(rng)
    return "drop", element.keyword, [target.splice(element.start, element.end - element.start)]


def repeat_element(rng: random.Random, target: Target) -> Result:
    element = target.pick(rng)
    raw = target.data[element.start : element.end]
    return "duplicate", element.keyword, [target.splice(rng.choice((element.start, element.end)), 0, raw)]


def move_element(rng: random.Random, target: Target) -> Result:
    element, other = target.pick(rng), target.pick(rng)
    if element.start <= other.start < element.end:
        other = element
    raw = target.data[element.start : element.end]
    return "reorder", element.keyword, [target.splice(element.start, element.end - element.start),
                                        target.splice(other.start if other is not element else element.end, 0, raw)]


def change_length(rng: random.Random, target: Target) -> Result:
    element = rng.choice(target.elements)
    at, size = element.length_field
    old = int.from_bytes(target.data[at : at + size], "little")
    new = rng.choice((0, 1, old + 2, max(old - 2, 0), old * 2, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF))
    order = "little" if element.encoding[1] else "big"
    return "length", element.keyword, [target.splice(at, size, (new % (1 << 8 * size)).to_bytes(size, order))]


def change_vr(rng: random.Random, target: Target) -> Result:
    element = rng.choice(target.elements)
    if element.encoding[0]:
        return change_tag(rng, target)
    return "vr", element.keyword, [target.splice(element.start + 4, 2, rng.choice(VRS).encode())]


def change_tag(rng: random.Random, target: Target) -> Result:
    element = rng.choice(target.elements)
    at = element.start + rng.randrange(4)
    return "tag", element.keyword, [target.splice(at, 1, bytes([target.data[at] ^ 1 << rng.randrange(8)]))]


def flip_header(rng: random.Random, target: Target) -> Result:
    element = target.pick(rng)
    at = rng.randrange(element.start, element.end)
    return "flip", element.keyword, [target.splice(at, 1, bytes([target.data[at] ^ 1 << rng.randrange(8)]))]


def lie_about_syntax(rng: random.Random, target: Target) -> Result:
    element = next(one for one in target.elements if one.tag == 0x00020010)
    value = rng.choice(SYNTAXES).encode()
    if target.layer:  # what follows stays deflated only where the layer is left as it is
        return set_value(rng, target)
    return "syntax", element.keyword, [_replace(target, element, value)]


def break_nesting(rng: random.Random, target: Target) -> Result:
    """Sequences that never end, end too early, or hold each other a thousand deep."""
    element = target.pick(rng)
    sequence = struct.pack("<HH", 0x0008, 0x1115) + b"SQ\0\0\xff\xff\xff\xff"
    item, item_end = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
    deep = rng.choice((1, 3, 100, 1500))
    raw = rng.choice((sequence, sequence + item, item_end, b"\xfe\xff\xdd\xe0\0\0\0\0", (sequence + item) * deep,
                      sequence + b"\xfe\xff\x00\xe0\xff\xff\xff\x7f"))
    return "nesting", element.keyword, [target.splice(rng.choice((element.start, element.end, element.value)), 0, raw)]


def damage_pixels(rng: random.Random, target: Target) -> Result:
    """Bytes inside the pixel data."""
    pixels = target.pixels
    if pixels is None:
        return set_value(rng, target)
    native = not pixels.undefined
    spans = [(pixels.value, pixels.end)] if native else [
        (start + 8, end) for start, end in fragments(target.data, pixels)[1:] if end - start > 8]
    start, end = rng.choice(spans)
    end = min(end, start + rng.choice((24, end - start)))  # half of them in the stream's own header
    splices = []
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(start, end)
        new = bytes([target.data[at] ^ 1 << rng.randrange(8)]) if rng.random() < 0.7 else rng.choice(STREAM_BYTES)
        if all(abs(at - other.at) > 2 for other in splices):
            splices.append(target.splice(at, min(len(new), end - at), new[: end - at]))
    return "pixels" if native else "stream", "PixelData", splices


def cut_stream(rng: random.Random, target: Target) -> Result:
    """An encapsulated stream that ends early in a fragment that is whole."""
    pixels = target.pixels
    if pixels is None or not pixels.undefined:
        return damage_pixels(rng, target)
    start, end = rng.choice(fragments(target.data, pixels)[1:])
    keep = rng.randrange(max(end - start - 8, 1))
    raw = target.data[start + 8 : start + 8 + keep]
    raw += b"\0" * (len(raw) % 2) if rng.random() < 0.7 else b"\0" * (end - start - 8 - keep)
    return "cut stream", "PixelData", [
        target.splice(start, end - start, b"\xfe\xff\x00\xe0" + struct.pack("<L", len(raw)) + raw)]


def change_fragments(rng: random.Random, target: Target) -> Result:
    """Fragments lost, repeated, exchanged, split or empty; offset tables and lengths that lie."""
    pixels = target.pixels
    if pixels is None or not pixels.undefined:
        return change_frame_count(rng, target)
    table, *items = fragments(target.data, pixels)
    start, end = rng.choice(items)
    raw = target.data[start:end]
    how = rng.choice(("lost", "twice", "swap", "length", "empty", "split", "table", "table lost"))
    if how == "lost":
        splices = [target.splice(start, end - start)]
    elif how == "twice":
        splices = [target.splice(start, 0, raw)]
    elif how == "swap":
        other = rng.choice(items)
        splices = [target.splice(start, end - start, target.data[slice(*other)])]
        splices += [target.splice(other[0], other[1] - other[0], raw)] if other != (start, end) else []
    elif how == "length":
        splices = [target.splice(start + 4, 4, struct.pack("<L", rng.choice((0, 2, end - start, 1 << 31, 0xFFFFFFFF))))]
    elif how == "empty":
        splices = [target.splice(start, end - start, b"\xfe\xff\x00\xe0\0\0\0\0")]
    elif how == "split":
        middle = (end - start - 8) // 4 * 2
        parts = raw[8 : 8 + middle], raw[8 + middle :]
        new = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(part)) + part for part in parts)
        splices = [target.splice(start, end - start, new)]
    elif how == "table" and table[1] - table[0] > 8:
        at = rng.randrange(table[0] + 8, table[1])
        splices = [target.splice(at, 1, bytes([target.data[at] ^ 1 << rng.randrange(8)]))]
    else:
        splices = [target.splice(table[0], table[1] - table[0], rng.choice((b"\xfe\xff\x00\xe0\0\0\0\0", b"")))]
    return "fragments", how, splices


def change_frame_count(rng: random.Random, target: Target) -> Result:
    """NumberOfFrames that lies, also where there was none."""
    value = rng.choice(("0", "1", "2", "4", "7", "99999", "2147483647", "-3", "x")).encode()
    element = next((one for one in target.elements if one.tag == 0x00280008), None)
    if element is not None:
        return "frames", "NumberOfFrames", [_replace(target, element, value)]
    after = next((one for one in target.elements if one.tag >= 0x00280010 and not one.depth), None)
    if after is None:
        return set_value(rng, target)
    made = Element(0x00280008, "IS", 0, 0, 0, 0, False, after.encoding)
    return "frames", "NumberOfFrames", [target.splice(after.start, 0, made.encode(value))]


def nudge_number(rng: random.Random, target: Target) -> Result:
    """A legal but other number, as a broken converter writes it."""
    numbers = [one for one in target.elements if one.vr in ("DS", "US", "IS") and one.tag != PIXELS]
    if not numbers:
        return set_value(rng, target)
    element = rng.choice(numbers)
    raw = target.data[element.value : element.end]
    if element.vr == "US":
        order = "<" if element.encoding[1] else ">"
        value = struct.pack(f"{order}H", (struct.unpack(f"{order}H", raw[:2])[0] + rng.choice((-1, 1, 2))) % 65536)
        return "nudge", element.keyword, [_replace(target, element, value)]
    parts = raw.decode("ascii").strip(" \0").split("\\")
    place = rng.randrange(len(parts))
    number = float(parts[place] or 0)
    new = rng.choice((number + 1, number - 1, number * 2, -number, number * 1000, number + 0.5, number * 1.3))
    parts[place] = f"{new:.8g}"[:16] if element.vr == "DS" else str(int(new))
    return "nudge", element.keyword, [_replace(target, element, "\\".join(parts).encode())]


def _replace(target: Target, element: Element, value: bytes) -> Splice:
    return target.splice(element.start, element.end - element.start, element.encode(value))


def _hostile(rng: random.Random, vr: str) -> bytes:
    if vr in ("US", "SS"):
        return struct.pack("<H", rng.choice(NUMBERS))
    if vr in ("SQ", "OB", "OW", "UN", "UL", "AT"):
        return rng.choice((b"", b"\0\0", b"\xff" * 8, b"\xfe\xff\x00\xe0\xff\xff\xff\xff", rng.randbytes(20)))
    return rng.choice(HOSTILE.get(vr, HOSTILE["LO"])).encode("latin-1")


STRUCTURED = (set_value, set_value, set_value, drop_element, drop_element, repeat_element, move_element, change_length,
              change_vr, change_tag, flip_header, flip_header, lie_about_syntax, break_nesting, damage_pixels,
              damage_pixels, cut_stream, change_fragments, change_fragments, change_frame_count, nudge_number,
              nudge_number, nudge_number)
