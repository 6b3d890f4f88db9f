"""Encoders: their two steps, their weights, what is frozen, and embeddings that never depend on their neighbours."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from seriatim.compat import import_torchvision
from seriatim.errors import ConfigError, ModelError
from seriatim.io.weights import load_weights
from seriatim.models import encode_in_chunks
from seriatim.models.small_cnn import SmallCNNSettings
from seriatim.models.torchvision_encoder import TorchvisionSettings

BACKBONE = Path("../shared/data/imagenet_backbone/mobilenet_v2_imagenet_features_fp16.pth")
needs_backbone = pytest.mark.skipif(not BACKBONE.is_file(), reason=f"{BACKBONE} is absent")

QUICK = ["resnet18", "mobilenet_v2"]
SLOW = [
    "mobilenet_v3_small", "efficientnet_b0", "densenet121", "convnext_tiny", "vgg11", "alexnet", "squeezenet1_1",
    "regnet_y_400mf", "shufflenet_v2_x0_5", "mnasnet0_5", "googlenet", "inception_v3", "resnext50_32x4d", "swin_t",
    "swin_v2_t", "maxvit_t", "vit_b_16",
]  # fmt: skip
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
WITH_HIDDEN_HEAD = ("vgg", "alexnet", "squeezenet", "mobilenet_v3")


def build(name: str, *, in_channels: int = 3, weights=None, **options):
    torch.manual_seed(0)
    settings = SmallCNNSettings() if name == "small_cnn" else TorchvisionSettings(name=name, **options)
    return settings.build(in_channels, weights)


@pytest.mark.parametrize("name", NAMES)
def test_a_torchvision_encoder_computes_what_torchvision_does_up_to_its_head(name):
    """With torchvision's own weights, in their names, and the normalisation they were trained with."""
    torch.manual_seed(1)
    inception = name in ("googlenet", "inception_v3")
    options = {"init_weights": True, "transform_input": True} if inception else {}
    theirs = import_torchvision().models.get_model(name, weights=None, **options).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
    encoder = build(name, weights=theirs.state_dict()).eval()
    side = 80 if name not in ("vit_b_16", "maxvit_t") else 224
    slices = torch.rand(2, 3, side, side)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen = []
    head = next(getattr(theirs, head) for head in ("fc", "classifier", "head", "heads") if hasattr(theirs, head))
    target = theirs.classifier[2] if name.startswith("convnext") else head
    target.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        theirs((slices - mean[:, None, None]) / std[:, None, None])
        embeddings = encoder(slices)
        expected = seen[0]
        if name.startswith(WITH_HIDDEN_HEAD) or name == "maxvit_t":
            expected = encoder.trunk((slices - encoder.mean) / encoder.std)
            assert name.startswith("mobilenet_v3") or name == "maxvit_t" or expected.shape[1] in (256, 512)
        expected = expected.mean(dim=(2, 3)) if expected.ndim == 4 else expected
    assert embeddings.shape == (2, encoder.embedding_size)
    expected = expected.flatten(1)
    assert (embeddings - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", ["small_cnn", *NAMES])
@pytest.mark.parametrize("in_channels", [1, 5])
def test_an_encoder_is_its_maps_pooled(name, in_channels):
    encoder = build(name, in_channels=in_channels).eval()
    slices = torch.rand(2, in_channels, 96, 80)
    with torch.no_grad():
        embeddings = encoder(slices)
        assert embeddings.shape == (2, encoder.embedding_size)
        assert torch.isfinite(embeddings).all()
        if name.startswith("vit"):
            with pytest.raises(ModelError, match="Grad-CAM"):
                encoder.feature_maps(slices)
            return
        maps = encoder.feature_maps(slices)
        assert maps.ndim == 4
        assert maps.shape[0] == 2
        assert torch.equal(encoder.pool_maps(maps), embeddings)


SLOW_CHAINS = [name for name in SLOW if not name.startswith(("swin", "vit"))]
CHAINS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_CHAINS)]


@pytest.mark.parametrize("name", CHAINS)
def test_maps_of_two_stages_are_those_of_the_last_and_of_one_twice_as_fine(name):
    last, both = build(name).eval(), build(name, stages=2).eval()
    side = 96 if name != "maxvit_t" else 224
    slices = torch.rand(1, 3, side, side)
    with torch.no_grad():
        coarse, maps, embedding = last.feature_maps(slices), both.feature_maps(slices), both(slices)
        assert torch.equal(both.pool_maps(maps), embedding)
    rows = coarse.shape[2]
    assert rows < maps.shape[2] <= 2 * rows + 2  # Inception pads nothing
    places = ((torch.arange(maps.shape[2]) + 0.5) * rows / maps.shape[2]).long()
    assert torch.equal(maps[:, : both.depth], coarse[:, :, places][:, :, :, places])
    assert embedding.shape == (1, both.embedding_size)
    assert both.embedding_size == maps.shape[1] > last.embedding_size == both.depth


