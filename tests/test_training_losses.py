"""The training objectives are the formulas that they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from armap_agents.training.loss import binary_loss, pairwise_loss, value_loss

numbers = st.floats(min_value=-30, max_value=30, width=32)
chances = st.floats(0, 1, width=32)
Row = tuple[float, float, float, float]
rows = st.lists(st.tuples(numbers, numbers, chances, numbers), min_size=1, max_size=8)


def columns(rows: list[Row]) -> tuple[list[NDArray[np.float64]], list[torch.Tensor]]:
    arrays = list(np.array(rows, dtype=np.float64).T)
    return arrays, [torch.tensor(column, dtype=torch.float32) for column in arrays]


def sigmoid_log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.logaddexp(0, -x)


@given(rows)
def test_pairwise_loss_is_the_formula(rows: list[Row]) -> None:
    (good, bad, p, margin), (r, s, label, least) = columns(rows)
    d = good - bad - margin
    base = np.mean(-p * sigmoid_log(d) - (1 - p) * sigmoid_log(-d))
    squared = base + 0.01 * np.mean((good + bad) ** 2)
    paper = base + 1e-3 * abs(np.mean(good + bad))
    assert float(pairwise_loss(r, s, label, least)) == pytest.approx(squared, rel=1e-4, abs=1e-4)
    assert float(pairwise_loss(r, s, label, least, "paper")) == pytest.approx(
        paper, rel=1e-4, abs=1e-4
    )


@given(rows)
def test_a_label_of_one_half_rewards_no_order(rows: list[Row]) -> None:
    _, (good, bad, _, _) = columns(rows)
    half, none = torch.full_like(good, 0.5), torch.zeros_like(good)
    one, other = pairwise_loss(good, bad, half, none), pairwise_loss(bad, good, half, none)
    assert float(one) == pytest.approx(float(other), rel=1e-5)


@given(rows)
def test_binary_loss_is_the_cross_entropy_of_each_trajectory(rows: list[Row]) -> None:
    (good, bad, p, _), tensors = columns(rows)
    better = -p * sigmoid_log(good) - (1 - p) * sigmoid_log(-good)
    worse = -(1 - p) * sigmoid_log(bad) - p * sigmoid_log(-bad)
    expected = np.mean(np.concatenate([better, worse]))
    assert float(binary_loss(*tensors[:3])) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_losses_compute_in_float32() -> None:
    half = torch.tensor([60.0, -60.0], dtype=torch.bfloat16)
    ones, none = torch.ones(2), torch.zeros(2)
    assert pairwise_loss(half, half.flip(0), ones, none).dtype == torch.float32
    assert binary_loss(half, half.flip(0), ones).dtype == torch.float32
    assert value_loss(half, ones).dtype == torch.float32


@given(st.lists(st.tuples(numbers, chances), min_size=1, max_size=8))
def test_value_loss_is_cross_entropy_with_soft_targets(rows: list[tuple[float, float]]) -> None:
    logits, returns = np.array(rows, dtype=np.float64).T
    expected = np.mean(np.logaddexp(0, logits) - returns * logits)
    found = value_loss(
        torch.tensor(logits, dtype=torch.float32), torch.tensor(returns, dtype=torch.float32)
    )
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_value_loss_of_nothing_is_zero() -> None:
    assert float(value_loss(torch.zeros(0), torch.zeros(0))) == 0.0
