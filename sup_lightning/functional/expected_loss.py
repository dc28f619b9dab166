"""The exact expected loss of a network with one output non-linearity, y_j = f(sum_i readin_ji x_i + bias_j).

The expectation is a sum over supports (which features are active) and pieces (of the law of their values) of integrals
over a unit cube. For one output each is

    E_u (f(z + a · u) - t - τ · u)²,   u uniform on [0, 1]^k,

and is integrated one variable at a time. The variable with the largest |a_l| is innermost, so that nothing is divided
by a small coefficient; its range is cut where f has a kink. What is left after l integrations is smooth but for the
hyperplanes on which the kink meets a corner of the l variables, so the next variable is cut there. Between cuts a
piecewise polynomial f leaves a polynomial, and Gauss-Legendre with enough nodes is exact: integrals over k variables
are exact to rounding when all k are cut, at a cost of 4, 24, 360, 9,720 … evaluations for ReLU. Beyond a few variables
only the innermost ones are cut, and the others get plain Gauss-Legendre nodes: the cuts are then at kinks of a high
derivative only. (Plain nodes for all variables would cross the kinks of f itself, and be good to 1 %.)
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sup_lightning.errors import UserError, did_you_mean, reject

Pieces = Sequence[tuple[float, float, float]]
"""A law of values: (weight, low, high) of each uniform piece; low == high is an atom."""

Target = Literal["identity", "abs"]

UNIFORM: Pieces = ((1.0, 0.0, 1.0),)
"""Values uniform on [0, 1]."""

MAX_FEATURES = 12
"""Most independent features (4,096 supports), and most features that may be active at once."""

MAX_EVALUATIONS = 2**31
"""Most evaluations of the integrand for one instance: a minute or so on one core."""

CHUNK = 2**16
"""Evaluations held at once: 0.5 MB in float64 for each of about twenty tensors, so that they stay in the cache."""


class PiecewiseActivation(NamedTuple):
    """An elementwise activation, smooth between its kinks.

    Attributes:
        function: The activation; continuous.
        kinks: Where a derivative jumps.
        degree: Of the polynomials between the kinks; None if they are not polynomials.
    """

    function: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()
    degree: int | None = None


ACTIVATIONS: dict[str, PiecewiseActivation] = {
    "relu": PiecewiseActivation(F.relu, (0.0,), 1),
    "linear": PiecewiseActivation(lambda z: z, (), 1),
    "abs": PiecewiseActivation(torch.abs, (0.0,), 1),
    "gelu": PiecewiseActivation(F.gelu),
    "silu": PiecewiseActivation(F.silu),
    "softplus": PiecewiseActivation(F.softplus),
}


@lru_cache
def sharpened(activation: str, scale: float) -> PiecewiseActivation:
    """f(scale · z) / scale for a named activation f: the same function at scale 1, nearer to ReLU at a larger one.

    A smooth f that is made sharp bends within 4 / scale of 0. Its range is cut there, so that the quadrature sees it.

    >>> sharpened("gelu", 8.0).kinks
    (-0.5, 0.0, 0.5)
    """
    f = _activation(activation)
    if scale == 1 or f.degree is not None:  # those with pieces are homogeneous
        return f
    return PiecewiseActivation(lambda z: f.function(scale * z) / scale, (-4 / scale, 0.0, 4 / scale))


class ExpectedLoss(NamedTuple):
    """What `expected_loss` returns.

    Attributes:
        loss: `[...]` importance-weighted sum over outputs of E (y_j - t(x_j))².
        given_active: `[..., n_features + 1]` the loss given that k features are active; NaN where that cannot be.
        error: `[...]` estimate of the quadrature error of `loss`, from two orders; NaN if not asked for.
    """

    loss: Tensor
    given_active: Tensor
    error: Tensor


_CUT_ERROR = {
    1: {2: 5e-3, 3: 1e-3, 4: 4e-4, 6: 1.5e-4},
    2: {2: 2e-3, 3: 1e-4, 4: 2e-5, 5: 1e-5, 6: 3e-6, 8: 1.5e-6, 10: 6e-7, 12: 4e-7},
    3: {2: 1e-3, 3: 1e-5, 4: 3e-6, 5: 6e-7, 6: 3e-7, 8: 8e-8, 10: 3e-8, 12: 1e-8},
    4: {2: 5e-5, 3: 5e-8, 4: 5e-9, 5: 1e-9},
}
"""Greatest error seen over random ReLU outputs with |a_l| ≤ 1.2, by variables cut and nodes for each other variable."""

_SMOOTH_ERROR = {2: 1e-2, 3: 1e-3, 4: 1e-4, 5: 1e-5, 6: 1e-6, 7: 1e-7, 8: 1e-8, 10: 1e-10, 12: 1e-12}
"""The same for GELU, SiLU and softplus, where nothing is cut, with room to spare."""

_ROW_EVALUATIONS = 100_000
"""Most evaluations for one output on one support; past it the tolerance gives way (and the error estimate tells)."""


def independent_supports(feature_probability: Tensor) -> tuple[Tensor, Tensor]:
    """All supports of features that fire independently, for `expected_loss`.

    Args:
        feature_probability: p, `[..., n_features]`.

    Returns:
        `[2^n_features, n_features]` bool, and `[..., 2^n_features]` their probabilities.

    Raises:
        UserError: If there are more than `MAX_FEATURES` features.

    >>> supports, probability = independent_supports(torch.tensor([0.5, 0.1]))
    >>> supports.int().tolist(), [round(p, 3) for p in probability.tolist()]
    ([[0, 0], [1, 0], [0, 1], [1, 1]], [0.45, 0.45, 0.05, 0.05])
    """
    n_features = feature_probability.shape[-1]
    if n_features > MAX_FEATURES:
        reject("n_features", n_features, f"at most {MAX_FEATURES} independent features for the exact loss")
    codes = torch.arange(2**n_features, device=feature_probability.device)
    supports = (codes[:, None] >> torch.arange(n_features, device=codes.device)) % 2 == 1
    p = feature_probability.unsqueeze(-2)
    return supports, torch.where(supports, p, 1 - p).prod(dim=-1)


def bottleneck_expected_loss(
    W: Tensor, b: Tensor, supports: Tensor, probability: Tensor, W_out: Tensor | None = None, **settings: Any
) -> ExpectedLoss:
    """`expected_loss` of the bottleneck x' = f(W_out W^T x + b).

    Args:
        W: Feature directions `[..., n_features, n_hidden]`.
        b: `[..., n_features]`.
        supports: As in `expected_loss`.
        probability: As in `expected_loss`.
        W_out: `[..., n_features, n_hidden]`; W if left out.
        settings: Other arguments of `expected_loss`.

    Two features with probability 1/10, as an antipodal pair (Elhage et al. 2022: loss p² / 3):

    >>> supports, probability = independent_supports(torch.tensor([0.1, 0.1]))
    >>> bottleneck_expected_loss(torch.tensor([[1.0], [-1.0]]), torch.zeros(2), supports, probability).loss
    tensor(0.0033)
    """
    return expected_loss((W if W_out is None else W_out) @ W.mT, b, supports, probability, **settings)


def expected_loss(
    readin: Tensor,
    bias: Tensor,
    supports: Tensor,
    probability: Tensor,
    pieces: Pieces = UNIFORM,
    importance: Tensor | float = 1.0,
    activation: str | PiecewiseActivation = "relu",
    target: Target = "identity",
    tolerance: float = 1e-8,
    estimate_error: bool = True,
) -> ExpectedLoss:
    """Exact expected loss sum_j I_j E (f(readin_j · x + bias_j) - t(x_j))² of sparse features x.

    A support is drawn, then the values of its features, independently from the law `pieces`; other features are 0.
    Differentiable once in readin, bias and importance. For ReLU and laws of atoms, or supports of which all larger ones
    are rare, the result is exact to rounding; else its error is about `tolerance`, which the estimate checks.

    Args:
        readin: `[..., n_outputs, n_features]`, with n_outputs ≤ n_features: output j is to be t(x_j). W_out W^T of a
            bottleneck; with a mask on its hidden layer, W_out diag(mask) W^T.
        bias: `[..., n_outputs]`.
        supports: `[n_supports, n_features]` bool, which features are active.
        probability: `[..., n_supports]`, adding up to 1.
        pieces: Law of an active feature's value, (weight, low, high) of uniform pieces; low == high is an atom.
        importance: I, broadcastable to `[..., n_outputs]`.
        activation: f, a name of `ACTIVATIONS` or a `PiecewiseActivation`.
        target: t, `identity` or `abs`.
        tolerance: Absolute error aimed at, for weights and importance of about 1.
        estimate_error: Whether to estimate the error, at about the cost of the loss without its gradient.

    Returns:
        Loss, loss given the number of active features, and estimated error.

    Raises:
        UserError: If the law is not one, or the sum has more than `MAX_EVALUATIONS` terms.

    >>> x = torch.eye(2, dtype=torch.float64)
    >>> law = independent_supports(torch.tensor([0.1, 0.1], dtype=torch.float64))
    >>> expected_loss(0 * x, torch.zeros(2, dtype=torch.float64), *law).loss  # 2 p E x²
    tensor(0.0667, dtype=torch.float64)
    """
    f = _activation(activation)
    laws = _signed_pieces(pieces, target)
    n_outputs, n_features = readin.shape[-2:]
    _check_law(supports, probability, n_outputs, n_features)
    weight = torch.as_tensor(importance, dtype=readin.dtype, device=readin.device)
    weight = weight.expand(*weight.shape[:-1], n_outputs)
    leading = torch.broadcast_shapes(readin.shape[:-2], bias.shape[:-1], probability.shape[:-1], weight.shape[:-1])
    flat_readin = readin.expand(*leading, n_outputs, n_features).reshape(-1, n_outputs, n_features)
    flat_bias = bias.expand(*leading, n_outputs).reshape(-1, n_outputs)
    flat_probability = probability.detach().to(readin.dtype).expand(*leading, len(supports)).reshape(-1, len(supports))

    scale = max(float(weight.detach().sum(-1).max()), torch.finfo(readin.dtype).tiny)
    groups = _groups(supports, flat_probability, laws, f, tolerance / scale)
    work = n_outputs * sum(len(group.active) * group.plan.evaluations for group in groups)
    if work > MAX_EVALUATIONS:
        raise UserError(
            f"the exact loss would take {work:.1e} evaluations for each instance; allowed: {MAX_EVALUATIONS:.1e} "
            "(take fewer features, supports or values)"
        )
    shares, errors = _Shares.apply(flat_readin, flat_bias, flat_probability, groups, f, estimate_error)  # type: ignore[no-untyped-call]
    by_count = (shares.view(*leading, n_features + 1, n_outputs) * weight.unsqueeze(-2)).sum(-1)
    error = (errors.view(*leading, n_outputs) * weight).sum(-1)
    if estimate_error:
        error = error + 16 * torch.finfo(readin.dtype).eps * weight.sum(-1)
    chance = flat_probability.new_zeros(len(flat_probability), n_features + 1)
    chance.index_add_(1, supports.sum(-1), flat_probability)
    chance = chance.view(*leading, n_features + 1)
    given_active = torch.where(chance > 0, by_count / torch.where(chance > 0, chance, 1), torch.nan)
    return ExpectedLoss(by_count.sum(-1), given_active, error.detach())


def _activation(activation: str | PiecewiseActivation) -> PiecewiseActivation:
    if isinstance(activation, PiecewiseActivation):
        return activation
    if activation not in ACTIVATIONS:
        names = ", ".join(ACTIVATIONS)
        reject("activation", activation, f"{names}, or a PiecewiseActivation{did_you_mean(activation, ACTIVATIONS)}")
    return ACTIVATIONS[activation]


def _signed_pieces(pieces: Pieces, target: Target) -> list[tuple[float, float, float, float]]:
    """The law, checked: (weight, low, high, slope of the target), with pieces cut where the target has its kink."""
    if target not in ("identity", "abs"):
        reject("target", target, "identity or abs")
    total = sum(weight for weight, _, _ in pieces)
    if abs(total - 1) > 1e-6 or any(weight < 0 or low > high for weight, low, high in pieces):
        reject("pieces", list(pieces), "(weight, low, high) with low ≤ high, and weights ≥ 0 that add up to 1")
    cut = []
    for weight, low, high in pieces:
        if target == "abs" and low < 0 < high:
            cut.append((weight * -low / (high - low), low, 0.0, -1.0))
            cut.append((weight * high / (high - low), 0.0, high, 1.0))
        elif weight > 0:
            cut.append((weight, low, high, -1.0 if target == "abs" and low < 0 else 1.0))
    return cut


def _check_law(supports: Tensor, probability: Tensor, n_outputs: int, n_features: int) -> None:
    if supports.ndim != 2 or supports.shape[1] != n_features or supports.dtype != torch.bool:
        shape = f"{supports.dtype} {tuple(supports.shape)}"
        reject("supports", shape, f"torch.bool [n_supports, n_features] with n_features = {n_features}")
    if probability.shape[-1] != len(supports):
        reject("probability", tuple(probability.shape), f"[..., n_supports] with n_supports = {len(supports)}")
    if not (bool((probability >= 0).all()) and bool(((probability.sum(-1) - 1).abs() < 1e-4).all())):
        reject("probability", probability.sum(-1).tolist(), "numbers ≥ 0 that add up to 1")
    if n_outputs > n_features:
        reject("n_outputs", n_outputs, f"at most n_features = {n_features}: output j is compared with feature j")


class _Plan(NamedTuple):
    """How an integral over the unit cube is done: `n_cut` variables cut at kinks, `order` nodes for the others."""

    n_cut: int
    order: int
    evaluations: int
    exact: bool


class _Group(NamedTuple):
    """Supports of one size, with a piece for each feature: `n_items` integrals that are done alike.

    Attributes:
        active: `[n_items, n_active]` the active features.
        low: `[n_items, n_active]` least value of each.
        width: `[n_items, n_active]` range of its values, 0 for an atom.
        sign: `[n_items, n_active]` slope of the target.
        weight: `[n_items]` probability of these pieces.
        support: `[n_items]` row of the supports.
        n_continuous: Number of features with a range.
        plan: How to integrate.
        lower: A cheaper way, to see the error; None if the plan is exact.
    """

    active: Tensor
    low: Tensor
    width: Tensor
    sign: Tensor
    weight: Tensor
    support: Tensor
    n_continuous: int
    plan: _Plan
    lower: _Plan | None


def _groups(
    supports: Tensor,
    probability: Tensor,
    laws: list[tuple[float, float, float, float]],
    f: PiecewiseActivation,
    tolerance: float,
) -> list[_Group]:
    """All (support, pieces) that can happen, in groups of equal size and number of continuous variables."""
    law = torch.tensor(laws, dtype=probability.dtype, device=probability.device)  # [n_pieces, 4]
    n_active, possible = supports.sum(-1), (probability > 0).any(dim=0)
    groups = []
    for k in n_active[possible].unique().tolist():
        rows = (possible & (n_active == k)).nonzero().squeeze(1)
        if k > MAX_FEATURES:
            raise UserError(f"{k} features are active at once; allowed: at most {MAX_FEATURES} for the exact loss")
        if len(laws) ** k * len(rows) > MAX_EVALUATIONS // 2**10:
            raise UserError(f"{k} active features with {len(laws)} pieces each are too many for the exact loss")
        features = supports[rows].nonzero()[:, 1].view(len(rows), k)
        choices = torch.tensor([], dtype=torch.long, device=law.device).view(1, 0)
        for _ in range(k):
            each = torch.arange(len(laws), device=law.device)
            choices = torch.cat(
                [choices.repeat_interleave(len(laws), dim=0), each.repeat(len(choices)).unsqueeze(1)], dim=1
            )
        chance = probability[:, rows].sum(-1).max().item()
        n_continuous = (law[choices, 2] > law[choices, 1]).sum(-1)
        for c in n_continuous.unique().tolist():
            pieces = law[choices[n_continuous == c]]  # [n_choices, k, 4]
            weight, low, high, sign = (part.repeat(len(rows), 1) for part in pieces.unbind(-1))
            weight = weight.prod(-1)
            plan = _plan(f, c, tolerance / (chance * pieces[..., 0].prod(-1).sum().item()))
            groups.append(
                _Group(
                    active=features.repeat_interleave(len(pieces), dim=0),
                    low=low,
                    width=high - low,
                    sign=sign,
                    weight=weight,
                    support=rows.repeat_interleave(len(pieces)),
                    n_continuous=c,
                    plan=plan,
                    lower=None if plan.exact else _sized(f, c, plan.n_cut, plan.order - 1),
                )
            )
    return groups


def _level_order(f: PiecewiseActivation, level: int, n_cut: int, order: int) -> int:
    """Nodes in each interval of a variable; `level` variables are integrated before it."""
    if f.degree is None or (f.kinks and level >= n_cut):
        return order
    degree = 2 * max(f.degree, 1) + (level if f.kinks else 0)  # the linear limits of integration raise it
    return (degree + 2) // 2


def _sized(f: PiecewiseActivation, n_variables: int, n_cut: int, order: int) -> _Plan:
    evaluations = 1
    for level in range(n_variables):
        intervals = len(f.kinks) * 2**level + 1 if level < n_cut else 1
        evaluations *= intervals * _level_order(f, level, n_cut, order)
    exact = n_variables == 0 or (f.degree is not None and (not f.kinks or n_cut == n_variables))
    return _Plan(n_cut, order, evaluations, exact)


@lru_cache(maxsize=1024)
def _plan(f: PiecewiseActivation, n_variables: int, tolerance: float) -> _Plan:
    """The cheapest plan that is good to the tolerance, or the best that is affordable."""
    if not f.kinks:
        orders = {2: 0.0} if f.degree is not None else _SMOOTH_ERROR
        plans = [(_sized(f, n_variables, 0, order), error) for order, error in orders.items()]
    else:
        plans = []
        for n_cut in range(1, min(n_variables, 5) + 1):
            rest = n_variables - n_cut
            smooth = _SMOOTH_ERROR if f.degree is None else dict.fromkeys(range(2, 13), 0.0)
            plain = _CUT_ERROR[min(n_cut, 4)] if rest else dict.fromkeys(smooth, 0.0)
            plans += [
                (_sized(f, n_variables, n_cut, order), max(plain[order], smooth[order]))
                for order in plain
                if order in smooth
            ]
    if n_variables == 0:
        return _sized(f, 0, 0, 2)
    affordable = [each for each in plans if each[0].evaluations <= _ROW_EVALUATIONS] or plans[:1]
    good = [each for each in affordable if each[1] <= tolerance]
    best = min(good, key=lambda each: each[0].evaluations) if good else min(affordable, key=lambda each: each[1])
    return best[0]


class _Shares(torch.autograd.Function):
    """What the supports of each size contribute to each output's error, `[n_instances, n_features + 1, n_outputs]`.

    The gradient is taken in forward, chunk by chunk, with the nodes held fixed: the integrand is continuous, so moving
    a cut adds nothing. It is integrated by the same rule, which is exact for it where it is exact for the loss.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        readin: Tensor,
        bias: Tensor,
        probability: Tensor,
        groups: list[_Group],
        f: PiecewiseActivation,
        estimate_error: bool,
    ) -> tuple[Tensor, Tensor]:
        n_instances, n_outputs, n_features = readin.shape
        with_gradient = any(ctx.needs_input_grad)
        shares = readin.new_zeros(n_instances, n_features + 1, n_outputs)
        errors = readin.new_full((n_instances, n_outputs), 0.0 if estimate_error else torch.nan)
        grad_bias = torch.zeros_like(shares)
        grad_readin = readin.new_zeros(*shares.shape, n_features if with_gradient else 0)
        for group in groups:
            k = group.active.shape[1]
            row = n_outputs * group.plan.evaluations
            n_items = min(len(group.active), max(1, CHUNK // row))
            n_together = min(n_instances, max(1, CHUNK // (row * n_items)))
            for first in range(0, n_instances, n_together):
                some = slice(first, first + n_together)
                for start in range(0, len(group.active), n_items):
                    part = group._replace(
                        **{name: getattr(group, name)[start : start + n_items] for name in _Group._fields[:6]}
                    )
                    terms = _Terms.of(readin[some], bias[some], part)
                    chance = (probability[some][:, part.support] * part.weight).unsqueeze(1)
                    value, d_offset, d_slope = terms.integrate(f, group.plan, with_gradient)
                    shares[some, k] += (value * chance).sum(-1)
                    if estimate_error and group.lower is not None:
                        coarse, _, _ = terms.integrate(f, group.lower, False)
                        errors[some] += ((value - coarse).abs() * chance).sum(-1)
                    if d_offset is not None and d_slope is not None:
                        grad_bias[some, k] += (d_offset * chance).sum(-1)
                        by_feature = (d_slope * part.width + d_offset.unsqueeze(-1) * part.low) * chance.unsqueeze(-1)
                        grad_readin[some, k].index_add_(2, part.active.flatten(), by_feature.flatten(2))
        if with_gradient:
            ctx.save_for_backward(grad_readin, grad_bias)
        ctx.mark_non_differentiable(errors)
        return shares, errors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_shares: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_readin, grad_bias = ctx.saved_tensors
        readin = (grad_readin * grad_shares.unsqueeze(-1)).sum(1)
        return readin, (grad_bias * grad_shares).sum(1), None, None, None, None


class _Terms(NamedTuple):
    """The integrals E (f(offset + slope · u) - target_offset - target_slope · u)² of a chunk.

    Attributes:
        offset: `[n_instances, n_outputs, n_items]`.
        slope: `[n_instances, n_outputs, n_items, n_active]`; 0 for atoms.
        target_offset: `[n_outputs, n_items]`.
        target_slope: `[n_outputs, n_items, n_active]`.
        order: `[n_instances, n_outputs, n_items, n_continuous]`: the continuous variables, largest |slope| first.
    """

    offset: Tensor
    slope: Tensor
    target_offset: Tensor
    target_slope: Tensor
    order: Tensor

    @classmethod
    def of(cls, readin: Tensor, bias: Tensor, group: _Group) -> "_Terms":
        n_outputs = readin.shape[1]
        coefficient = readin[:, :, group.active]
        slope = coefficient * group.width
        offset = bias.unsqueeze(-1) + (coefficient * group.low).sum(-1)
        outputs = torch.arange(n_outputs, device=readin.device).view(-1, 1, 1)
        own = torch.where(group.active == outputs, group.sign, 0.0)
        order = torch.where(group.width > 0, slope.abs(), -1.0).argsort(dim=-1, descending=True)
        return cls(offset, slope, (own * group.low).sum(-1), own * group.width, order[..., : group.n_continuous])

    def integrate(
        self, f: PiecewiseActivation, plan: _Plan, gradient: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The integrals `[n_instances, n_outputs, n_items]`, and their gradients in offset and slope."""
        shape, n_variables = self.offset.shape, self.order.shape[-1]
        a = self.slope.gather(-1, self.order).view(shape.numel(), n_variables)
        tau = self.target_slope.expand(self.slope.shape).gather(-1, self.order).view(shape.numel(), n_variables)
        t0 = self.target_offset.expand(shape).reshape(-1)
        value, d_offset, d_sorted = _integrate(self.offset.reshape(-1), a, t0, tau, f, plan, gradient)
        if d_offset is None or d_sorted is None:
            return value.view(shape), None, None
        d_slope = torch.zeros_like(self.slope).scatter_(-1, self.order, d_sorted.view(self.order.shape))
        return value.view(shape), d_offset.view(shape), d_slope


def _integrate(
    z: Tensor, a: Tensor, t: Tensor, tau: Tensor, f: PiecewiseActivation, plan: _Plan, gradient: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """E (f(z + a · u) - t - tau · u)² over u uniform on the unit cube, for each row.

    Args:
        z: `[n_rows]`.
        a: `[n_rows, n_variables]`, by falling absolute value.
        t: `[n_rows]`.
        tau: `[n_rows, n_variables]`.
        f: The activation.
        plan: How.
        gradient: Whether to return the gradients in z and a.
    """
    n_rows, n_variables = a.shape
    grid: list[tuple[Tensor, Tensor]] = []
    for level in reversed(range(n_variables)):  # the outermost first; nodes are added as innermost axes
        slope = a[:, level].view(n_rows, *[1] * z.ndim)
        x, w = _gauss_legendre(_level_order(f, level, plan.n_cut, plan.order), a.dtype, a.device)
        if f.kinks and level < plan.n_cut:
            x, w = _between(_cuts(z, a[:, :level], slope, f.kinks), x, w)
        z = z.unsqueeze(-1) + slope * x
        t = t.unsqueeze(-1) + tau[:, level].view_as(slope) * x
        grid.append((x, w))
    if gradient:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            y = f.function(leaf)
            (derivative,) = torch.autograd.grad(y.sum(), leaf)
        error = y.detach() - t
        d_z = derivative * error * 2
    else:
        error, d_z = f.function(z) - t, None
    value = error.square()
    d_a: list[Tensor] = []
    for x, w in reversed(grid):
        value = (value * w).sum(-1)
        if d_z is not None:
            d_z = d_z * w
            d_a = [(each * w).sum(-1) for each in d_a]
            d_a.append((d_z * x).sum(-1))
            d_z = d_z.sum(-1)
    if d_z is None:
        return value, None, None
    return value, d_z, torch.stack(d_a, dim=-1) if d_a else torch.zeros_like(a)


def _cuts(z: Tensor, inner: Tensor, slope: Tensor, kinks: tuple[float, ...]) -> Tensor:
    """Where, along one variable, a kink meets a corner of the inner variables' cube: `[*z.shape, n_cuts]` rising."""
    corners = inner.new_zeros(len(inner), 1)
    for each in inner.unbind(-1):
        corners = torch.cat([corners, corners + each.unsqueeze(1)], dim=1)
    levels = torch.cat([kink - corners for kink in kinks], dim=1)
    sign = torch.where(slope < 0, -1.0, 1.0).to(z.dtype).view(-1, 1)
    levels = (levels * sign).sort(dim=1).values * sign  # so that the cuts rise, whichever way the variable goes
    levels = levels.view(len(z), *[1] * (z.ndim - 1), -1)
    return torch.where(slope == 0, 0.0, (levels - z.unsqueeze(-1)) / slope).clamp(0, 1)


def _between(cuts: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1] with the rule (x, w) in every interval between rising cuts."""
    edges = F.pad(cuts, (1, 0))
    widths = F.pad(cuts, (0, 1), value=1.0) - edges
    nodes = edges.unsqueeze(-1) + widths.unsqueeze(-1) * x
    return nodes.flatten(-2), (widths.unsqueeze(-1) * w).flatten(-2)


@lru_cache(maxsize=256)
def _gauss_legendre(order: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1], exact for polynomials of degree 2 order - 1."""
    x, w = np.polynomial.legendre.leggauss(order)
    nodes, weights = torch.from_numpy((x + 1) / 2), torch.from_numpy(w / 2)
    return nodes.to(device, dtype), weights.to(device, dtype)
