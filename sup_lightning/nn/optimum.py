"""Deterministic minimisation of every instance of a network at once, each from its own start.

L-BFGS with an instances axis: each instance has its own curvature pairs, line search and end, and sees no other. (The
optimiser of PyTorch has one history and one step for all parameters, so it would couple the instances.)
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from sup_lightning.errors import reject, require_positive
from sup_lightning.functional.expected_loss import UNIFORM, Pieces
from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss

Net = TypeVar("Net", bound=nn.Module)

ARMIJO = 1e-4
"""Share of the decrease that the slope promises which a step must bring."""

WOLFE = 0.9
"""Share of the slope that may be left at the end of a step."""


class Optimum(NamedTuple):
    """Where each instance ended; the network holds the parameters.

    Attributes:
        losses: `[n_instances]`.
        converged: `[n_instances]` bool: the gradient is below the tolerance, or the loss has stopped to fall.
        iterations: `[n_instances]` steps taken.
        evaluations: How often all losses were computed.
    """

    losses: Tensor
    converged: Tensor
    iterations: Tensor
    evaluations: int


def best_instances(losses: Tensor, n_seeds: int) -> Tensor:
    """The instance with the lowest loss at each point of a sweep whose seeds vary fastest, `[n_points]`.

    Args:
        losses: `[n_points * n_seeds]`; NaN counts as the worst.
        n_seeds: Starts at each point.

    >>> best_instances(torch.tensor([3.0, 1.0, 2.0, 5.0]), n_seeds=2)
    tensor([1, 2])
    """
    if losses.ndim != 1 or n_seeds < 1 or len(losses) % n_seeds:
        reject("n_seeds", n_seeds, f"a divisor of the {len(losses)} instances")
    best = losses.nan_to_num(nan=torch.inf).view(-1, n_seeds).argmin(dim=1)
    return best + n_seeds * torch.arange(len(best), device=best.device)


def find_optimum(
    net: Net,
    objective: Callable[[Net], Tensor],
    method: Literal["lbfgs", "adam"] = "lbfgs",
    max_evaluations: int = 2000,
    gradient_tolerance: float = 1e-7,
    learning_rate: float = 1e-2,
    history: int = 10,
) -> Optimum:
    """Minimise the loss of each instance, in float64.

    Args:
        net: The network; every trainable parameter is `[n_instances, ...]`. It is turned to float64, and changed.
        objective: The loss of each instance, `[n_instances]`, of which instance k depends on its own parameters only.
        method: `lbfgs`, or `adam` with a learning rate that falls to 0 along a cosine.
        max_evaluations: Most evaluations of the objective; Adam takes as many steps.
        gradient_tolerance: An instance has converged when no element of its gradient is larger.
        learning_rate: Of Adam.
        history: Curvature pairs kept by L-BFGS.

    Returns:
        Losses, convergence, steps and evaluations.
    """
    require_positive(max_evaluations=max_evaluations, history=history)
    problem = _Problem(net.double(), objective)
    if method == "lbfgs":
        return _lbfgs(problem, max_evaluations, gradient_tolerance, history)
    if method == "adam":
        return _adam(problem, max_evaluations, gradient_tolerance, learning_rate)
    return reject("method", method, "lbfgs or adam")


class _Problem:
    """Loss and gradient as functions of one vector for each instance, `[n_instances, n_parameters]`."""

    def __init__(self, net: nn.Module, objective: Callable[..., Tensor]) -> None:
        self.net = net
        self.objective = objective
        self.parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        sizes = {len(parameter) for parameter in self.parameters}
        if len(sizes) != 1:
            reject("net", type(net).__name__, "a network whose trainable parameters all have one instances axis")
        self.evaluations = 0

    @property
    def x(self) -> Tensor:
        return torch.cat([parameter.detach().flatten(1) for parameter in self.parameters], dim=1)

    @torch.no_grad()
    def move_to(self, x: Tensor) -> None:
        for parameter, part in zip(self.parameters, x.split([p[0].numel() for p in self.parameters], 1), strict=True):
            parameter.copy_(part.view_as(parameter))

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Loss `[n_instances]` and gradient `[n_instances, n_parameters]`; a loss that is not finite counts as inf."""
        self.move_to(x)
        self.evaluations += 1
        with torch.enable_grad():
            losses = self.objective(self.net)
            gradients = torch.autograd.grad(losses.sum(), self.parameters)
        gradient = torch.cat([each.flatten(1) for each in gradients], dim=1)
        finite = losses.isfinite() & gradient.isfinite().all(dim=1)
        return torch.where(finite, losses.detach(), torch.inf), torch.where(finite.unsqueeze(1), gradient, 0.0)


