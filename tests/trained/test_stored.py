"""A series sent to a card as it is stored: the bits of one prepared here, in an order that nothing overtakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from fake_cuda import FakeCuda
from seriatim.errors import InputError
from seriatim.io import Limits, find_series, read_volume
from seriatim.models.chunks import CHUNK, encode_in_chunks
from seriatim.models.small_cnn import SmallCNN
from seriatim.scoring.engine import score_one
from seriatim.scoring.pipeline import Resources, predict_all
from seriatim.trained import Ensemble, load_ensemble
from seriatim.trained.prepared import prepare_series
from seriatim.trained.stored import StoredSeries
from seriatim.transforms import CTSettings
from seriatim.transforms.upload import ALIGNMENT
from volumes import draw_settings, draw_volume


@pytest.mark.parametrize("cases", [16, pytest.param(240, marks=pytest.mark.slow)])
def test_slices_embeddings_and_intensities_have_the_bits_of_a_series_prepared_here(
    fake_cuda: FakeCuda, cases: int
) -> None:
    for case in range(cases):
        settings, volume = draw_settings(case), draw_volume(case)
        encoder = SmallCNN(settings.channels, widths=(4, 8)).eval().requires_grad_(False)
        here, there = prepare_series(volume, settings), StoredSeries(volume, settings, device="cpu")
        assert len(there) == len(here)
        with torch.inference_mode(), fake_cuda:
            expected = encode_in_chunks(encoder, here)
            assert torch.equal(encode_in_chunks(encoder, there), expected), case
        assert there.intensity == here.intensity, case
        assert torch.equal(there[:], here[:]), "not in inference mode, and all at once"
        assert torch.equal(there[3:5], here[3:5])
        assert StoredSeries(volume, settings, device="cpu").intensity == here.intensity, "nobody asked for slices"


def test_a_part_beyond_the_last_slice_is_empty(fake_cuda: FakeCuda) -> None:
    for settings in (CTSettings(size=24), CTSettings(size=24, neighbours=2)):
        volume = draw_volume(1, slices=2)
        for series in (prepare_series(volume, settings), StoredSeries(volume, settings, device="cpu")):
            whole = series[0:2]  # after which the next slice that is looked at is the one beyond the last
            assert series[3:5].shape == (0, *whole.shape[1:])


@pytest.mark.parametrize("slices", [9, 100])
def test_the_card_holds_two_pieces_however_long_the_series(fake_cuda: FakeCuda, slices: int) -> None:
    settings, volume = CTSettings(size=24, neighbours=2), draw_volume(1, slices=slices)
    series = StoredSeries(volume, settings, device="cpu")
    for start in range(0, slices, CHUNK):
        series[start : start + CHUNK]
    piece = CHUNK * 30 * 40 * (2 + 1)  # int16, and a byte where it is padded
    assert volume.array.dtype == np.int16
    assert len(fake_cuda.sizes["card"]) == len(fake_cuda.sizes["pinned"]) <= 3, "one was made anew: it was too small"
    assert all(size <= piece + 2 * ALIGNMENT for kind in fake_cuda.sizes.values() for size in kind)


class OneDevice(TorchDispatchMode):
    """Refuses steps whose tensors lie on several devices: but for a copy, each makes this process wait for the card."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor) and one.ndim]
        places = {one.device.type for one in tensors}
        assert len(places) < 2 or func is torch.ops.aten.copy_.default, f"{func} on {places}"
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_card_before_all_slices_are_encoded(fake_cuda: FakeCuda) -> None:
    """Tensors on ``meta`` have no values: who asks for one gets an error."""
    for case in range(16):
        settings, volume = draw_settings(case), draw_volume(case, slices=19)
        encoder = SmallCNN(settings.channels, widths=(4, 8)).eval().requires_grad_(False).to("meta")
        with torch.inference_mode(), OneDevice():
            series = StoredSeries(volume, settings, device="meta")
            found = encode_in_chunks(encoder, series, device=torch.device("meta"))
        assert found.shape == (19, 8)
        assert found.device.type == "meta"


def test_what_is_refused_here_is_refused_before_anything_is_sent(fake_cuda: FakeCuda) -> None:
    volume = draw_volume(3)
    broken = volume.array.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="BAD_VALUE: 1 pixels"):
        StoredSeries(replace(volume, array=broken), draw_settings(3), device="cpu")
    picture = replace(draw_volume(8), series=replace(volume.series, format="nifti"))
    with pytest.raises(InputError, match="windowed already"):
        StoredSeries(picture, CTSettings(size=24), device="cpu")
    assert not fake_cuda.sizes["card"]


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> Ensemble:
    return replace(load_ensemble(tiny_run), limits=Limits(isolated=False))


def send(model: Ensemble, monkeypatch: pytest.MonkeyPatch) -> Ensemble:
    """The same model, which sends series to the fake card."""
    monkeypatch.setattr(Ensemble, "card", "cpu")
    return model


def test_scores_are_those_of_a_series_prepared_here(
    model: Ensemble, head_ct: Path, fake_cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_series(head_ct).series[:4]
    expected = [score_one(one, model) for one in found]
    sending = send(model, monkeypatch)
    assert isinstance(sending.prepare(read_volume(found[0]))[0], StoredSeries)
    room = 3 * 4 * sum(len(one.instances) for one in found) * 32 * 32
    told = dict(predict_all(found, sending, resources=Resources(workers=2, threads=1, memory_bytes=room)))
    for place, one in enumerate(expected):
        assert told[place].probabilities == one.probabilities
        assert told[place].distance == one.distance
        assert np.array_equal(told[place].attention, one.attention)
    assert fake_cuda.sizes["card"]


def test_only_a_model_that_computes_on_one_card_sends(model: Ensemble) -> None:
    member = model.members[0]

    def on(*devices: str) -> str:
        members = [replace(member, digest=str(place), compute=replace(member.compute, device=device))
                   for place, device in enumerate(devices)]
        return replace(model, groups=((tuple(members),),)).card

    assert model.card == ""
    assert on("cuda:1") == on("cuda:1", "cuda:1") == "cuda:1"
    assert on("cuda", "cpu") == on("mps") == on("cuda:0", "cuda:1") == ""
    exported = replace(member, compute=replace(member.compute, backend="onnx", device="cuda"))
    assert replace(model, groups=(((exported,),),)).card == "", "other libraries take tensors from the CPU"
