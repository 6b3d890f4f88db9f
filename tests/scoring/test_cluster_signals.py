"""SIGTERM to the driver of a cluster is answered as on one machine."""

from __future__ import annotations

import signal
import sys
from types import SimpleNamespace

import pytest

from seriatim.scoring.cluster import Cluster, _connect


def test_ray_does_not_take_sigterm_from_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))  # as ray.init does in a driver

    ray = SimpleNamespace(init=init, is_initialized=lambda: False, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with _connect(Cluster(address="local")):
            assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, before)