def test_the_finer_maps_are_what_the_network_had_there():
    theirs = import_torchvision().models.resnet18().eval()
    both = build("resnet18", stages=3, weights=theirs.state_dict()).eval()
    seen = {}
    for name in ("layer2", "layer3", "layer4"):
        getattr(theirs, name).register_forward_hook(lambda _, __, result, name=name: seen.update({name: result}))
    slices = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        theirs((slices - both.mean) / both.std)
        found = both(slices)
    expected = torch.cat([seen[name].mean(dim=(2, 3)) for name in ("layer4", "layer3", "layer2")], dim=1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", CHAINS)
def test_pooling_by_mean_maximum_or_both(name):
    mean, highest, both = (build(name, pool=pool).eval() for pool in ("mean", "max", "both"))
    slices = torch.rand(2, 3, 80, 80)
    with torch.no_grad():
        maps = mean.feature_maps(slices)
        one, other = mean(slices), highest(slices)
        assert torch.equal(both(slices), torch.cat([one, other], dim=1))
        expected = highest.norm(maps.amax(dim=(2, 3), keepdim=True)).flatten(1)
    torch.testing.assert_close(other, expected)
    assert both.embedding_size == 2 * mean.embedding_size == 2 * highest.embedding_size


def test_a_small_finding_moves_the_maximum_and_finer_maps_more_than_the_mean():
    """What frozen features averaged over a slice lose: a bright dot of 8 x 8 pixels in one of 224 x 224."""
    slices = torch.full((2, 3, 224, 224), 0.3)
    slices[1, :, 96:104, 120:128] = 1.0
    moved = {}
    for options in ({}, {"pool": "max"}, {"pool": "max", "stages": 2}):
        with torch.no_grad():
            without, shown = build("resnet18", **options).eval()(slices)
        moved[tuple(options)] = float((shown - without).norm() / without.norm())
    assert moved[("pool",)] > 3 * moved[()]
    assert moved[("pool", "stages")] > 3 * moved[()]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("swin_t", {"stages": 2}, "no maps of 2 resolutions"),
        ("vit_b_32", {"pool": "max"}, "vit_b_32 has no maps"),
        ("vit_b_32", {"stages": 2}, "vit_b_32 has no maps"),
    ],
)
def test_what_a_network_has_not_is_refused(name, options, said):
    with pytest.raises(ConfigError, match=said):
        build(name, **options)


@pytest.mark.parametrize("name", ["small_cnn", *NAMES])
def test_an_embedding_is_bit_identical_whatever_stands_beside_it(name):
    more = {} if name == "small_cnn" or name.startswith(("swin", "vit")) else {"pool": "both", "stages": 2}
    encoder = build(name, in_channels=1, **more).eval()
    big = name not in ("small_cnn", *QUICK)
    count = 11 if big else 19
    slices = torch.rand(count, 1, 64 if not big else 80, 76)
    with torch.no_grad():
        whole = encode_in_chunks(encoder, slices)
        for seed in range(2 if big else 8):
            generator = torch.Generator().manual_seed(seed)
            order = torch.randperm(count, generator=generator)[: 1 + seed * 5 % count]
            assert torch.equal(encode_in_chunks(encoder, slices[order]), whole[order])


