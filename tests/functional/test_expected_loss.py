"""The exact expected loss against Monte Carlo, brute force, closed forms and finite differences."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.functional.expected_loss import (
    ACTIVATIONS,
    UNIFORM,
    Pieces,
    PiecewiseActivation,
    bottleneck_expected_loss,
    expected_loss,
    independent_supports,
    sharpened,
)

LEVELS: Pieces = ((0.5, 1 / 3, 1 / 3), (0.2, 2 / 3, 2 / 3), (0.3, 1.0, 1.0))
MIXED: Pieces = ((0.4, -1.0, -0.5), (0.2, 0.3, 0.3), (0.4, -0.5, 1.0))
LAWS: list[tuple[Pieces, str]] = [
    (UNIFORM, "identity"),
    (((1.0, 0.5, 1.0),), "identity"),
    (((1.0, -1.0, 1.0),), "abs"),
    (LEVELS, "identity"),
    (MIXED, "identity"),
    (MIXED, "abs"),
]
ELU = PiecewiseActivation(torch.nn.functional.elu, (0.0,))
HARD_TANH = PiecewiseActivation(torch.nn.functional.hardtanh, (-1.0, 1.0), 1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_case(seed: int, n_features: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Readin, bias, p and importance in float64."""
    g = generator(seed)
    W = torch.randn(n_features, 2, generator=g, dtype=torch.float64)
    W_out = W + 0.3 * torch.randn(n_features, 2, generator=g, dtype=torch.float64)
    bias = 0.3 * torch.randn(n_features, generator=g, dtype=torch.float64)
    p, importance = (torch.rand(n_features, generator=g, dtype=torch.float64) for _ in range(2))
    return W_out @ W.T, bias, p, importance


def sample(p: Tensor, pieces: Pieces, n_rows: int, g: torch.Generator) -> Tensor:
    """Rows of features, drawn without the package."""
    shape = (n_rows, len(p))
    weight, low, high = torch.tensor(pieces, dtype=torch.float64).T
    piece = torch.multinomial(weight, n_rows * len(p), replacement=True, generator=g).view(shape)
    values = low[piece] + (high - low)[piece] * torch.rand(shape, generator=g, dtype=torch.float64)
    return torch.where(torch.rand(shape, generator=g, dtype=torch.float64) < p, values, 0.0)


