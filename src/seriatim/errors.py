"""The errors seriatim raises: one base class, few children.

A message tells what, where, the value, and the repair, in one sentence or two, and never a patient's name or ID.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path


class SeriatimError(Exception):
    """Base of every error that a user can cause and repair."""


class ConfigError(SeriatimError, ValueError):
    """A configuration, a command line or a manifest says something that cannot be."""


class InputError(SeriatimError):
    """A file or a series cannot be read, or must not be used."""


class RefusedError(InputError):
    """A series lies outside of what a model was trained on, as its images tell."""


class DecoderError(InputError):
    """Pixel data cannot be decoded: the decoder is missing, or the data is damaged."""


class ModelError(SeriatimError):
    """A run folder or a weights file is incomplete, changed or does not fit."""


class OutputError(SeriatimError):
    """A result cannot be written where it was asked for."""


def reason_of(error: BaseException, *, files: Iterable[Path] = ()) -> str:
    """Why something failed, fit for a table or a log: of another library's error the kind alone.

    The words of other libraries repeat what they met: a value of a header, a patient's name, a path. ``files`` are
    those it is about: their paths, which may name a patient too, stand in the table's path column and nowhere else.
    """
    if isinstance(error, SeriatimError) and str(error):
        return leave_out(files, str(error))
    if isinstance(error, MemoryError):
        return "MemoryError: it does not fit memory. Use a machine with more of it."
    return f"{type(error).__name__}: it cannot be read or computed. Copy or export it again."


def leave_out(files: Iterable[Path], text: str) -> str:
    """The text with "The file" for the paths of ``files``, and for a name that it begins with."""
    for path in sorted(set(files), key=lambda one: len(str(one)), reverse=True):
        for shown in (str(path.absolute()), str(path)):
            text = text.replace(shown, "The file") if os.sep in shown else text
        text = re.sub(rf"^((?:[A-Z_]+: )?){re.escape(path.name)}(?=[ :])", r"\1The file", text)
    return text


def printable(text: str) -> str:
    r"""The text with what a terminal or a table would obey and not show written out: a file's name may hold ``\x1b``.

    Bytes of file names that are not UTF-8 (surrogates) are written out too, so that the text can be encoded.
    """
    if text.isprintable():
        return text
    return "".join(_write_out(sign) if unicodedata.category(sign) in _OBEYED else sign for sign in text)


_OBEYED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _write_out(sign: str) -> str:
    byte = ord(sign) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else sign.encode("unicode_escape").decode()
