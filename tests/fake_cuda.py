"""Streams, events and graphs of CUDA on a CPU, which notice what a card would be free to do at the same time.

Everything happens at once here, but each stream and the host carry a vector clock (Fidge 1988; Mattern 1989), and each
access to memory that both sides share must come after those it conflicts with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

Clock = Counter[str]


class FakeStream:
    def __init__(self, cuda: FakeCuda, name: str) -> None:
        self.cuda, self.name, self.clock = cuda, name, Clock()

    def wait_event(self, event: FakeEvent) -> None:
        self.clock |= self.cuda.host | event.clock

    def wait_stream(self, other: FakeStream) -> None:
        self.clock |= self.cuda.host | other.clock


class FakeEvent:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda, self.clock = cuda, Clock()

    def record(self, stream: FakeStream) -> None:
        self.clock = stream.clock | self.cuda.host

    def synchronize(self) -> None:
        self.cuda.host |= self.clock


class FakeCuda(TorchDispatchMode):
    """In place of what ``torch.cuda`` offers.

    ``races`` are the accesses, while it is entered, that nothing keeps in order. ``sizes`` are the bytes of each tensor
    that ``torch.empty`` gave on the card, or pinned; ``graphs`` are those that were made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.host: Clock = Clock()
        self.default = self.current = FakeStream(self, "default")
        self.streams = [self.default]
        self.races: list[str] = []
        self.graphs: list[FakeGraph] = []
        self.sizes: dict[str, list[int]] = {"card": [], "pinned": []}
        self._kinds: dict[int, str] = {}
        self._kept: list[torch.Tensor] = []
        self._seen: dict[int, list[tuple[str, int, bool]]] = {}

    def make_stream(self, _device: object = None) -> FakeStream:
        self.streams.append(FakeStream(self, f"stream {len(self.streams)}"))
        return self.streams[-1]

    @contextmanager
    def use(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def allocate(self, *size: Any, **options: Any) -> torch.Tensor:
        kind = "pinned" if options.pop("pin_memory", False) else "card" if "device" in options else ""
        made = EMPTY(*size, **options)
        if kind:
            self._kinds[made.untyped_storage().data_ptr()] = kind
            self._kept.append(made)  # so that no other memory gets its address
            self.sizes[kind].append(made.numel() * made.element_size())
        return made

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns):
            self._note(func, args, kwargs or {})
        return found

    def _note(self, func: Any, args: Any, kwargs: Any) -> None:
        touched: dict[int, bool] = {}
        for argument, value in [*zip(func._schema.arguments, args, strict=False),
                                *((one, kwargs[one.name]) for one in func._schema.arguments if one.name in kwargs)]:
            for tensor in tree_flatten(value)[0]:
                if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() in self._kinds:
                    writes = argument.alias_info is not None and argument.alias_info.is_write
                    touched[tensor.untyped_storage().data_ptr()] = writes
        by_card = any(self._kinds[key] == "card" for key in touched)
        for key, writes in touched.items():
            self._access(key, writes=writes, stream=self.current if by_card else None, what=str(func))

    def _access(self, key: int, *, writes: bool, stream: FakeStream | None, what: str) -> None:
        name = "host" if stream is None else stream.name
        if stream is not None:
            stream.clock |= self.host  # it was given to the stream just now
        clock = self.host if stream is None else stream.clock
        clock[name] += 1
        for other, moment, wrote in self._seen.setdefault(key, []):
            if (writes or wrote) and moment > clock[other]:
                self.races.append(f"{what} of {name} beside what {other} does to {self._kinds[key]} memory")
        self._seen[key].append((name, clock[name], writes))


class FakeGraph:
    """A graph that does again what was done under ``capture``, in the same memory."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, Any, Any]] = []
        self.replayed = 0

    def replay(self) -> None:
        self.replayed += 1
        for func, args, kwargs, held in self.steps:
            again = func(*args, **kwargs)
            for old, new in zip(tree_flatten(held)[0], tree_flatten(again)[0], strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Recorder(TorchDispatchMode):
    def __init__(self, graph: FakeGraph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        held = func(*args, **(kwargs or {}))
        self.graph.steps.append((func, args, kwargs or {}, held))
        return held


EMPTY = torch.empty


def install(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """``torch.cuda`` of one card, whose memory is the CPU's."""
    cuda = FakeCuda()

    @contextmanager
    def capture(graph: FakeGraph, *, stream: FakeStream, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        with cuda.use(stream), Recorder(graph):
            yield

    def make_graph() -> FakeGraph:
        cuda.graphs.append(FakeGraph())
        return cuda.graphs[-1]

    monkeypatch.setattr(torch, "empty", cuda.allocate)
    monkeypatch.setattr(torch.cuda, "Stream", cuda.make_stream)
    monkeypatch.setattr(torch.cuda, "Event", lambda **_options: FakeEvent(cuda))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device=None: cuda.current)
    monkeypatch.setattr(torch.cuda, "stream", cuda.use)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", make_graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    return cuda
