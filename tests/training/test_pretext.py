"""Questions without labels: what is asked, that no answer is given away, and that the baselines are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seriatim.experiment.pretraining import PretrainingSettings
from seriatim.models import NetworkSettings
from seriatim.models.pretext import PretextHeads
from seriatim.training.pretext import (
    Answers,
    Questions,
    Scale,
    answer,
    draw_exchanges,
    draw_question,
    losses,
    pad_questions,
)  # fmt: skip
from seriatim.training.pretext_scores import PretextScores, guess_hidden

SETTINGS = PretrainingSettings()


def ask(count: int, *, apart: int = 1, most: int = 64, seed: int = 0, exchange: bool | None = None):
    return draw_question(count, SETTINGS, apart=apart, most=most, seed=seed, exchange=exchange)


@pytest.mark.parametrize("count", [3, 4, 5, 12, 64])
def test_exchanges_are_pairs_and_never_the_whole_series_reversed(count: int) -> None:
    generator = np.random.default_rng(0)
    moved = []
    for _ in range(200):
        order = draw_exchanges(count, share=0.5, generator=generator)
        assert (order[order] == np.arange(count)).all()  # exchanged twice is the series itself: nothing else moves
        assert not (order == np.arange(count)[::-1]).all()
        moved.append(int((order != np.arange(count)).sum()))
    assert min(moved) == 2
    assert max(moved) <= max(2, count // 2)


def test_half_of_the_draws_exchange_and_a_draw_follows_from_its_seed() -> None:
    drawn = [ask(20, seed=seed) for seed in range(300)]
    exchanged = [bool((one.order != torch.arange(20)).any()) for one in drawn]
    assert 0.4 < np.mean(exchanged) < 0.6
    again = ask(20, seed=7)
    assert all(torch.equal(getattr(again, name), getattr(drawn[7], name)) for name in ("shown", "order", "hidden"))
    assert len({tuple(one.hidden.tolist()) for one in drawn}) > 100
    assert all(int(one.hidden.sum()) == 3 for one in drawn)


@pytest.mark.parametrize(("count", "apart"), [(3, 1), (9, 3), (10, 3), (11, 3), (200, 3), (200, 1), (15, 5)])
def test_shown_slices_share_no_picture_and_are_enough(count: int, apart: int) -> None:
    starts = set()
    for seed in range(50):
        one = ask(count, apart=apart, most=4, seed=seed)
        assert len(one.shown) >= 3
        assert int(one.shown.diff().min()) >= apart
        assert int(one.shown[0]) >= 0
        assert int(one.shown[-1]) < count
        assert not bool(one.hidden.all())
        starts.add(int(one.shown[0]))
    assert apart == 1 or len(starts) > 1


def network_of(size: int = 6):
    settings = NetworkSettings.model_validate({
        "encoder": {"kind": "small_cnn", "widths": [4, size]}, "temporal": {"kind": "lstm", "hidden": 5},
        "pooling": {"kind": "attention", "hidden": 4},
    })  # fmt: skip
    torch.manual_seed(0)
    network = settings.build(1, 1).eval()
    return network, PretextHeads(size, network.temporal.context_size)


def batch_of(lengths: list[int], *, size: int = 6, seed: int = 0, exchange: bool = True) -> Questions:
    torch.manual_seed(seed)
    embeddings = [torch.randn(length, size) for length in lengths]
    questions = [ask(length, seed=index, exchange=exchange) for index, length in enumerate(lengths)]
    return pad_questions(questions, embeddings, embeddings)


def test_a_hidden_slice_is_not_seen_and_the_others_are() -> None:
    network, heads = network_of()
    questions = batch_of([9])
    place = int(torch.nonzero(questions.hidden[0])[0])
    told = answer(network, heads, questions).pictures[0, place]
    for index in range(9):
        changed = questions.inputs.clone()
        changed[0, index] += 1
        other = Questions(inputs=changed, targets=questions.targets, order=questions.order, hidden=questions.hidden,
                          mask=questions.mask)
        same = torch.equal(answer(network, heads, other).pictures[0, place], told)
        assert same == bool(questions.hidden[0, index])


def test_the_order_question_reads_what_is_exchanged_and_padding_changes_nothing() -> None:
    network, heads = network_of()
    alone, padded = batch_of([7]), batch_of([7, 12])
    answers = answer(network, heads, alone)
    reordered = alone.inputs[:, alone.order[0]]
    series, slices = heads.judge_order(network.temporal(reordered, alone.mask), alone.mask)
    assert torch.equal(answers.series_order, series)
    assert torch.equal(answers.slice_order, slices)
    beside = answer(network, heads, padded)
    torch.testing.assert_close(beside.series_order[:1], answers.series_order)
    torch.testing.assert_close(beside.pictures[:1, :7], answers.pictures)
    assert not bool(padded.exchanged[0, 7:].any())


def test_the_losses_count_real_and_hidden_slices_only_and_weigh_as_told() -> None:
    network, heads = network_of()
    questions = batch_of([5, 9])
    scale = Scale.of(torch.cat([questions.targets[0, :5], questions.targets[1]]))
    answers = answer(network, heads, questions)
    found = losses(answers, questions, PretrainingSettings(order_weight=2, hidden_weight=0.5), scale)
    torch.testing.assert_close(found["loss"], 2 * found["order_loss"] + 0.5 * found["hidden_loss"])
    answers.pictures[~questions.hidden] = 1e6
    answers.slice_order[~questions.mask] = 1e6
    again = losses(answers, questions, PretrainingSettings(order_weight=2, hidden_weight=0.5), scale)
    torch.testing.assert_close(again["loss"], found["loss"])


def test_targets_have_mean_0_and_spread_1_and_a_feature_that_never_changes_is_0() -> None:
    values = torch.randn(50, 4) * torch.tensor([1.0, 100.0, 0.01, 0.0]) + 3
    told = Scale.of(values).standardise(values)
    torch.testing.assert_close(told.mean(dim=0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(told.std(dim=0, correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-3, rtol=0)


def test_guesses_without_a_network_are_the_nearest_slice_and_the_line_between_two() -> None:
    values = torch.tensor([0.0, 10.0, 20.0, 70.0, 40.0, 99.0])[None, :, None]
    hidden = torch.tensor([[False, True, True, False, False, True]])
    questions = Questions(inputs=values, targets=values, order=torch.arange(6)[None], hidden=hidden,
                          mask=torch.ones(1, 6, dtype=torch.bool))
    found = guess_hidden(values, questions)
    assert found["_nearest"].flatten()[hidden[0]].tolist() == [0.0, 70.0, 40.0]
    torch.testing.assert_close(found["_between"].flatten()[hidden[0]], torch.tensor([70 / 3, 140 / 3, 40.0]))


def test_a_perfect_answer_scores_1_and_0_and_the_mean_scores_the_spread() -> None:
    questions = batch_of([12] * 6)
    untouched = batch_of([12] * 6, exchange=False)
    scale = Scale.of(questions.targets.flatten(0, 1))
    scores = PretextScores(scale)
    for one in (questions, untouched):
        moved = one.exchanged
        scores.add(Answers(series_order=moved.any(dim=1).float() - 0.5, slice_order=moved.float(),
                           pictures=scale.standardise(one.targets)), one)
    figures = scores.figures(order=True, hidden=True)
    assert figures["order_auc"] == figures["order_accuracy"] == figures["slice_order_auc"] == 1
    assert figures["hidden_error"] == 0
    standard = scale.standardise(torch.cat([one.targets[one.hidden] for one in (questions, untouched)]))
    assert figures["hidden_error_mean"] == pytest.approx(float(standard.square().mean()), rel=1e-5)
    assert set(scores.figures(order=False, hidden=True)) == {
        "hidden_error", "hidden_error_mean", "hidden_error_nearest", "hidden_error_between"
    }  # fmt: skip


def learn(series: list[torch.Tensor], held_out: list[torch.Tensor], *, steps: int) -> dict[str, float]:
    """Figures on held-out embeddings after some steps on others."""
    network, heads = network_of()
    scale = Scale.of(torch.cat(series))
    optimizer = torch.optim.Adam([*network.temporal.parameters(), *heads.parameters()], lr=0.02)
    for step in range(steps):
        chosen = [series[(step * 8 + one) % len(series)] for one in range(8)]
        asked = [ask(len(one), seed=(step, index)) for index, one in enumerate(chosen)]
        shown = [one[question.shown] for one, question in zip(chosen, asked, strict=True)]
        questions = pad_questions(asked, shown, shown)
        optimizer.zero_grad()
        losses(answer(network, heads, questions), questions, SETTINGS, scale)["loss"].backward()
        optimizer.step()
    scores = PretextScores(scale)
    with torch.no_grad():
        for index, one in enumerate(held_out):
            asked = [ask(len(one), seed=(9, index, repeat), exchange=bool(repeat % 2)) for repeat in range(6)]
            questions = pad_questions(asked, [one[q.shown] for q in asked], [one[q.shown] for q in asked])
            scores.add(answer(network, heads, questions), questions)
    return scores.figures(order=True, hidden=True)


def wavy(seed: int) -> torch.Tensor:
    """(S,6) of a series whose slices follow one another smoothly, with noise."""
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(12, 20, (1,), generator=generator))
    place = torch.linspace(0, 3, count)[:, None] * torch.tensor([1.0, 2.0, 0.5, 1.5, 1.0, 0.7])
    return torch.sin(place + torch.arange(6)) + 0.05 * torch.randn(count, 6, generator=generator)


def test_order_and_hidden_slices_are_learnt_where_slices_follow_one_another() -> None:
    figures = learn([wavy(seed) for seed in range(32)], [wavy(seed) for seed in range(100, 112)], steps=150)
    assert figures["order_auc"] > 0.95
    assert figures["slice_order_auc"] > 0.7  # of two slices beside each other it is hard to tell
    assert figures["hidden_error"] < 0.5 * figures["hidden_error_nearest"]


def test_nothing_is_learnt_of_slices_without_order_so_no_short_cut_tells() -> None:
    def noise(seed: int) -> torch.Tensor:
        return torch.randn(14, 6, generator=torch.Generator().manual_seed(seed))

    figures = learn([noise(seed) for seed in range(32)], [noise(seed) for seed in range(100, 140)], steps=60)
    assert 0.4 < figures["order_auc"] < 0.6
    assert 0.4 < figures["slice_order_auc"] < 0.6
    assert figures["hidden_error"] > 0.95 * figures["hidden_error_mean"]
