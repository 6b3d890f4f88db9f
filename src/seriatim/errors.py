"""The errors seriatim raises: one base class, few children.

A message tells what, where, the value, and the repair, in one sentence or two, and never a patient's name or ID.
"""


class SeriatimError(Exception):
    """Base of every error that a user can cause and repair."""


class ConfigError(SeriatimError, ValueError):
    """A configuration, a command line or a manifest says something that cannot be."""


class InputError(SeriatimError):
    """A file or a series cannot be read, or must not be used."""


class DecoderError(InputError):
    """Pixel data cannot be decoded: the decoder is missing, or the data is damaged."""


class ModelError(SeriatimError):
    """A run folder or a weights file is incomplete, changed or does not fit."""


class OutputError(SeriatimError):
    """A result cannot be written where it was asked for."""