@torch.no_grad()
def _lbfgs(problem: _Problem, max_evaluations: int, gradient_tolerance: float, history: int) -> Optimum:
    """Every evaluation serves every instance: one whose step is accepted goes on, another searches along its line.

    The line search is the bisection of Lewis and Overton (2013), which needs no smoothness and ends with the weak
    Wolfe conditions, so that every curvature pair is positive.
    """
    x = problem.x
    loss, gradient = problem(x)
    n_instances = len(x)
    pairs = _Pairs(x, history)
    direction = -gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1.0)
    step, low = x.new_ones(n_instances), x.new_zeros(n_instances)
    high = torch.full_like(step, torch.inf)
    iterations = torch.zeros(n_instances, dtype=torch.long, device=x.device)
    still = torch.zeros_like(iterations)  # steps in a row that brought next to nothing
    converged = (gradient.abs().amax(dim=1) <= gradient_tolerance) & loss.isfinite()
    ended = converged | ~loss.isfinite()

    while not bool(ended.all()) and problem.evaluations < max_evaluations:
        trial = torch.where(ended.unsqueeze(1), x, x + step.unsqueeze(1) * direction)
        new_loss, new_gradient = problem(trial)
        slope, new_slope = (gradient * direction).sum(1), (new_gradient * direction).sum(1)
        too_long = ~(new_loss <= loss + ARMIJO * step * slope)
        too_short = ~too_long & (new_slope < WOLFE * slope)
        high, low = torch.where(too_long, step, high), torch.where(too_short, step, low)
        width = torch.where(high.isfinite(), high - low, torch.inf)
        stalled = too_long & (width * direction.abs().amax(1) <= 1e-15 * x.abs().amax(1).clamp_min(1.0)) & ~ended
        accepted = ~(too_long | too_short) & ~ended

        move = accepted.unsqueeze(1)
        pairs.add(trial - x, new_gradient - gradient, accepted)
        fell = loss - new_loss
        still = torch.where(accepted, torch.where(fell <= 1e-15 * loss.abs(), still + 1, 0), still)
        x, loss = torch.where(move, trial, x), torch.where(accepted, new_loss, loss)
        gradient = torch.where(move, new_gradient, gradient)
        iterations += accepted

        # A line that leads nowhere: forget the curvature and go down the gradient; if that was the line, it is the end.
        fresh = pairs.count == 0
        pairs.forget(stalled)
        arrived = (gradient.abs().amax(dim=1) <= gradient_tolerance) | (still >= 3)
        converged |= arrived & ~ended
        ended = ended | arrived | (stalled & fresh)

        turn = accepted | stalled
        direction = torch.where(turn.unsqueeze(1), pairs.direction(gradient), direction)
        searched = torch.where(high.isfinite(), (low + high) / 2, 2 * low)
        step = torch.where(turn, 1.0, searched)
        low, high = torch.where(turn, 0.0, low), torch.where(turn, torch.inf, high)

    problem.move_to(x)
    return Optimum(loss, converged, iterations, problem.evaluations)


