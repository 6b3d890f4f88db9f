"""Heat lies where the cells look, for real encoders: a planted dot is found at its own place."""

import pytest
import torch

from seriatim.explanation.alignment import locate_cells, resize_heat
from seriatim.models.small_cnn import SmallCNNSettings
from seriatim.models.torchvision_encoder import TorchvisionSettings


def measure_centre(encoder: torch.nn.Module, cell: tuple[int, int], size: int) -> tuple[float, float]:
    """The centre of what a cell sees, from the extent of its gradient over many random inputs."""
    slices = torch.rand(1, 3, size, size, requires_grad=True)
    maps = encoder.feature_maps(slices)
    (gradient,) = torch.autograd.grad(maps[0, :, cell[0], cell[1]].sum(), slices)
    weight = gradient[0].abs().sum(dim=0)
    rows = torch.arange(size, dtype=torch.float32)
    return float((weight.sum(1) * rows).sum() / weight.sum()), float((weight.sum(0) * rows).sum() / weight.sum())


@pytest.mark.parametrize(
    ("name", "size"),
    [("small_cnn", 96), ("resnet18", 224), ("mobilenet_v2", 224), pytest.param("vgg11", 96, marks=pytest.mark.slow)],
)
def test_a_cell_is_placed_where_its_gradient_is_centred(name: str, size: int) -> None:
    torch.manual_seed(0)
    settings = SmallCNNSettings() if name == "small_cnn" else TorchvisionSettings(name=name)
    encoder = settings.build(3).eval()
    cells = encoder.feature_maps(torch.zeros(1, 3, size, size)).shape[2]
    middle = cells // 2
    grid = locate_cells(encoder, torch.zeros(1, 3, size, size))
    centres = [measure_centre(encoder, (middle, middle), size) for _ in range(8)]
    mean = [sum(one[axis] for one in centres) / len(centres) for axis in (0, 1)]
    for axis in (0, 1):
        placed = grid.offset[axis] + grid.stride[axis] * middle
        evenly = (middle + 0.5) * size / cells - 0.5
        assert abs(mean[axis] - placed) < 0.2 * grid.stride[axis]
        if name != "vgg11":  # its pooling is 2x2: cells are spread evenly there
            assert abs(evenly - placed) > 0.4 * grid.stride[axis]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_cells_of_two_resolutions_stand_on_the_finer_grid(name: str) -> None:
    torch.manual_seed(0)
    last, both = (TorchvisionSettings(name=name, stages=stages).build(3).eval() for stages in (1, 2))
    slices = torch.zeros(1, 3, 224, 224)
    coarse, fine = locate_cells(last, slices), locate_cells(both, slices)
    assert (coarse.stride, fine.stride) == ((32.0, 32.0), (16.0, 16.0))
    finer = torch.nn.Module()
    finer.feature_maps = lambda given: both.feature_maps(given)[:, both.depth :]
    centres = [measure_centre(finer, (7, 7), 224) for _ in range(8)]
    for axis in (0, 1):
        mean = sum(one[axis] for one in centres) / len(centres)
        assert abs(mean - fine.offset[axis] - fine.stride[axis] * 7) < 0.2 * fine.stride[axis]


def test_heat_peaks_on_the_pixel_of_its_cell_and_does_not_wrap() -> None:
    encoder = SmallCNNSettings().build(1).eval()
    grid = locate_cells(encoder, torch.zeros(1, 1, 96, 96))
    assert grid.stride == (16.0, 16.0)
    assert grid.offset == (0.0, 0.0)
    heat = torch.zeros(1, 6, 6)
    heat[0, 2, 4] = 1
    resized = resize_heat(heat, grid, size=(96, 96))[0]
    assert divmod(int(resized.argmax()), 96) == (32, 64)
    assert float(resized[32, 64]) == pytest.approx(1.0, abs=1e-5)
    assert float(resized[:16].max()) == 0.0


def test_one_cell_covers_everything() -> None:
    encoder = SmallCNNSettings().build(1).eval()
    grid = locate_cells(encoder, torch.zeros(1, 1, 16, 16))
    assert torch.equal(resize_heat(torch.full((1, 1, 1), 0.5), grid, size=(16, 16)), torch.full((1, 16, 16), 0.5))