def deviation(seed: int, n_rows: int) -> float:
    """Standard errors between the exact loss and Monte Carlo, for a random network, activation and law."""
    activation = list(ACTIVATIONS)[seed % len(ACTIVATIONS)]
    pieces, target = LAWS[(seed // 2) % len(LAWS)]
    readin, bias, p, importance = random_case(seed)
    exact = expected_loss(
        readin, bias, *independent_supports(p), pieces, importance, activation, target=target  # type: ignore[arg-type]
    )  # fmt: skip
    total, square, g = 0.0, 0.0, generator(1000 + seed)
    for _ in range(n_rows // 100_000):
        x = sample(p, pieces, 100_000, g)
        y = ACTIVATIONS[activation].function(x @ readin.T + bias)
        losses = ((y - (x.abs() if target == "abs" else x)).square() * importance).sum(1)
        total, square = total + losses.sum().item(), square + losses.square().sum().item()
    mean = total / n_rows
    standard_error = math.sqrt((square / n_rows - mean**2) / n_rows)
    assert exact.error < 0.2 * standard_error
    return abs(mean - exact.loss.item()) / standard_error


@pytest.mark.parametrize("seed", range(12))
def test_monte_carlo(seed: int) -> None:
    assert deviation(seed, 200_000) < 4  # standard errors; by chance once in 16,000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 124))
def test_monte_carlo_with_ten_million_samples(seed: int) -> None:
    assert deviation(seed, 10_000_000) < 4


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "elu"])
@pytest.mark.parametrize("target", ["identity", "abs"])
def test_discrete_laws_against_enumeration(activation: str, target: Any) -> None:
    f = ELU if activation == "elu" else ACTIVATIONS[activation]
    readin, bias, p, importance = random_case(3, n_features=3)
    pieces = ((0.5, -0.5, -0.5), (0.2, 0.25, 0.25), (0.3, 1.0, 1.0))
    loss, by_count, chance = 0.0, [0.0] * 4, [0.0] * 4
    for choice in itertools.product([None, *pieces], repeat=3):
        weight = math.prod((1 - q) if c is None else q * c[0] for q, c in zip(p.tolist(), choice, strict=True))
        x = torch.tensor([0.0 if c is None else c[1] for c in choice], dtype=torch.float64)
        t = x.abs() if target == "abs" else x
        each = weight * ((f.function(readin @ x + bias) - t).square() * importance).sum().item()
        k = sum(c is not None for c in choice)
        loss, by_count[k], chance[k] = loss + each, by_count[k] + each, chance[k] + weight
    exact = expected_loss(readin, bias, *independent_supports(p), pieces, importance, f, target=target)
    assert exact.loss.item() == pytest.approx(loss, rel=1e-12)
    assert exact.given_active.tolist() == pytest.approx(
        [a / c for a, c in zip(by_count, chance, strict=True)], rel=1e-12
    )
    assert exact.error < 1e-13


@pytest.mark.parametrize("activation", ["gelu", "silu", "softplus"])
@pytest.mark.parametrize("scale", [1.0, 4.0, 16.0])
def test_sharpened_activations_against_a_fine_grid(activation: str, scale: float) -> None:
    readin = torch.tensor([[1.1, -0.9], [-0.8, 1.2]], dtype=torch.float64)
    bias, p = torch.tensor([-0.2, 0.1], dtype=torch.float64), torch.tensor([0.3, 0.6], dtype=torch.float64)
    side = (torch.arange(800, dtype=torch.float64) + 0.5) / 800
    both = torch.cartesian_prod(side, side)
    total = torch.zeros((), dtype=torch.float64)
    for first, second in itertools.product([False, True], repeat=2):
        x = both * torch.tensor([first, second])
        y = ACTIVATIONS[activation].function(scale * (x @ readin.T + bias)) / scale
        chance = (p[0] if first else 1 - p[0]) * (p[1] if second else 1 - p[1])
        total += chance * (y - x).square().sum(dim=1).mean()
    exact = expected_loss(readin, bias, *independent_supports(p), activation=sharpened(activation, scale))
    assert exact.loss.item() == pytest.approx(total.item(), abs=3e-6)
    assert exact.error < 1e-5


def test_straight_activations_are_as_sharp_as_can_be() -> None:
    assert sharpened("relu", 5.0) == ACTIVATIONS["relu"]
    assert sharpened("gelu", 1.0) == ACTIVATIONS["gelu"]


def test_one_and_two_variables_in_closed_form() -> None:
    """E (relu(x - c) - x)² for one feature, and an antipodal pair: both with a kink inside the cube."""
    one = torch.ones(1, 1, dtype=torch.float64)
    loss = expected_loss(one, torch.tensor([-0.3], dtype=torch.float64), *independent_supports(one[0])).loss
    assert loss.item() == pytest.approx(0.3**3 / 3 + 0.7 * 0.3**2, rel=1e-14)
    W = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    p = torch.full((2,), 0.3, dtype=torch.float64)
    exact = bottleneck_expected_loss(W, torch.zeros(2, dtype=torch.float64), *independent_supports(p))
    assert exact.loss.item() == pytest.approx(0.3**2 / 3, rel=1e-14)
    assert exact.given_active.tolist() == pytest.approx([0, 0, 1 / 3], abs=1e-15)


def test_linear_network_in_closed_form() -> None:
    """E |M x + b - x|² from the mean and covariance of x, to rounding, at any number of features."""
    readin, bias, p, importance = random_case(5, n_features=7)
    difference = readin - torch.eye(7, dtype=torch.float64)
    mean, covariance = p / 2, torch.diag(p / 3 - p**2 / 4)
    second = (difference @ covariance @ difference.T).diagonal() + (difference @ mean + bias).square()
    exact = expected_loss(readin, bias, *independent_supports(p), UNIFORM, importance, "linear")
    assert exact.loss.item() == pytest.approx((second * importance).sum().item(), rel=1e-12)


@pytest.mark.parametrize(
    "activation", ["relu", "abs", ELU, HARD_TANH, "gelu"], ids=("relu", "abs", "elu", "hardtanh", "gelu")
)
def test_the_error_estimate_bounds_the_error(activation: str | PiecewiseActivation) -> None:
    for seed in range(3):
        readin, bias, p, importance = random_case(20 + seed)
        law = independent_supports(p)
        reference = expected_loss(readin, bias, *law, UNIFORM, importance, activation, tolerance=1e-13)
        for tolerance in (1e-3, 1e-5, 1e-7):
            exact = expected_loss(readin, bias, *law, UNIFORM, importance, activation, tolerance=tolerance)
            difference = (exact.loss - reference.loss).abs()
            assert difference <= exact.error + reference.error
            assert difference < 10 * tolerance * max(1.0, readin.abs().max().item() ** 2)


def test_relu_is_exact_to_rounding_when_all_variables_are_cut() -> None:
    """The fully cut rule for 4 variables against a reference that cuts nothing but uses the density of a sum.

    With equal coefficients a, E relu(z + a S)² for a sum S of 4 uniforms is a closed form in cubic splines.
    """
    a, z, n = -0.4, 0.7, 4
    readin = torch.full((1, n + 1), a, dtype=torch.float64)
    readin[0, 0] = 0.0
    on = torch.tensor([[False] + [True] * n])
    exact = expected_loss(readin, torch.tensor([z], dtype=torch.float64), on, torch.ones(1).double(), tolerance=1e-15)
    # E (z + a S)_+^2 = 2! / (2 + n)! / a^n sum_v (-1)^(n - |v|) C(n, v) (z + a v)_+^(2 + n)
    terms = [(-1) ** (n - v) * math.comb(n, v) * max(z + a * v, 0.0) ** (n + 2) for v in range(n + 1)]
    expected = math.factorial(2) / math.factorial(n + 2) / a**n * sum(terms)
    assert exact.loss.item() == pytest.approx(expected, rel=1e-11)


def test_overlaps_near_zero_cost_no_accuracy() -> None:
    readin, bias, p, _ = random_case(7)
    law = independent_supports(p)
    readin[0, 2] = readin[1, 3] = readin[2, 2] = 0.0
    zero = expected_loss(readin, bias, *law, tolerance=1e-13).loss
    for tiny in (1e-300, 1e-17, 1e-13):
        moved = torch.where(readin == 0, tiny, readin)
        assert expected_loss(moved, bias, *law, tolerance=1e-13).loss.item() == pytest.approx(zero.item(), abs=1e-11)
    all_zero = expected_loss(0 * readin, 0 * bias, *law).loss
    assert all_zero.item() == pytest.approx((p / 3).sum().item(), rel=1e-12)


@pytest.mark.parametrize(
    ("activation", "law"),
    [
        *(("relu", law) for law in range(len(LAWS))),
        ("abs", 0),
        ("abs", 5),
        ("gelu", 0),
        ("gelu", 5),
        ("silu", 2),
        (ELU, 0),
    ],
    ids=lambda value: "elu" if value is ELU else str(value),
)
def test_gradients(activation: str | PiecewiseActivation, law: int) -> None:
    pieces, target = LAWS[law]
    readin, bias, p, importance = random_case(30 + law, n_features=3 if len(pieces) == 1 else 2)
    supports = independent_supports(p)

    def loss(readin: Tensor, bias: Tensor, importance: Tensor) -> Tensor:
        parts = expected_loss(
            readin, bias, *supports, pieces, importance, activation, target, 1e-10, estimate_error=False  # type: ignore[arg-type]
        )  # fmt: skip
        return torch.cat([parts.loss.view(1), parts.given_active])

    inputs = tuple(each.requires_grad_() for each in (readin, bias, importance))
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-6)


