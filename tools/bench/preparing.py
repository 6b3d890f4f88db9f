"""Windowing and resizing a CT in pieces against the same steps over the whole stack, and against MONAI's transforms."""

import statistics
from pathlib import Path
from time import thread_time

import reading
import torch
from torch import Tensor
from torch.nn import functional

from seriatim.io import find_series, read_volume
from seriatim.series import Volume
from seriatim.transforms import CTSettings

SETTINGS = CTSettings(size=224, windows_hu=((40, 80), (80, 200), (600, 2800)))


def bench(folder: Path, slices: int, rounds: int) -> None:
    """One series of 512 x 512; processor time of one thread, all ways in turns, after their results were compared."""
    torch.set_num_threads(1)
    reading.write_series(folder / "ct", reading.make_stack(slices))
    (series,) = find_series(folder / "ct").series
    volume = read_volume(series)
    ways = {"in pieces": prepare_in_pieces, "the whole stack": prepare_whole, "MONAI": prepare_monai}
    expected = prepare_in_pieces(volume)
    if not torch.equal(prepare_whole(volume), expected):
        raise SystemExit("in pieces and as a whole give other bits")
    apart = float((prepare_monai(volume) - expected).abs().mean())
    print(f"  MONAI's differ by {apart:.4f} of the window on average: it does not antialias")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = thread_time()
            way(volume)
            seconds[name].append(thread_time() - started)
    for name, times in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(times, seconds["in pieces"], strict=True)]
        print(f"  {name:16} {1000 * statistics.median(times) / slices:6.2f} ms a slice   "
              f"{statistics.median(ratios):5.2f} x the processor time of ours")


def prepare_in_pieces(volume: Volume) -> Tensor:
    prepared = SETTINGS.prepare(volume)
    return torch.cat([SETTINGS.finish(prepared, slice(start, start + 8)) for start in range(0, len(prepared), 8)])


def prepare_whole(volume: Volume) -> Tensor:
    """Every step over the whole stack."""
    stack = torch.as_tensor(volume.array).float()
    if not bool(torch.isfinite(stack).all()):
        raise SystemExit("not numbers")
    small = functional.interpolate(stack[:, None], size=SETTINGS.size, mode="bilinear", antialias=True)[:, 0]
    channels = [((small - (level - width / 2)) / width).clamp(0, 1) for level, width in SETTINGS.windows_hu]
    return torch.stack(channels, dim=1)


def prepare_monai(volume: Volume) -> Tensor:
    """Dictionary transforms for each window."""
    from monai.transforms import Compose, Resized, ScaleIntensityRanged

    image = torch.as_tensor(volume.array)[None].permute(0, 3, 2, 1)
    names = [f"window{place}" for place in range(len(SETTINGS.windows_hu))]
    scale = [ScaleIntensityRanged(name, level - width / 2, level + width / 2, 0, 1, clip=True)
             for name, (level, width) in zip(names, SETTINGS.windows_hu, strict=True)]
    found = Compose([*scale, Resized(names, (*SETTINGS.size, -1), mode="trilinear")])(dict.fromkeys(names, image))
    return torch.cat([torch.as_tensor(found[name]).permute(3, 0, 2, 1) for name in names], dim=1)

