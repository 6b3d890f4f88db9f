"""Maps and gradients: against arithmetic done by hand, on a planted square, and without a trace left behind."""

import threading

import pytest
import torch
from torch import nn

from seriatim.errors import ModelError
from seriatim.explanation.attribution import backward, pixels
from seriatim.explanation.attribution.pixels import common_scale
from seriatim.explanation.attribution.reading import Reading
from seriatim.explanation.attribution.slices import weigh_gradient
from seriatim.models.chunks import encode_in_chunks
from seriatim.models.encoder import Encoder
from seriatim.models.network import NetworkSettings
from seriatim.models.output import SequenceOutput


class LinearEncoder(Encoder):
    """A 1x1 convolution without bias, and the mean of each map."""

    def __init__(self, weights):
        super().__init__()
        self.embedding_size = len(weights)
        self.conv = nn.Conv2d(1, len(weights), 1, bias=False)
        self.conv.weight.data = torch.tensor(weights)[:, None, None, None]

    def feature_maps(self, slices):
        return self.conv(slices)

    def pool_maps(self, maps):
        return maps.mean(dim=(2, 3))


class LinearNetwork(nn.Module):
    """The logits are a weighted sum over slices of a linear map of the embeddings."""

    def __init__(self, encoder, *, slice_weights, head):
        super().__init__()
        self.encoder = encoder
        self.slice_weights = torch.tensor(slice_weights)
        self.head = nn.Parameter(torch.tensor(head))

    def read(self, embeddings, mask):
        assert not torch.backends.cudnn.enabled
        pooled = (self.slice_weights[None, :, None] * embeddings).sum(dim=1)
        return SequenceOutput(
            embeddings=embeddings, context=embeddings, volume_logits=pooled @ self.head.T,
            slice_logits=embeddings @ self.head.T, attention=self.slice_weights[None],
        )


def grad_cam(network, slices, *, class_index, slice_indices, embeddings=None):
    """Scaled maps of one network, whose embeddings are made here unless they are known."""
    if embeddings is None:
        with torch.no_grad(), backward.evaluating(network):
            embeddings = encode_in_chunks(network.encoder, slices)
    reading = Reading(network=network, task=None, embeddings=embeddings)
    return common_scale(pixels.grad_cam(reading, slices, class_index=class_index, slice_indices=slice_indices))


def slice_contributions(network, embeddings, *, class_index):
    return weigh_gradient(Reading(network=network, task=None, embeddings=embeddings))[:, class_index].float()


def linear_network():
    return LinearNetwork(LinearEncoder([1.0, -2.0]), slice_weights=[0.5, 0.3, 0.2], head=[[1.0, 1.0], [-1.0, -3.0]])


def small_network(*, dropout=0.0):
    torch.manual_seed(0)
    encoder, pooling = {"kind": "small_cnn", "widths": (8, 16)}, {"kind": "attention", "hidden": 8}
    settings = NetworkSettings.model_validate({"encoder": encoder, "pooling": pooling, "dropout": dropout})
    return settings.build(1, 2)


def test_linear_case_is_what_the_formula_gives_by_hand():
    torch.manual_seed(1)
    slices = torch.rand(3, 1, 4, 4)
    # Class 1: each map's weight is slice weight x head weight / 16, so heat = w_s/16 * (-1*1x + -3*-2x) = 5 w_s x / 16.
    heat = grad_cam(linear_network(), slices, class_index=1, slice_indices=[2, 0])
    expected = torch.stack([0.2 * slices[2, 0], 0.5 * slices[0, 0]])
    torch.testing.assert_close(heat, expected / expected.max())


def test_evidence_against_the_class_is_not_heat():
    slices = torch.rand(3, 1, 4, 4)  # class 0: 1*1x + 1*-2x = -x
    assert not grad_cam(linear_network(), slices, class_index=0, slice_indices=[0, 1]).any()


def test_known_embeddings_are_used_and_change_nothing():
    network, slices = small_network(), torch.rand(5, 1, 32, 32)
    with torch.inference_mode():
        embeddings = network.eval().encoder(slices)
        given = grad_cam(network, slices, class_index=0, slice_indices=[1, 3], embeddings=embeddings)
    encoded = grad_cam(network, slices, class_index=0, slice_indices=[1, 3])
    torch.testing.assert_close(given, encoded, rtol=1e-3, atol=1e-4)


def test_contributions_of_a_linear_read_sum_to_the_logit():
    network, embeddings = linear_network(), torch.randn(3, 2)
    found = slice_contributions(network, embeddings, class_index=1)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.3, 0.2]) * (embeddings @ torch.tensor([-1.0, -3.0])))
    with backward.differentiable_rnn():
        logit = network.read(embeddings[None], torch.ones(1, 3, dtype=torch.bool)).volume_logits[0, 1]
    torch.testing.assert_close(found.sum(), logit)


def test_contributions_through_the_lstm_predict_a_small_change():
    network, embeddings = small_network(), torch.randn(6, 16)
    found = slice_contributions(network, embeddings, class_index=1)
    mask, step = torch.ones(1, 6, dtype=torch.bool), 0.02
    for index in range(6):
        logits = []
        for factor in (1 + step, 1 - step):
            scaled = embeddings.clone()
            scaled[index] *= factor
            with torch.no_grad():
                logits.append(float(network.eval().read(scaled[None], mask).volume_logits[0, 1]))
        assert (logits[0] - logits[1]) / (2 * step) == pytest.approx(float(found[index]), abs=1e-4)


