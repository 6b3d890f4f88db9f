"""Faithfulness: figures that are right where the truth is known, and words that say no more than was measured."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score

from seriatim.errors import ModelError
from seriatim.explanation.attribution.gather import AttributionOptions, attribute_slices
from seriatim.explanation.attribution.reading import Reading, read_ways
from seriatim.explanation.faithfulness.checks import (
    add_noise,
    agree,
    chance_precision,
    correlate,
    measure_against_truth,
    shuffle_weights,
)
from seriatim.explanation.faithfulness.curves import area_under, measure_curves, rank, trace_curves
from seriatim.explanation.faithfulness.series import MeasureOptions, measure_series
from seriatim.explanation.faithfulness.words import choose_best, tell_model, tell_series, tell_shown, why_shown
from seriatim.explanation.methods import MEASURES, SLICE_METHODS
from seriatim.models import NetworkSettings
from seriatim.tasks import DiagnosisSettings
from seriatim.trained.faithfulness import Choice, Faithfulness, Measured, load_faithfulness

TASK = DiagnosisSettings.model_validate({"target": "binary", "labels": ["bleed"]}).build()
FEW = MeasureOptions(orders=20, draws=2, shuffles=2)


def reading_of(*, temporal=None, pooling="attention", count=12):
    torch.manual_seed(0)
    sequence = {"temporal": temporal or {"kind": "lstm", "hidden": 6}, "pooling": {"kind": pooling}}
    content = {"encoder": {"kind": "small_cnn", "widths": [4, 8]}, **sequence}
    network = NetworkSettings.model_validate(content).build(1, 1).eval().requires_grad_(False)
    return Reading(network=network, task=TASK, embeddings=2 * torch.randn(count, 8))


@pytest.fixture
def additive():
    """A reading whose logit is the mean over slices of a number of each, and these numbers (S,)."""
    reading = reading_of(temporal={"kind": "none"}, pooling="mean")
    with torch.no_grad():
        values = (reading.embeddings @ reading.network.volume_head.weight[0]).double().numpy()
    return reading, values


def test_the_right_order_beats_all_random_ones_and_its_reverse_none(additive):
    reading, values = additive
    attributions = {"leave_out": values, "gradient_input": -values, "attention": np.zeros(12)}
    curves = trace_curves([reading], attributions, class_index=0, generator=np.random.default_rng(0))
    best, worst = measure_curves(curves, "leave_out"), measure_curves(curves, "gradient_input")
    assert best["beats_random"].value == 1.0
    assert worst["beats_random"].value == 0.0
    assert best["gap"].value == pytest.approx(-worst["gap"].value)
    assert best["gap"].chance == pytest.approx(0, abs=1e-12)
    assert best["gap"].value > best["gap"].chance_high > 0 > best["gap"].chance_low
    assert best["insertion"].value > best["insertion"].chance > best["deletion"].value
    even = measure_curves(curves, "attention")["gap"]  # ties are broken at random
    assert abs(even.value) < best["gap"].value
    assert np.array_equal(curves.deletion["leave_out"], curves.insertion["gradient_input"])


def test_curves_keep_what_they_say(additive):
    reading, values = additive
    curves = trace_curves([reading], {"leave_out": values}, class_index=0, generator=np.random.default_rng(0))
    assert curves.kept.tolist() == [size / 12 for size in range(1, 13)]
    bias = float(reading.network.volume_head.bias[0])
    ordered = np.sort(values)[::-1]
    for size in (1, 5, 12):
        logit = ordered[:size].mean() + bias
        assert curves.insertion["leave_out"][size - 1] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
    everything = {float(one[-1].round(9)) for one in (*curves.insertion.values(), *curves.random)}
    assert len(everything) == 1


def test_a_long_series_has_few_points_and_a_short_one_none():
    made = {"attention": np.arange(90.0)}
    curves = trace_curves([reading_of(count=90)], made, class_index=0, generator=np.random.default_rng(0), orders=4)
    assert len(curves.kept) == 16
    assert curves.random.shape == (4, 16)
    assert trace_curves([reading_of(count=1)], {}, class_index=0, generator=np.random.default_rng(0)) is None
    assert area_under(np.array([0.5, 0.75, 1.0]), np.array([0.0, 1.0, 1.0])) == pytest.approx(0.75)
    assert rank(np.array([0.1, 0.9, 0.5]), np.random.default_rng(0)).tolist() == [1, 2, 0]


def test_shuffled_weights_are_the_same_numbers_elsewhere_and_nothing_else_changes():
    reading = reading_of()
    before = {name: value.clone() for name, value in reading.network.state_dict().items()}
    shuffled = shuffle_weights([reading, reading], torch.Generator().manual_seed(1))
    assert shuffled[0].network is shuffled[1].network
    assert shuffled[0].network.encoder is reading.network.encoder
    for name, value in reading.network.state_dict().items():
        assert torch.equal(value, before[name])
        other = shuffled[0].network.state_dict()[name]
        assert torch.equal(value.flatten().sort().values, other.flatten().sort().values)
    assert not torch.equal(shuffled[0].network.volume_head.weight, reading.network.volume_head.weight)


def test_noise_is_a_share_of_the_spread_and_one_for_all_that_reads_the_same():
    reading = reading_of(count=2000)
    ways = read_ways(reading.network, TASK, [reading.embeddings], reverse_order=True)
    before = ways[0].embeddings.clone()
    noisy = add_noise(ways, torch.Generator().manual_seed(0), share=0.1)
    assert torch.equal(ways[0].embeddings, before)
    assert torch.equal(noisy[0].embeddings, noisy[1].embeddings)
    ratio = (noisy[0].embeddings - before).std(dim=0) / before.std(dim=0)
    torch.testing.assert_close(ratio, torch.full((8,), 0.1), rtol=0.1, atol=0)


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, 30).astype(float), rng.random(30)
    assert correlate(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert np.isnan(correlate(np.ones(30), other))
    assert agree([{"a": one}, {"a": 2 * one}, {"a": -one}])["a"] == pytest.approx(-1 / 3)
    assert agree([{"a": np.ones(30)}, {"a": other}]) == {}


def test_truth_is_pointed_at():
    values = np.array([0.1, 0.9, 0.9, 0.3, 0.5])
    truth = np.array([0, 1, 0, 1, np.nan])
    told = measure_against_truth(values, truth)
    assert told["pointing"].value == 0.5  # two slices tie for the first place, one of them is positive
    assert told["pointing"].chance == 0.5
    expected = average_precision_score([0, 1, 0, 1], values[:4])
    assert told["average_precision"].value == pytest.approx(expected)
    assert measure_against_truth(values, np.ones(5)) == {}
    assert measure_against_truth(values, np.full(5, np.nan)) == {}


def test_the_average_precision_of_chance_is_that_of_all_orders():
    labels = [1, 1, 0, 0, 0]
    every = [average_precision_score(order, [5, 4, 3, 2, 1]) for order in itertools.permutations(labels)]
    assert chance_precision(5, 2) == pytest.approx(np.mean(every))


def test_a_series_is_measured_by_every_method_and_the_same_each_time():
    reading = reading_of()
    made = AttributionOptions(steps=8)
    found = attribute_slices([reading], made)
    values = {name: one.numpy() for name, one in found.of_class(0).items()}
    given = {"class_index": 0, "truth": np.arange(12) % 3 == 0, "members": [values, values],
             "completeness": found.completeness, "attribution_options": made, "options": FEW}
    told = measure_series([reading], values, **given)
    assert set(told.methods) == set(SLICE_METHODS) - {"slice_scores"}
    for name, figures in told.methods.items():
        assert set(figures) == set(MEASURES) - {"seconds"} - (
            set() if name == "integrated_gradients" else {"completeness"}
        )
        assert figures["agreement"].value == pytest.approx(1.0)
    assert told.methods["leave_out"]["leave_one_out"].value == pytest.approx(1.0)
    assert told.best in values
    again = measure_series([reading], values, **given)
    assert again.methods == told.methods
    assert told.curves is not None


def test_a_series_of_one_slice_has_nothing_to_measure():
    reading = reading_of(count=1)
    values = {name: one.numpy() for name, one in attribute_slices([reading]).of_class(0).items()}
    told = measure_series([reading], values, class_index=0, options=FEW)
    assert told.best == ""
    assert told.curves is None
    assert "no order" in told.words[0]


def test_what_ignores_the_weights_is_never_the_best_and_is_told():
    figures = {
        "attention": {"gap": Measured(value=0.1, n=5), "randomised": Measured(value=0.2), "beats_random":
                      Measured(value=0.9)},
        "gradient_input": {"gap": Measured(value=0.3, low=0.2, high=0.4), "randomised": Measured(value=0.9)},
    }
    assert choose_best(figures) == "attention"
    assert choose_best({"attention": {}}) == ""
    said = " ".join(tell_model(figures, best="attention", count=5, split="test"))
    assert "gradient × input" in said.partition("shuffled")[2]
    assert "doubt" in " ".join(tell_series(figures, best="attention"))
    assert tell_model({}, best="", count=0, split="") == ("Nothing was measured.",)


@pytest.mark.parametrize(("methods", "share", "doubted"), [(1, 0.96, False), (6, 0.96, True), (6, 1.0, False)])
def test_the_best_of_several_has_to_beat_more_random_orders(methods, share, doubted):
    figures = {name: {"gap": Measured(value=0.1), "beats_random": Measured(value=share)}
               for name in [*SLICE_METHODS][:methods]}
    assert ("doubt" in " ".join(tell_series(figures, best="attention"))) == doubted


def test_the_method_that_is_shown_answers_for_itself():
    figures = {name: {"gap": Measured(value=gap), "beats_random": Measured(value=share)}
               for name, gap, share in (("leave_out", 0.3, 1.0), ("attention", -0.1, 0.3))}
    (said,) = tell_shown(figures, shown="attention", best="leave_out")
    assert "attention, has −0.100" in said
    assert "30 % of random" in said
    assert "doubt" in said
    assert tell_shown(figures, shown="leave_out", best="leave_out") == ()
    assert tell_shown(figures, shown="slice_scores", best="leave_out") == ()


def test_words_say_why_a_method_is_shown():
    choice = Choice(split="val", count=7, methods={})
    assert "asked for" in why_shown("attention", asked=True)
    assert "best of all methods on 7 validation series" in why_shown("attention", choice=choice)
    assert "all that was made" in why_shown("attention")
    assert "nothing was measured" in why_shown("integrated_gradients")
    assert "no validation series could be read" in why_shown("integrated_gradients", measured=True)


def test_what_chose_is_never_told_as_what_estimates():
    of_test = {"leave_out": {"gap": Measured(value=0.1, low=0.0, high=0.2)}, "attention": {"gap": Measured(value=0.3)}}
    of_val = {"leave_out": {"gap": Measured(value=0.4)}, "attention": {"gap": Measured(value=0.2)}}
    choice = Choice(split="val", count=7, methods=of_val)
    said = tell_model(of_test, best="leave_out", count=9, split="test", choice=choice)
    assert said[0].startswith("On 7 validation series of its training leave one out measured best")
    assert "+0.400" in said[0]
    assert said[1] == "On 9 test series, which chose nothing, leave one out: +0.100 (+0.000 to +0.200)."
    folds = tell_model(of_test, best="leave_out", count=9, split="test", choice=replace(choice, overlap=4))
    assert "On 9 test series, of which 4 chose as validation series of other folds" in folds[1]
    alone = " ".join(tell_model(of_val, best="leave_out", count=7, split="val", choice=choice))
    assert "optimistic" in alone
    assert "chose nothing" not in alone
    gone = tell_model(of_test, best="", count=9, split="test")
    assert "No validation series of the training could be read" in gone[0]
    assert "integrated gradients" in gone[0]


def test_a_method_that_was_passed_over_is_told_with_its_reason():
    kept = {"attention": (0.6, 0.7), "leave_out": (0.4, 0.1), "gradient_input": (0.3, 0.2)}
    of_val = {name: {"gap": Measured(value=gap), "randomised": Measured(value=same)}
              for name, (gap, same) in kept.items()}
    choice = Choice(split="val", count=7, methods=of_val)
    assert choose_best(of_val) == "leave_out"
    said = tell_model(of_val, best="leave_out", count=9, split="test", choice=choice)
    assert "best of the methods whose order changes when the weights are shuffled" in said[0]
    assert "unless another is asked for" in said[0]
    assert said[1].startswith("Higher on them and not chosen")
    assert said[1].endswith("attention +0.600.")
    assert "shuffled" in why_shown("leave_out", choice=choice)
    assert "of all methods" not in why_shown("leave_out", choice=choice)


def test_figures_on_disk_come_back_and_belong_to_one_model(tmp_path, caplog):
    path = tmp_path / "faithfulness.json"
    found = Faithfulness(
        about="model", methods={"attention": {"gap": Measured(value=0.1, low=0.0, high=0.2, chance=0.0, n=9)}},
        best="attention", words=("One.",), count=9, split="test",
        choice=Choice(split="val", count=4, methods={"attention": {"gap": Measured(value=0.3)}}),
    )  # fmt: skip
    found = replace(found, pixels=replace(found, best="grad_cam", choice=None))
    assert load_faithfulness(path) is None
    found.save(path, digest="a")
    assert load_faithfulness(path, digest="a") == found
    assert load_faithfulness(path, digest="b") is None
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(ModelError, match="not of format"):
        load_faithfulness(path)
    path.write_text(json.dumps({**content, "format": 1}))
    assert load_faithfulness(path) is None
    assert "Measure it again" in caplog.text
    path.write_text("{")
    with pytest.raises(ModelError, match="Measure it again"):
        load_faithfulness(path)
