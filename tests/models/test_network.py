"""The promises of the sequence network: padding and neighbours change nothing, attention is honest, order is read."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from tiny_networks import POOLINGS, TEMPORALS, build, make_mask, run

from seriatim.models.masks import add_deltas


@settings(max_examples=60, deadline=None)
@given(
    temporal=st.sampled_from(TEMPORALS),
    pooling=st.sampled_from(POOLINGS),
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    padding=st.integers(0, 3),
    modes=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 99),
)
def test_padding_and_neighbours_change_nothing(temporal, pooling, counts, padding, modes, seed):
    """Of every series alone, padded, and in a batch beside others whose padding holds NaN."""
    network = build(temporal, pooling, seed=seed, deltas=modes[0]).train(modes[1])
    mask = make_mask(counts, padding=padding)
    slices = torch.rand(*mask.shape, 1, 16, 16)
    slices[~mask] = torch.nan
    batch = run(network, slices, mask)
    for row, count in enumerate(counts):
        alone = run(network, slices[row : row + 1, :count], mask[row : row + 1, :count])
        padded = run(network, slices[row : row + 1], mask[row : row + 1])
        assert torch.equal(padded.volume_logits, alone.volume_logits)
        torch.testing.assert_close(batch.volume_logits[row], alone.volume_logits[0], atol=1e-6, rtol=0)
        for name in ("embeddings", "context", "slice_logits", "attention"):
            one, many, wide = (getattr(output, name) for output in (alone, batch, padded))
            assert torch.equal(wide[0, :count], one[0])
            torch.testing.assert_close(many[row, :count], one[0], atol=1e-5, rtol=0)
            assert (many[row, count:] == 0).all()
            assert (wide[0, count:] == 0).all()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_attention_sums_to_one_and_is_zero_on_padding(pooling, dtype, bidirectional):
    network = build({"kind": "gru", "hidden": 8, "bidirectional": bidirectional}, pooling).to(dtype)
    mask = make_mask([1, 2, 37, 200], padding=9)
    output = network.read((torch.randn(*mask.shape, network.encoder.embedding_size) * 30).to(dtype), mask)
    assert output.attention.dtype == torch.float32
    torch.testing.assert_close(output.attention.sum(dim=1), torch.ones(4), atol=1e-5, rtol=0)
    assert (output.attention[~mask] == 0).all()
    assert (output.attention >= 0).all()
    assert torch.isfinite(output.volume_logits).all()


def test_attention_stays_finite_where_exp_would_overflow():
    network = build({"kind": "none"})
    with torch.no_grad():
        network.pooling.score.weight.mul_(1e6)
    output = network.read(torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(output.attention.sum(), torch.tensor(1.0))


def test_pooling_weights_say_what_pooling_did():
    mask = make_mask([3, 2])
    embeddings = torch.zeros(2, 3, 8)
    embeddings[0, 1, :6], embeddings[0, 2, 6:] = 1.0, 1.0
    embeddings[1] = torch.arange(3.0)[:, None]  # the largest stands on padding, and must not win

    def attention(pooling, temporal):
        return build(temporal, pooling).read(embeddings, mask).attention

    none = {"kind": "none"}
    torch.testing.assert_close(attention("mean", none), torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]]))
    torch.testing.assert_close(attention("max", none), torch.tensor([[0.0, 0.75, 0.25], [0.0, 1.0, 0.0]]))
    torch.testing.assert_close(attention("last", none), torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))
    torch.testing.assert_close(attention("last", TEMPORALS[0]), torch.tensor([[0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]))


def test_last_pooling_takes_the_final_state_of_each_direction():
    network = build({"kind": "lstm", "hidden": 6, "skip": False}, "last")
    mask = make_mask([2, 4])
    embeddings = torch.randn(2, 4, 8)
    context = network.temporal(embeddings, mask)
    pooled, _ = network.pooling(context, mask)
    for row, count in enumerate((2, 4)):
        _, (final, _) = network.temporal.rnn(embeddings[row : row + 1, :count])
        torch.testing.assert_close(pooled[row], final.flatten())


def test_deltas_are_what_a_slice_adds_to_its_neighbours_and_zero_at_the_ends():
    embeddings, mask = torch.tensor([[[1.0], [4.0], [9.0], [99.0]], [[2.0], [7.0], [1.0], [5.0]]]), make_mask([3, 4])
    found = add_deltas(embeddings, mask)
    assert found[0].tolist() == [[1, 0, -3], [4, 3, -5], [9, 5, 0], [0, 0, 0]]
    assert found[1].tolist() == [[2, 0, -5], [7, 5, 6], [1, -6, -4], [5, 4, 0]]
    assert add_deltas(embeddings[:, :1], mask[:, :1])[0].tolist() == [[1, 0, 0]]


def test_the_sequence_model_reads_deltas():
    network = build({"kind": "none"}, deltas=True)
    embeddings, mask = torch.randn(2, 3, 8), make_mask([3, 2])
    output = network.read(embeddings, mask)
    torch.testing.assert_close(output.context, add_deltas(embeddings, mask))
    assert output.embeddings.shape == embeddings.shape


@pytest.mark.parametrize("counts", [[[False, False]], [[False, True]], [[True, False], [False, False]]])
def test_a_mask_that_is_no_prefix_is_refused(counts):
    with pytest.raises(ValueError, match="padding only after"):
        build().read(torch.zeros(len(counts), 2, 8), torch.tensor(counts))


def test_only_real_slices_enter_the_encoder():
    network = build()
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    network(torch.rand(2, 5, 1, 16, 16), make_mask([5, 2]))
    assert seen == [7]


def test_gradients_reach_every_real_slice_and_no_padding():
    network = build({"kind": "lstm", "hidden": 6}, "last")
    mask = make_mask([4, 2])
    slices = torch.rand(2, 4, 1, 16, 16, requires_grad=True)
    network(slices, mask).volume_logits.sum().backward()
    reached = slices.grad.flatten(2).abs().sum(dim=2) > 0
    assert torch.equal(reached, mask)


@pytest.mark.parametrize("encoder", [{"kind": "small_cnn", "widths": [4, 8]}, "frozen"])
def test_checkpointing_gives_equal_gradients(encoder):
    if encoder == "frozen":
        encoder = {"kind": "torchvision", "name": "shufflenet_v2_x0_5", "freeze": "batchnorm"}
    mask = make_mask([5, 2])
    slices = torch.rand(2, 5, 1, 32, 32)
    gradients = []
    for chunk in (None, 3):
        network = build(encoder=encoder, checkpoint_chunk=chunk)
        network(slices, mask).volume_logits.square().sum().backward()
        gradients.append([parameter.grad for parameter in network.encoder.parameters() if parameter.requires_grad])
    assert len(gradients[0]) > 5
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain, atol=1e-6, rtol=1e-4)


def test_checkpointing_counts_batch_statistics_once():
    network = build(encoder={"kind": "torchvision", "name": "shufflenet_v2_x0_5"}, checkpoint_chunk=2)
    output = network(torch.rand(1, 4, 1, 64, 64), make_mask([4]))
    before = {name: value.clone() for name, value in network.encoder.named_buffers()}
    output.volume_logits.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.encoder.named_buffers())
    assert before["trunk.conv1.1.num_batches_tracked"] == 2


def test_autocast_leaves_the_sequence_part_in_full_precision():
    network = build().eval()
    slices, mask = torch.rand(1, 3, 1, 16, 16), make_mask([3])
    with torch.autocast("cpu", torch.bfloat16):
        output = network(slices, mask)
        embeddings = network.encode(slices, mask)
    assert output.volume_logits.dtype == torch.float32
    assert torch.equal(output.volume_logits, network.read(embeddings, mask).volume_logits)


def test_output_scale_turns_logits_into_the_units_of_the_labels():
    network = build(outputs=2)
    embeddings, mask = torch.randn(1, 3, 8), make_mask([2], padding=1)
    plain = network.read(embeddings, mask)
    network.set_output_scale([60.0, -1.0], [15.0, 2.0])
    scaled = network.read(embeddings, mask)
    expected = plain.volume_logits * torch.tensor([15.0, 2.0]) + torch.tensor([60.0, -1.0])
    torch.testing.assert_close(scaled.volume_logits, expected)
    assert (scaled.slice_logits[0, 2] == 0).all()
    other = build(outputs=2, seed=1)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.read(embeddings, mask).volume_logits, scaled.volume_logits)


def make_order_task(count: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Series that hold pattern A and pattern B at random places; the label says whether A comes first."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(4, 13, (count,), generator=generator)
    mask = torch.arange(12)[None] < counts[:, None]
    embeddings = torch.randn(count, 12, 8, generator=generator) * 0.3
    places = torch.stack([torch.randperm(int(n), generator=generator)[:2] for n in counts])
    rows = torch.arange(count)
    embeddings[rows, places[:, 0], 0] += 3.0
    embeddings[rows, places[:, 1], 1] += 3.0
    return embeddings, mask, (places[:, 0] < places[:, 1]).float()


def learn_order(temporal: dict, pooling: str) -> float:
    network = build(temporal, pooling, outputs=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    embeddings, mask, labels = make_order_task(512, seed=1)
    for step in range(150):
        rows = torch.randint(0, 512, (64,), generator=torch.Generator().manual_seed(step))
        logits = network.read(embeddings[rows], mask[rows]).volume_logits[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    embeddings, mask, labels = make_order_task(512, seed=2)
    with torch.no_grad():
        called = network.eval().read(embeddings, mask).volume_logits[:, 0] > 0
    return float((called == labels.bool()).float().mean())


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "pooling", ["attention", *(pytest.param(kind, marks=SLOW) for kind in ("mean", "max", "last"))]
)
def test_the_lstm_reads_the_order(pooling):
    assert learn_order({"kind": "lstm", "hidden": 16}, pooling) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", pytest.param({"kind": "slice_scores"}, marks=SLOW)])
def test_the_transformer_reads_the_order_by_its_positions(pooling):
    transformer = {"kind": "transformer", "size": 16, "layers": 1, "feedforward": 16, "dropout": 0.0}
    assert learn_order(transformer, pooling) > 0.9
    assert learn_order({**transformer, "position": "none"}, pooling) < 0.65


@pytest.mark.parametrize("pooling", ["mean", "attention", {"kind": "slice_scores"}])
def test_pooling_alone_cannot_read_the_order(pooling):
    assert learn_order({"kind": "none"}, pooling) < 0.65


def test_the_golden_network_has_not_changed():
    """Numbers stored when this was written: a silent change of any part moves them."""
    network = build({"kind": "lstm", "hidden": 6}, "attention", seed=7).eval()
    slices = torch.linspace(0, 1, 2 * 3 * 16 * 16).reshape(2, 3, 1, 16, 16).sin().abs()
    output = run(network, slices, make_mask([3, 2]))
    torch.testing.assert_close(output.volume_logits, torch.tensor(GOLDEN["volume_logits"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.attention, torch.tensor(GOLDEN["attention"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.slice_logits.sum(dim=1), torch.tensor(GOLDEN["slice_sums"]), atol=1e-5, rtol=0)


GOLDEN = {
    "volume_logits": [[-0.2075724, 0.0798951], [-0.2093484, 0.0679871]],
    "attention": [[0.3326022, 0.3343443, 0.3330535], [0.5016834, 0.4983167, 0.0]],
    "slice_sums": [[0.3036100, 0.6674713], [0.1606769, 0.4344189]],
}