def test_gradient_of_more_variables_than_are_cut() -> None:
    readin, bias, p, _ = random_case(8)
    supports = independent_supports(p)

    def loss(readin: Tensor, bias: Tensor) -> Tensor:
        return expected_loss(readin, bias, *supports, tolerance=1e-4, estimate_error=False).loss

    assert torch.autograd.gradcheck(loss, (readin.requires_grad_(), bias.requires_grad_()), eps=1e-6, atol=1e-6)


def test_instances_are_independent_and_broadcast() -> None:
    cases = [random_case(seed) for seed in range(3)]
    readin, bias, p, importance = (torch.stack(parts) for parts in zip(*cases, strict=True))
    supports, probability = independent_supports(p)
    together = expected_loss(readin, bias, supports, probability, importance=importance, tolerance=1e-13)
    for index in range(3):
        alone = expected_loss(
            readin[index], bias[index], supports, probability[index], importance=importance[index], tolerance=1e-13
        )
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[index], part, rtol=1e-9, atol=1e-9)
    swept = expected_loss(readin[0], bias[0], supports, probability, importance=importance[:, None], tolerance=1e-13)
    assert swept.loss.shape == (3, 3)
    torch.testing.assert_close(swept.loss.diagonal()[0], together.loss[0], rtol=1e-9, atol=1e-9)