class _Pairs:
    """The newest curvature pairs (s, y) of each instance."""

    def __init__(self, x: Tensor, history: int) -> None:
        self.s = x.new_zeros(history, *x.shape)
        self.y = x.new_zeros(history, *x.shape)
        self.inverse = x.new_zeros(history, len(x))  # 1 / (s · y); 0 where there is no pair
        self.count = torch.zeros(len(x), dtype=torch.long, device=x.device)

    def add(self, s: Tensor, y: Tensor, where: Tensor) -> None:
        curvature = (s * y).sum(1)
        where = where & (curvature > 1e-14 * s.norm(dim=1) * y.norm(dim=1))
        new = {"s": s, "y": y, "inverse": 1 / torch.where(where, curvature, 1.0)}
        for name, value in new.items():
            old = getattr(self, name)
            mask = where.view(1, -1, *[1] * (old.ndim - 2))
            setattr(self, name, torch.where(mask, torch.cat([old[1:], value.unsqueeze(0)]), old))
        self.count += where

    def forget(self, where: Tensor) -> None:
        self.inverse[:, where] = 0.0
        self.count[where] = 0

    def direction(self, gradient: Tensor) -> Tensor:
        """-H g by the two-loop recursion (Nocedal and Wright, algorithm 7.4); scaled steepest descent without pairs."""
        q, alphas = gradient.clone(), []
        for s, y, inverse in zip(self.s.flip(0), self.y.flip(0), self.inverse.flip(0), strict=True):
            alpha = inverse * (s * q).sum(1)
            q -= alpha.unsqueeze(1) * y
            alphas.append(alpha)
        newest = self.inverse[-1] > 0
        scale = 1 / (self.inverse[-1] * self.y[-1].square().sum(1)).where(newest, gradient.norm(dim=1).clamp_min(1.0))
        q *= scale.unsqueeze(1)
        for s, y, inverse, alpha in zip(self.s, self.y, self.inverse, reversed(alphas), strict=True):
            beta = inverse * (y * q).sum(1)
            q += (alpha - beta).unsqueeze(1) * s
        return -q


@torch.no_grad()
def _adam(problem: _Problem, n_steps: int, gradient_tolerance: float, learning_rate: float) -> Optimum:
    x = problem.x
    optimizer = torch.optim.Adam([x], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    best_loss, best_gradient = problem(x)
    best_x = x.clone()
    x.grad = best_gradient
    for _ in range(n_steps - 1):
        optimizer.step()
        schedule.step()
        loss, gradient = problem(x)
        x.grad = gradient
        better = loss < best_loss
        best_loss = torch.where(better, loss, best_loss)
        best_x = torch.where(better.unsqueeze(1), x, best_x)
        best_gradient = torch.where(better.unsqueeze(1), gradient, best_gradient)
    problem.move_to(best_x)
    converged = best_gradient.abs().amax(dim=1) <= gradient_tolerance
    return Optimum(best_loss, converged, torch.full_like(converged, n_steps, dtype=torch.long), problem.evaluations)


def antipodal_optimum(importance: Tensor, p: Tensor, pieces: Pieces = UNIFORM, tolerance: float = 1e-10) -> Tensor:
    """Lowest loss of two features in one dimension that is found from an antipodal pair, over norms and biases.

    Args:
        importance: I of one of the features; the other has 1.
        p: Probability of each feature, broadcastable with `importance`.
        pieces: Law of the values.
        tolerance: Of the expected loss.

    Returns:
        Losses in float64, in the common shape of `importance` and `p`.

    >>> antipodal_optimum(torch.tensor(1.0), torch.tensor(0.4))  # (1 + I) p² / 6 = .05333 without a bias
    tensor(0.0510, dtype=torch.float64)
    """
    importance, p = torch.broadcast_tensors(importance.double(), p.double())
    flat = torch.stack([torch.ones_like(importance), importance], dim=-1).view(-1, 2)
    net = BottleneckModel(2, range(len(flat)), n_hidden=1)
    with torch.no_grad():
        net.W.copy_(torch.tensor([[1.0], [-1.0]]))
    objective = ExactLoss.independent(p.reshape(-1, 1).expand(-1, 2), pieces, flat, tolerance=tolerance)
    return find_optimum(net, objective).losses.view(p.shape)
