"""The ways of scoring CTs that scoring.py compares: ours, one series after the other, and what people write.

All take the same network in the same precision. Each way is a function of the series' folders to their probabilities.
"""

import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seriatim.experiment import Experiment
from seriatim.io import find_series
from seriatim.scoring.engine import score_one
from seriatim.scoring.pipeline import Resources, predict_all
from seriatim.scoring.pipeline_costs import Costs
from seriatim.series import Prediction
from seriatim.trained import Ensemble, Envelope, Model, load_ensemble

SIZE, LEVEL_HU, WIDTH_HU = 224, 40, 80
Way = Callable[[list[Path], Ensemble, int], list[float]]
costs: list[Costs] = []
"""Of each run of the pipeline."""


def make_model(encoder: dict[str, object], *, size: int = SIZE) -> Ensemble:
    """A network with random weights, as a trained model."""
    torch.manual_seed(0)
    experiment = Experiment.model_validate({
        "name": "bench", "data": {"manifest": "none.csv"},
        "preprocessing": {"kind": "ct", "size": size, "windows_hu": [[LEVEL_HU, WIDTH_HU]]},
        "network": {"encoder": encoder},
        "task": {"kind": "diagnosis", "target": "binary", "labels": ["bleed"]},
        "training": {"epochs": 1},
    })
    task = experiment.task.build()
    network = experiment.network.build(experiment.preprocessing.channels, task.outputs).requires_grad_(False)
    settle_statistics(network)
    envelope = Envelope(modalities=("CT",), planes=(), axis="space", slices=(1, 9999), slice_spacing_mm=None)
    model = Model(network=network, experiment=experiment, task=task, thresholds={"bleed": 0.5}, envelope=envelope,
                  digest="bench", path=Path("bench"))
    return load_ensemble([model])


def settle_statistics(network: nn.Module) -> None:
    """Let BatchNorm know some pictures: else a random network answers nearly the same to all."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    pictures = functional.interpolate(torch.rand(8, 1, 14, 14), size=(SIZE, SIZE), mode="bilinear")
    network.train()
    network.encoder(pictures)
    network.eval()


def score_pipeline(folders: list[Path], model: Ensemble, threads: int) -> list[float]:
    """seriatim: the pipeline, with as many decoding processes as threads."""
    known = {folder: find_series(folder).series[0] for folder in dict.fromkeys(folders)}
    costs.append(Costs())
    resources = Resources(workers=threads, threads=threads)
    found = dict(predict_all([known[folder] for folder in folders], model, resources=resources, costs=costs[-1]))
    return [read_probability(found[index]) for index in range(len(folders))]


def score_in_turn(folders: list[Path], model: Ensemble, threads: int) -> list[float]:
    """seriatim: one series after the other, each read, prepared and encoded in its turn."""
    torch.set_num_threads(threads)
    known = {folder: find_series(folder).series[0] for folder in dict.fromkeys(folders)}
    return [read_probability(score_one(known[folder], model)) for folder in folders]


def score_monai(folders: list[Path], model: Ensemble, threads: int) -> list[float]:
    """LoadImage with PydicomReader, dictionary transforms and a DataLoader with worker processes."""
    from monai.data import DataLoader, Dataset
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Resized, ScaleIntensityRanged

    torch.set_num_threads(threads)
    low, high = LEVEL_HU - WIDTH_HU / 2, LEVEL_HU + WIDTH_HU / 2
    transform = Compose([
        LoadImaged("image", reader="PydicomReader"),
        EnsureChannelFirstd("image"),
        ScaleIntensityRanged("image", a_min=low, a_max=high, b_min=0, b_max=1, clip=True),
        Resized("image", spatial_size=(SIZE, SIZE, -1), mode="trilinear"),
    ])
    data = Dataset([{"image": str(folder)} for folder in folders], transform)
    found = []
    for batch in DataLoader(data, batch_size=1, num_workers=threads):
        image = batch["image"].as_tensor()[0, 0]  # (columns, rows, slices)
        found.append(ask_network(model, image.permute(2, 1, 0)[:, None]))
    return found


def score_simpleitk(folders: list[Path], model: Ensemble, threads: int) -> list[float]:
    """SimpleITK's series reader, then torch."""
    import SimpleITK

    torch.set_num_threads(threads)
    found = []
    for folder in folders:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        stack = torch.from_numpy(SimpleITK.GetArrayFromImage(reader.Execute()).astype(np.float32))
        small = functional.interpolate(stack[:, None], size=(SIZE, SIZE), mode="bilinear", antialias=True)
        found.append(ask_network(model, ((small - (LEVEL_HU - WIDTH_HU / 2)) / WIDTH_HU).clamp(0, 1)))
    return found


def ask_network(model: Ensemble, slices: Tensor) -> float:
    """The probability of one series (S,1,H,W), encoded as one batch."""
    with torch.inference_mode():
        output = model.members[0].network(slices[None], torch.ones(1, len(slices), dtype=torch.bool))
    return float(output.volume_logits[0, 0].double().sigmoid())


def read_probability(found: Prediction) -> float:
    if found.status != "scored":
        raise RuntimeError(found.reason)
    return found.probabilities["bleed"]


WAYS: dict[str, Way] = {
    "pipeline": score_pipeline, "in turn": score_in_turn, "MONAI script": score_monai,
    "SimpleITK + torch": score_simpleitk,
}


def print_stages(rounds: list[Costs]) -> None:
    """Where the processors' time went, and what waited, of the median round by its efficiency."""
    told = sorted(rounds, key=lambda one: one.efficiency)[len(rounds) // 2]
    whole = sum(told.cpu_s.values())
    for stage, seconds in sorted(told.cpu_s.items(), key=lambda item: -item[1]):
        print(f"    {stage:10} {seconds:8.2f} s of the processors   {100 * seconds / whole:5.1f} %")
    for who, seconds in told.waits_s.items():
        print(f"    waiting: {who:24} {seconds:8.2f} s")
    efficiency = statistics.median(one.efficiency for one in rounds)
    print(f"    processor time of the stages over {told.cores} cores x wall: {efficiency:.2f}")
