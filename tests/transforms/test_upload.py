"""Two buffers in turns: what arrives is what was sent, nothing is overwritten too soon, and there are never more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from fake_cuda import FakeCuda, FakeEvent, FakeStream
from seriatim.transforms.upload import ALIGNMENT, Upload

CPU = torch.device("cpu")
KINDS = (torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32, torch.bool)


def send_many(count: int = 9) -> None:
    """Pieces of all kinds and sizes, each worked with on the card while the next are sent."""
    upload, generator = Upload(CPU), torch.Generator().manual_seed(0)
    for turn in range(count):
        shape = (1 + turn % 3, 5, 7)
        sent = [torch.randint(0, 2 if kind is torch.bool else 100, shape, generator=generator).to(kind)
                for kind in (KINDS[turn % len(KINDS)], torch.bool)]
        with upload.send(*sent) as arrived:
            kept = [one.clone() for one in arrived]
        assert all(torch.equal(mine, theirs) and mine.dtype is theirs.dtype
                   for mine, theirs in zip(kept, sent, strict=True))


def test_what_arrives_is_what_was_sent_and_nothing_is_written_to_that_is_still_read(fake_cuda: FakeCuda) -> None:
    with fake_cuda:
        send_many()
    assert max(fake_cuda.sizes["card"]) <= 3 * 5 * 7 * 9 + 2 * ALIGNMENT


def drop(place: type, name: str, monkeypatch: pytest.MonkeyPatch, *, of: Callable[[object], bool]) -> None:
    """Let a step do nothing."""
    whole = getattr(place, name)
    monkeypatch.setattr(place, name, lambda self, *given: None if of(self) else whole(self, *given))


@pytest.mark.parametrize(("place", "name", "stream", "told"), [
    (FakeEvent, "synchronize", "", "host beside what stream 1 does to pinned"),
    (FakeStream, "wait_event", "stream 1", "stream 1 beside what default does to card"),
    (FakeStream, "wait_event", "default", "default beside what stream 1 does to card"),
])
def test_the_check_notices_each_step_that_is_missing(
    place: type, name: str, stream: str, told: str, fake_cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(place, name, monkeypatch, of=lambda one: getattr(one, "name", "") == stream)
    with fake_cuda:
        send_many()
    assert any(told in race for race in fake_cuda.races), fake_cuda.races
    fake_cuda.races.clear()


def test_the_check_notices_what_is_kept_of_a_buffer(fake_cuda: FakeCuda) -> None:
    with fake_cuda:
        upload = Upload(CPU)
        for _ in range(5):
            with upload.send(torch.ones(3)) as (kept,):
                pass
            kept.sum()
    assert fake_cuda.races
    fake_cuda.races.clear()


def test_buffers_can_be_used_in_and_out_of_inference_mode(fake_cuda: FakeCuda) -> None:
    upload = Upload(CPU)
    for inference in (True, False, False, True, False):
        with torch.inference_mode(inference), upload.send(torch.ones(3)) as (arrived,):
            assert float(arrived.sum()) == 3