def test_chunks_agree_with_one_pass_and_keep_gradients():
    encoder = build("small_cnn", in_channels=2)
    slices = torch.rand(10, 2, 32, 32, requires_grad=True)
    found = encode_in_chunks(encoder, slices, chunk_size=4)
    torch.testing.assert_close(found, encoder(slices), atol=1e-5, rtol=1e-5)
    found.sum().backward()
    assert (slices.grad.flatten(1).abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("in_channels", [1, 2, 9])
def test_fitting_the_channels_keeps_the_answer_to_a_grey_slice(in_channels):
    weights = import_torchvision().models.resnet18().state_dict()
    three, fitted = (build("resnet18", in_channels=count, weights=weights) for count in (3, in_channels))
    grey = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(
        fitted.trunk.conv1(grey.expand(-1, in_channels, -1, -1)),
        three.trunk.conv1(grey.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-5,
    )  # fmt: skip


def test_weights_of_as_many_channels_are_taken_as_they_are():
    own = {**import_torchvision().models.resnet18().state_dict(), "conv1.weight": torch.randn(64, 2, 7, 7)}
    assert torch.equal(build("resnet18", in_channels=2, weights=own).trunk.conv1.weight, own["conv1.weight"])


def test_batchnorm_frozen_does_not_move():
    encoder = build("shufflenet_v2_x0_5", freeze="batchnorm").train()
    layer = encoder.trunk.conv1[1]
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    assert not layer.training
    assert encoder.trunk.conv1[0].training
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    kernel = encoder.trunk.conv1[0].weight.clone()
    for _ in range(2):
        encoder(torch.rand(4, 3, 64, 64)).sum().backward()
        optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert not torch.equal(encoder.trunk.conv1[0].weight, kernel)


def test_an_encoder_frozen_whole_has_nothing_to_train_and_stays_in_eval_mode():
    encoder = build("efficientnet_b0", freeze="all").train()
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not any(module.training for module in encoder.modules())
    slices = torch.rand(1, 3, 64, 64, requires_grad=True)
    encoder(slices).sum().backward()
    assert slices.grad.abs().sum() > 0


def test_making_an_encoder_leaves_its_statistics_alone():
    encoder = build("resnet18")
    assert encoder.training
    assert (encoder.trunk.bn1.running_mean == 0).all()
    assert encoder.trunk.bn1.num_batches_tracked == 0


@pytest.mark.shared
@needs_backbone
def test_half_precision_features_without_a_classifier_are_enough():
    weights = load_weights(str(BACKBONE), name="mobilenet_v2")
    encoder = build("mobilenet_v2", weights=weights, freeze="all")
    assert torch.equal(encoder.trunk.features[0][0].weight, weights["features.0.0.weight"])
    with pytest.raises(ModelError, match=r"do not fit resnet18.*conv1.weight is missing"):
        build("resnet18", weights=weights)


def test_weights_that_do_not_fit_are_refused_by_name():
    weights = import_torchvision().models.resnet18().state_dict()
    lacking = {key: value for key, value in weights.items() if key != "layer1.0.conv1.weight"}
    with pytest.raises(ModelError, match=r"layer1\.0\.conv1\.weight is missing"):
        build("resnet18", weights=lacking)
    wrong = {**weights, "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    with pytest.raises(ModelError, match=r"layer1\.0\.conv1\.weight is \(64, 64, 1, 1\), expected \(64, 64, 3, 3\)"):
        build("resnet18", weights=wrong)
    with pytest.raises(ModelError, match=r"layer1\.2\.conv1\.weight is no part of resnet18.*and \d+ more"):
        build("resnet18", weights=import_torchvision().models.resnet34().state_dict())
    counted = {key: value for key, value in weights.items() if "num_batches" not in key and not key.startswith("fc")}
    build("resnet18", weights=counted)


@pytest.mark.parametrize(
    ("name", "renames", "key"),
    [
        ("densenet121", {".norm1.": ".norm.1.", ".conv2.": ".conv.2."}, "denseblock1.denselayer1.norm1.weight"),
        pytest.param(
            "vit_b_32", {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."},
            "encoder.layers.encoder_layer_0.mlp.3.weight", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_weights_under_their_published_names_fit(name, renames, key):
    """The files torchvision published long ago still call some tensors by the names of their time."""
    weights = import_torchvision().models.get_model(name).state_dict()
    old = dict(weights)
    for new, before in renames.items():
        old = {name.replace(new, before): value for name, value in old.items()}
    assert set(old) != set(weights)
    encoder = build(name, weights=old)
    found, expected = (
        next(value for name, value in tensors.items() if name.endswith(key))
        for tensors in (encoder.state_dict(), weights)
    )
    assert torch.equal(found, expected)


def test_small_cnn_takes_its_own_weights_back():
    first = build("small_cnn", in_channels=2)
    torch.manual_seed(5)
    second = SmallCNNSettings().build(2, first.state_dict())
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), second.parameters(), strict=True))
    with pytest.raises(ModelError, match=r"stages\.0\.weight is missing"):
        SmallCNNSettings().build(2, import_torchvision().models.resnet18().state_dict())
    with pytest.raises(ValidationError, match="no ImageNet weights for small_cnn"):
        SmallCNNSettings(weights="imagenet")


def test_an_unknown_name_answers_with_near_ones():
    with pytest.raises(ConfigError, match="mobilenet_v2"):
        build("mobilenetv2")
    with pytest.raises(ConfigError, match="no classification network 'fasterrcnn_resnet50_fpn'"):
        build("fasterrcnn_resnet50_fpn")


def test_slices_too_small_for_the_network_are_refused():
    encoder = build("densenet121").eval()
    with pytest.raises(ModelError, match="at least 29 x 29 pixels, not 40 x 20"):
        encoder(torch.rand(1, 3, 40, 20))