def test_no_gradient_no_mode_and_no_flag_is_left_behind():
    network, slices = small_network(dropout=0.5), torch.rand(4, 1, 16, 16)
    network.train()
    network.encoder.eval()
    network.volume_head.requires_grad_(False)
    modes = {name: module.training for name, module in network.named_modules()}
    wanted = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    cudnn = torch.backends.cudnn.enabled
    first = grad_cam(network, slices, class_index=0, slice_indices=[0])
    assert torch.equal(first, grad_cam(network, slices, class_index=0, slice_indices=[0]))  # dropout was off
    slice_contributions(network, torch.rand(4, 16), class_index=0)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == wanted
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.backends.cudnn.enabled == cudnn
    assert not slices.requires_grad
    assert not first.requires_grad


def test_modes_and_flag_come_back_after_an_error():
    network = small_network().train()
    with pytest.raises(RuntimeError, match="on the way"):
        fail_within(network)
    assert network.training
    assert network.encoder.training
    assert torch.backends.cudnn.enabled


def fail_within(network):
    with backward.differentiating(network):
        assert not network.training
        assert not torch.backends.cudnn.enabled
        raise RuntimeError("on the way")


def test_threads_take_turns_and_the_last_leaves_the_flag_as_it_was():
    seen, inside = [], threading.Event()

    def differentiate():
        with backward.differentiable_rnn(), backward.differentiable_rnn():
            seen.append(torch.backends.cudnn.enabled)
            inside.set()

    other = threading.Thread(target=differentiate)
    with backward.differentiable_rnn():
        other.start()
        assert not inside.wait(0.1)
    other.join()
    assert seen == [False]
    assert torch.backends.cudnn.enabled


@pytest.mark.cuda  # cuDNN is what refuses the backward pass
def test_an_lstm_in_evaluation_mode_is_differentiated_on_a_gpu():
    network, embeddings = small_network().cuda(), torch.randn(6, 16, device="cuda")
    found = slice_contributions(network, embeddings, class_index=0)
    expected = slice_contributions(network.cpu(), embeddings.cpu(), class_index=0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert torch.backends.cudnn.enabled


@pytest.mark.parametrize("options", [{"pool": "max"}, {"pool": "both", "stages": 2}])
def test_heat_comes_of_maxima_and_finer_maps_too(options):
    torch.manual_seed(0)
    encoder = {"kind": "torchvision", "name": "resnet18", **options}
    settings = {"encoder": encoder, "temporal": {"kind": "none"}, "pooling": {"kind": "mean"}}
    network = NetworkSettings.model_validate(settings).build(1, 1).eval()
    slices = torch.rand(3, 1, 64, 64)
    heat = grad_cam(network, slices, class_index=0, slice_indices=[2, 0])
    assert heat.shape == (2, 64, 64)
    assert float(heat.max()) == pytest.approx(1.0)
    with torch.no_grad():
        embeddings = network.encoder(slices)
    given = grad_cam(network, slices, class_index=0, slice_indices=[2, 0], embeddings=embeddings)
    torch.testing.assert_close(given, heat, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("indices", [[], [0, 0], [3], [-1]])
def test_wrong_slices_are_refused(indices):
    with pytest.raises(ValueError, match=r"distinct slices of 0\.\.2"):
        grad_cam(linear_network(), torch.rand(3, 1, 4, 4), class_index=0, slice_indices=indices)


def test_encoder_without_maps_is_a_model_error():
    network = linear_network()
    network.encoder.feature_maps = lambda slices: slices.mean(dim=(2, 3))
    with pytest.raises(ModelError, match="Explain this model with occlusion"):
        grad_cam(network, torch.rand(3, 1, 4, 4), class_index=0, slice_indices=[0], embeddings=torch.rand(3, 2))


def test_damaged_weights_are_a_model_error():
    network = linear_network()
    network.head.data[:] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        slice_contributions(network, torch.rand(3, 2), class_index=0)


def test_heat_finds_a_planted_square_in_a_trained_network():
    torch.manual_seed(0)
    network = small_network()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    mask = torch.ones(16, 5, dtype=torch.bool)
    for _ in range(100):
        slices, labels, _ = planted(16)
        loss = nn.functional.cross_entropy(network(slices, mask).volume_logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    slices, labels, corners = planted(16)
    hits = []
    for series in torch.nonzero(labels)[:, 0]:
        index, row, column = corners[series]
        heat = grad_cam(network, slices[series], class_index=1, slice_indices=range(5))
        peak = torch.nonzero(heat == 1)[0]
        hits.append(int(peak[0]) == index and abs(int(peak[1]) - row - 3) <= 4 and abs(int(peak[2]) - column - 3) <= 4)
    assert len(hits) >= 4
    assert sum(hits) >= 0.8 * len(hits)


def planted(count):
    """Noise series of 5 slices of 32x32; where the label is 1, one slice has a bright square of 6x6 at its corner."""
    slices, labels = 0.3 * torch.rand(count, 5, 1, 32, 32), torch.randint(0, 2, (count,))
    corners = [(int(torch.randint(0, 5, ())), *torch.randint(2, 24, (2,)).tolist()) for _ in range(count)]
    for series, (index, row, column) in enumerate(corners):
        if labels[series]:
            slices[series, index, 0, row : row + 6, column : column + 6] += 0.6
    return slices, labels, corners