def test_correlated_supports() -> None:
    """Features that fire together: given both, the loss is that of two sure features."""
    readin, bias, _, _ = random_case(9, n_features=2)
    supports = torch.tensor([[False, False], [True, True]])
    both = expected_loss(readin, bias, supports[1:], torch.ones(1).double()).loss
    parts = expected_loss(readin, bias, supports, torch.tensor([0.8, 0.2], dtype=torch.float64))
    assert parts.loss.item() == pytest.approx(0.8 * bias.relu().square().sum().item() + 0.2 * both.item(), rel=1e-9)
    assert parts.given_active.isnan().tolist() == [False, True, False]


def test_dropout_masks_and_untied_weights_are_readins() -> None:
    g = generator(0)
    W, W_out = (torch.randn(3, 2, generator=g, dtype=torch.float64) for _ in range(2))
    b, law = torch.zeros(3, dtype=torch.float64), independent_supports(torch.full((3,), 0.2, dtype=torch.float64))
    assert torch.equal(bottleneck_expected_loss(W, b, *law, W_out=W_out).loss, expected_loss(W_out @ W.T, b, *law).loss)
    mask = torch.tensor([2.0, 0.0], dtype=torch.float64)
    masked = bottleneck_expected_loss(W[:, :1] * 2, b, *law, W_out=W_out[:, :1]).loss
    torch.testing.assert_close(expected_loss((W_out * mask) @ W.T, b, *law).loss, masked)


def test_dtype_is_kept() -> None:
    readin, bias, p, _ = (each.float() for each in random_case(2))
    wide = expected_loss(readin.double(), bias.double(), *independent_supports(p.double()))
    narrow = expected_loss(readin, bias, *independent_supports(p))
    assert {part.dtype for part in narrow} == {torch.float32}
    assert narrow.loss.item() == pytest.approx(wide.loss.item(), rel=1e-5)


def test_eight_features() -> None:
    """A square of antipodal pairs in four dimensions, for which the loss is a sum over pairs."""
    W = torch.cat([torch.eye(4), -torch.eye(4)]).double()
    p = torch.full((8,), 0.1, dtype=torch.float64)
    exact = bottleneck_expected_loss(W, torch.zeros(8).double(), *independent_supports(p))
    assert exact.loss.item() == pytest.approx(4 * 0.1**2 / 3, abs=1e-7)
    assert exact.error < 1e-5


ZERO = torch.zeros(2, dtype=torch.float64)
EYE = torch.eye(2, dtype=torch.float64)
LAW = independent_supports(ZERO + 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: independent_supports(torch.ones(13)), "n_features is 13; allowed: at most 12 independent features"),
        (lambda: expected_loss(EYE, ZERO, *LAW, activation="rleu"), r"activation is 'rleu'.*did you mean relu"),
        (lambda: expected_loss(EYE, ZERO, *LAW, target="square"), "target is 'square'; allowed: identity or abs"),  # type: ignore[arg-type]
        (lambda: expected_loss(EYE, ZERO, *LAW, pieces=((0.5, 0, 1),)), "pieces is .*; allowed: .*add up to 1"),
        (lambda: expected_loss(EYE, ZERO, *LAW, pieces=((1, 1, 0),)), "pieces is .*; allowed: .*low ≤ high"),
        (lambda: expected_loss(EYE, ZERO, LAW[0].int(), LAW[1]), "supports is 'torch.int32 .*; allowed: torch.bool"),
        (lambda: expected_loss(EYE, ZERO, LAW[0], LAW[1][:3]), r"probability is \(3,\); allowed: .*n_supports = 4"),
        (lambda: expected_loss(EYE, ZERO, LAW[0], LAW[1] * 2), "probability is 2.0; allowed: numbers ≥ 0 that add up"),
        (lambda: expected_loss(torch.ones(3, 2), torch.zeros(3), *LAW), "n_outputs is 3; allowed: at most n_features"),
        (
            lambda: expected_loss(torch.ones(20, 20), torch.zeros(20), torch.ones(1, 20).bool(), torch.ones(1)),
            "20 features are active at once; allowed: at most 12",
        ),
        (
            lambda: expected_loss(
                torch.ones(12, 12), torch.zeros(12), *independent_supports(torch.full((12,), 0.5)),
                pieces=((0.5, 0.0, 0.5), (0.5, 0.5, 1.0)),
            ),
            "the exact loss would take .* evaluations for each instance; allowed: 2.1e",
        ),
    ],
)  # fmt: skip
def test_bad_input(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
