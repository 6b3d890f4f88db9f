"""Lanes: one thread each, side by side, the same bits whatever torch may use."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest
import torch

from seriatim.models import NetworkSettings
from seriatim.models.lanes import Lanes, on_lanes
from seriatim.tasks import DiagnosisSettings
from seriatim.tasks.predict import score_series
from seriatim.tasks.views import ViewSettings


@pytest.fixture
def threads() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order_from_threads_that_use_one(threads: None, count: int) -> None:
    torch.set_num_threads(count)
    found = on_lanes(lambda item: (item, torch.get_num_threads(), threading.current_thread().name), range(20))
    assert [item for item, _, _ in found] == list(range(20))
    assert {used for _, used, _ in found} == {1}
    assert torch.get_num_threads() == count
    assert (threading.main_thread().name in {name for _, _, name in found}) == (count == 1)


def test_a_lane_never_waits_for_a_lane(threads: None) -> None:
    torch.set_num_threads(2)
    assert on_lanes(lambda row: sum(on_lanes(lambda cell: cell, range(row))), range(30)) == [
        sum(range(row)) for row in range(30)
    ]


def test_modes_of_the_caller_hold_in_a_lane(threads: None) -> None:
    torch.set_num_threads(2)

    def told(_: int) -> tuple[bool, bool]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    assert on_lanes(told, range(3)) == [(True, False)] * 3
    with torch.no_grad():
        assert on_lanes(told, range(3)) == [(False, False)] * 3
    with torch.inference_mode():
        assert on_lanes(told, range(3)) == [(False, True)] * 3


def test_threads_that_start_later_may_use_what_they_might_before(threads: None) -> None:
    torch.set_num_threads(3)
    lanes = Lanes(2)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    lanes.shutdown()
    assert found == [3]


def test_an_error_is_the_callers(threads: None) -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        on_lanes(lambda item: 1 // item, range(3))


def test_a_thread_uses_lanes_of_its_own_until_they_are_shut_down() -> None:
    lanes, found = Lanes(2, name="own"), []

    def work() -> None:
        lanes.use()
        found.extend(on_lanes(lambda _: threading.current_thread().name, range(5)))
        lanes.shutdown()
        with pytest.raises(CancelledError):
            on_lanes(abs, range(5))
        found.append("ended")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert {name.partition("_")[0] for name in found[:-1]} == {"own"}
    assert found[-1] == "ended"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_fork_has_lanes_of_its_own(threads: None) -> None:
    torch.set_num_threads(2)
    on_lanes(abs, range(3))
    child = os.fork()
    if child == 0:
        os._exit(0 if on_lanes(abs, [-1, 2]) == [1, 2] else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("encoder", [
    {"kind": "small_cnn"},
    pytest.param({"kind": "torchvision", "name": "mobilenet_v2"}, marks=pytest.mark.slow),
    pytest.param({"kind": "torchvision", "name": "efficientnet_b0"}, marks=pytest.mark.slow),
])
def test_threads_change_no_bit_of_a_score(threads: None, encoder: dict[str, str]) -> None:
    """With the libraries' own threads MobileNetV2 and the LSTM of the small network gave other bits on 2 and on 1."""
    torch.manual_seed(0)
    network = NetworkSettings.model_validate({"encoder": encoder}).build(2, 1).eval()
    task = DiagnosisSettings(target="binary", labels=("bleed",)).build()
    slices, views = torch.rand(37, 2, 64, 64), ViewSettings(flip_left_right=True, reverse_order=True)
    found = []
    for count in (1, 2, 3, 8):
        torch.set_num_threads(count)
        found.append(score_series(network, task, slices, views))
    for other in found[1:]:
        for name in ("probabilities", "attention", "slice_probabilities", "uncalibrated"):
            assert torch.equal(getattr(found[0], name), getattr(other, name)), name
