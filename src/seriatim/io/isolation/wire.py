"""Values <-> JSON for the talk with a worker process: plain values and the project's own dataclasses, exactly.

Never pickle: what comes from a worker is data that a hostile file may have shaped. It is read as the type that was
asked for, and anything else is a WireError.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

Read = Callable[[Any], Any]
MAX_ARRAY_VALUES = 1 << 23
"""Small arrays (an affine, the positions) go as numbers; pixels never go this way."""


class WireError(ValueError):
    """A message is not of the type that was asked for."""


def to_plain(value: Any) -> Any:
    """``value`` as what JSON can hold: a Path as text, a dataclass as a mapping, an array as its numbers.

    Raises:
        WireError: the value is of a type that does not travel.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum | np.generic):
        return value.value if isinstance(value, Enum) else value.item()
    if isinstance(value, np.ndarray) and value.size <= MAX_ARRAY_VALUES and value.dtype.kind in "iuf":
        return {"dtype": value.dtype.str, "shape": list(value.shape), "values": value.ravel().tolist()}
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    raise WireError(f"{type(value).__name__} does not travel")


def from_plain(kind: Any, plain: Any) -> Any:
    """``plain`` as a value of the type ``kind``: the reverse of ``to_plain``.

    Raises:
        WireError: it is none.
    """
    try:
        return _reader(kind)(plain)
    except WireError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise WireError(f"no {kind}: {type(error).__name__}") from error


@functools.cache
def _reader(kind: Any) -> Read:
    """The function that reads values of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in (str, int, bool):
        return functools.partial(_read_exact, kind)
    if kind is float:
        return _read_float
    if kind in (None, types.NoneType):
        return functools.partial(_read_exact, types.NoneType)
    if origin in (Union, types.UnionType):
        return functools.partial(_read_union, tuple(_reader(one) for one in arguments))
    if origin is Literal:
        return functools.partial(_read_literal, arguments)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _sequence_reader(tuple if origin is tuple else list, arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return functools.partial(_read_mapping, _reader(arguments[0]), _reader(arguments[1]))
    if origin is np.ndarray:
        return _read_array
    return _class_reader(kind)


def _class_reader(kind: Any) -> Read:
    if isinstance(kind, type) and issubclass(kind, Path):
        return lambda plain: kind(_read_exact(str, plain))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return lambda plain: kind(_read_exact(str, plain))
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
        return functools.partial(_read_dataclass, kind, readers)
    raise WireError(f"{kind} does not travel")


def _sequence_reader(origin: type, arguments: tuple[Any, ...]) -> Read:
    if origin is list or arguments[-1] is Ellipsis:
        return functools.partial(_read_sequence, origin, _reader(arguments[0]))
    return functools.partial(_read_tuple, tuple(_reader(one) for one in arguments))


def _read_exact(kind: type, plain: Any) -> Any:
    if type(plain) is not kind:
        raise WireError(f"{type(plain).__name__} instead of {kind.__name__}")
    return plain


def _read_float(plain: Any) -> float:
    if type(plain) not in (float, int):
        raise WireError(f"{type(plain).__name__} instead of float")
    return plain  # type: ignore[no-any-return]


def _read_union(readers: tuple[Read, ...], plain: Any) -> Any:
    for read in readers:
        try:
            return read(plain)
        except (TypeError, ValueError, KeyError, AttributeError):
            continue
    raise WireError("none of the types that are possible here")


def _read_literal(values: tuple[Any, ...], plain: Any) -> Any:
    if not any(type(plain) is type(value) and plain == value for value in values):
        raise WireError(f"none of {values}")
    return plain


def _read_sequence(origin: type, read: Read, plain: Any) -> Any:
    return origin(read(item) for item in _read_exact(list, plain))


def _read_tuple(readers: tuple[Read, ...], plain: Any) -> Any:
    return tuple(read(item) for read, item in zip(readers, _read_exact(list, plain), strict=True))


def _read_mapping(read_key: Read, read_value: Read, plain: Any) -> Any:
    return {read_key(key): read_value(item) for key, item in _read_exact(dict, plain).items()}


def _read_array(plain: Any) -> Any:
    dtype = np.dtype(_read_exact(str, plain["dtype"]))
    if dtype.kind not in "iuf":
        raise WireError(f"an array of {dtype}")
    return np.array(plain["values"], dtype=dtype).reshape(plain["shape"])


def _read_dataclass(kind: Any, readers: Mapping[str, Read], plain: Any) -> Any:
    if _read_exact(dict, plain).keys() != readers.keys():
        raise WireError(f"no {kind.__name__}: other fields")
    return kind(**{name: read(plain[name]) for name, read in readers.items()})
