"""The form in which networks compute where nothing is learnt: the same function, never a stale one, one for all."""

import gc
import weakref

import pytest
import torch
from torch import nn

from seriatim.models import NetworkSettings, encode_in_chunks
from seriatim.models.encoder import digest_weights
from seriatim.models.inference import forget_forms, inference_form, make_inference_form
from seriatim.models.torchvision_encoder import TorchvisionSettings
from seriatim.tasks.predict import embed_series


def build(name: str, **options: str):
    """An encoder with statistics and scales that matter, in eval mode."""
    torch.manual_seed(0)
    encoder = TorchvisionSettings(name=name, **options).build(1).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return encoder


def count_norms(module: nn.Module) -> int:
    return sum(isinstance(one, nn.BatchNorm2d) for one in module.modules())


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet18", 0),
        ("mobilenet_v2", 0),
        ("densenet121", 62),  # its blocks' first norms and those between blocks come before convolutions
        pytest.param("efficientnet_b0", 0, marks=pytest.mark.slow),
        pytest.param("googlenet", 0, marks=pytest.mark.slow),
        pytest.param("regnet_y_400mf", 0, marks=pytest.mark.slow),
        pytest.param("shufflenet_v2_x0_5", 0, marks=pytest.mark.slow),
        pytest.param("resnext50_32x4d", 0, marks=pytest.mark.slow),
        pytest.param("vgg11_bn", 0, marks=pytest.mark.slow),
    ],
)
def test_it_computes_the_same_function_with_fewer_norms(name: str, left: int) -> None:
    encoder, slices = build(name), torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        form, before = encoder.for_inference(), encoder(slices)
        assert count_norms(form) == left < count_norms(encoder)
        scale = float(before.abs().max())
        torch.testing.assert_close(form(slices) / scale, before / scale, atol=1e-5, rtol=0)
        assert torch.equal(encode_in_chunks(encoder, slices, chunk_size=3), form(channels_last(slices)))


def channels_last(slices: torch.Tensor) -> torch.Tensor:
    return slices.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("settings", [
    {"kind": "small_cnn"},
    *(pytest.param({"kind": "torchvision", "name": name}, marks=pytest.mark.slow)
      for name in ("convnext_tiny", "swin_t", "vit_b_32", "alexnet")),
])  # fmt: skip
def test_what_has_no_norm_behind_a_convolution_stays_as_it_is(settings: dict[str, str]) -> None:
    encoder = NetworkSettings.model_validate({"encoder": settings}).encoder.build(1).eval()
    with torch.no_grad():
        assert encoder.for_inference() is encoder


def test_the_encoder_itself_computes_where_something_is_learnt() -> None:
    encoder = build("resnet18")
    assert encoder.for_inference() is encoder, "gradients are recorded"
    with torch.no_grad():
        form = encoder.for_inference()
        assert form is not encoder
        next(one for one in encoder.modules() if isinstance(one, nn.BatchNorm2d)).train()
        assert encoder.for_inference() is encoder, "one norm reads its batch"
        assert encoder.eval().for_inference() is form
    slices = torch.rand(2, 1, 64, 64, requires_grad=True)
    encode_in_chunks(encoder, slices, chunk_size=2).sum().backward()
    assert encoder.trunk.conv1.weight.grad is not None
    assert slices.grad is not None


def test_weights_keys_and_modes_are_those_of_the_plain_network() -> None:
    encoder = build("resnet18")
    names, digest = list(encoder.state_dict()), digest_weights(encoder)
    learns = [one.requires_grad for one in encoder.parameters()]
    with torch.inference_mode():
        form = encoder.for_inference()
    assert list(encoder.state_dict()) == names
    assert digest_weights(encoder) == digest
    assert [one.requires_grad for one in encoder.parameters()] == learns
    assert not any(one.requires_grad or one.is_inference() for one in form.parameters())


def step(encoder: nn.Module, *, fused: bool = False) -> None:
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.05, fused=fused)
    encoder(torch.rand(2, 1, 64, 64)).square().sum().backward()
    optimizer.step()


def replace_weight(encoder: nn.Module) -> None:
    encoder.trunk.conv1.weight = nn.Parameter(encoder.trunk.conv1.weight.detach() + 0.1)


def read_statistics(encoder: nn.Module) -> None:
    encoder.train()
    with torch.no_grad():
        encoder(torch.rand(4, 1, 64, 64))
    encoder.eval()


def load_others(encoder: nn.Module) -> None:
    encoder.load_state_dict({name: one + 1 for name, one in encoder.state_dict().items()})


def move_there_and_back(encoder: nn.Module) -> None:
    step(encoder.double().float())


def step_unseen(encoder: nn.Module) -> None:
    step(encoder, fused=True)  # torch counts no change of this
    forget_forms()


@pytest.mark.parametrize(
    "change", [step, replace_weight, read_statistics, load_others, move_there_and_back, step_unseen]
)
def test_a_form_is_never_stale(change) -> None:
    encoder, slices = build("resnet18"), torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        before = encode_in_chunks(encoder, slices, chunk_size=2)
        assert encoder.for_inference() is encoder.for_inference(), "it is kept"
    change(encoder)
    with torch.inference_mode():
        after = encode_in_chunks(encoder, slices, chunk_size=2)
        assert torch.equal(after, make_inference_form(encoder)(channels_last(slices)))
    assert not torch.allclose(after, before, atol=1e-3, rtol=1e-3)


def test_a_form_lives_as_long_as_its_encoder() -> None:
    encoder = build("resnet18")
    with torch.no_grad():
        form = weakref.ref(encoder.for_inference())
        assert form() is not None
    del encoder
    gc.collect()
    assert form() is None


def test_weights_that_were_made_in_inference_mode_are_joined_anew_each_time() -> None:
    with torch.inference_mode():
        encoder, slices = build("resnet18"), torch.rand(2, 1, 64, 64)
        before = encode_in_chunks(encoder, slices, chunk_size=2)
        encoder.trunk.conv1.weight.mul_(2.0)
        after = encode_in_chunks(encoder, slices, chunk_size=2)
        assert not torch.allclose(after, before, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(after, encoder(slices), atol=1e-4, rtol=1e-4)


class BeforeIts(nn.Module):
    """A block that norms what a convolution of the same number then reads, as in He et al. 2016 (arXiv:1603.05027)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.conv1(self.bn1(maps))


class Backwards(nn.Sequential):
    """A chain that runs from its last step to its first."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        for part in reversed(list(self)):
            maps = part(maps)
        return maps


@pytest.mark.parametrize("block", [
    BeforeIts(),
    Backwards(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)),
    nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)),
    nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
    nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
])  # fmt: skip
def test_a_norm_that_does_not_read_a_convolution_is_not_joined(block: nn.Module) -> None:
    with torch.no_grad():
        assert inference_form(block.eval()) is block


def test_every_path_that_embeds_gives_the_bits_of_one_form() -> None:
    """Validation and scoring, the store, and the encoder stage all come through ``encode_in_chunks``."""
    settings = NetworkSettings.model_validate({"encoder": {"kind": "torchvision", "name": "resnet18"}})
    network = settings.build(1, 1).eval()
    slices = torch.rand(11, 1, 64, 64)
    scored = embed_series(network, slices)
    with torch.no_grad():
        assert torch.equal(scored, encode_in_chunks(network.encoder, slices))
    assert torch.equal(scored[3:7], embed_series(network, slices[3:7]))
    assert not torch.equal(scored, encode_in_chunks(network.encoder, slices)), "with gradients it is the plain one"
