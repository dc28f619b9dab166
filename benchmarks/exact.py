"""The exact expected loss: constants of the toy models that it gives, and its speed against training on samples.

`--constants true` prints each constant with the value that was expected of it. `--speed true` measures, for five
features in two dimensions at p = .05 and the same starts, the CPU time in which batched L-BFGS on the expected loss
comes within 1e-8 of the optimum, against that in which `sup fit` on samples comes within 1 %.

    python -m benchmarks.exact --constants true
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from torch import Tensor

from sup_lightning import fit
from sup_lightning.functional import feature_dimensionality, feature_norms
from sup_lightning.functional.expected_loss import UNIFORM, Pieces, bottleneck_expected_loss, expected_loss
from sup_lightning.functional.phase import antipodal_sets_loss, collapsed_sets_loss, superposition_boundary
from sup_lightning.nn import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.nn.optimum import Optimum, best_instances, find_optimum

CONFIG = Path(__file__).parents[1] / "configs" / "experiment" / "toy_relu-output_5-2.yaml"

BINARY: Pieces = ((1.0, 1.0, 1.0),)
LEVELS: Pieces = tuple((1 / 3, level / 3, level / 3) for level in (1, 2, 3))
UPPER_HALF: Pieces = ((1.0, 0.5, 1.0),)
LAWS = {"U[0, 1]": UNIFORM, "U[.5, 1]": UPPER_HALF, "{1, 2, 3}/3": LEVELS, "binary": BINARY}


class Constant(NamedTuple):
    """A number that the expected loss gives.

    Attributes:
        name: What it is.
        expected: What it was expected to be.
        got: What it is.
        tolerance: Greatest difference that rounding of the expected number explains.
    """

    name: str
    expected: float
    got: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return abs(self.got - self.expected) <= self.tolerance


def polygon(n: int, n_features: int | None = None, radius: float = 1.1) -> Tensor:
    """`[n_features, 2]`: a regular n-gon, and features at the origin after it."""
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    W = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    return torch.nn.functional.pad(W, (0, 0, 0, (n_features or n) - n))


def two_digons(n_features: int = 5) -> Tensor:
    """`[n_features, 2]`: two antipodal pairs, and features at the origin after them."""
    return polygon(4, n_features, radius=1.0)[[0, 2, 1, 3, *range(4, n_features)]]


def minimum(
    objective: Callable[[BottleneckModel], Tensor], W: Tensor, b: Tensor | float = 0.0
) -> tuple[Optimum, BottleneckModel]:
    """The optimum that each start `[n_instances, n_features, n_hidden]` leads to."""
    net = BottleneckModel(W.shape[1], range(len(W)), W.shape[2]).double()
    with torch.no_grad():
        net.W.copy_(W)
        net.b.copy_(torch.as_tensor(b, dtype=W.dtype).expand(W.shape[:2]))
    return find_optimum(net, objective), net


def random_starts(n_instances: int, n_features: int, n_hidden: int = 2) -> Tensor:
    """The initial weights of seeds 0, 1 and on, `[n_instances, n_features, n_hidden]`."""
    return BottleneckModel(n_features, range(n_instances), n_hidden).W.detach().double()


def independent(p: float | Tensor, n_features: int, tolerance: float = 1e-9, pieces: Pieces = UNIFORM) -> ExactLoss:
    """The objective for independent features, with one p or one for each (`[n_instances, n_features]`)."""
    probability = torch.as_tensor(p, dtype=torch.float64)
    return ExactLoss.independent(
        probability if probability.ndim else probability.expand(n_features), pieces, tolerance=tolerance
    )


def best_of_random(
    objective_at: Callable[[float], ExactLoss], n_starts: int, n_features: int
) -> tuple[float, Tensor, Tensor]:
    """Loss, W and b of the best optimum: all starts at a coarse tolerance, then the best four at a fine one."""
    coarse, net = minimum(objective_at(1e-4), random_starts(n_starts, n_features))
    first = coarse.losses.argsort()[:4]
    fine, net = minimum(objective_at(1e-7), net.W[first].detach(), net.b[first].detach())
    best = int(fine.losses.argmin())
    return fine.losses[best].item(), net.W[best].detach(), net.b[best].detach()


def sets_of_two(p: float, n_sets: int) -> tuple[Tensor, Tensor]:
    """The law of consecutive pairs that fire together, each pair with probability p."""
    codes = torch.arange(2**n_sets)
    on = (codes[:, None] >> torch.arange(n_sets)) % 2 == 1
    chance = torch.where(on, p, 1 - p).double().prod(dim=1)
    return on.repeat_interleave(2, dim=1), chance


def pentagon() -> Iterator[Constant]:
    """Five features in two dimensions: the pentagon, and two antipodal pairs."""
    starts = torch.stack([polygon(5), two_digons()])
    for p, loss, norm, bias in ((0.05, 0.008907, 1.132, -0.242), (0.1, 0.02632, 1.10, -0.21)):
        objective = independent(p, 5)
        found, net = minimum(objective, starts, torch.tensor([[-0.2] * 5, [0.0] * 4 + [p / 2]]))
        yield Constant(f"pentagon, p={p}: loss", loss, found.losses[0].item(), 5e-7 if p < 0.1 else 5e-6)
        yield Constant(
            f"pentagon, p={p}: |W_i|", norm, feature_norms(net.W[0]).mean().item(), 5e-4 if p < 0.1 else 5e-3
        )
        yield Constant(f"pentagon, p={p}: b", bias, net.b[0].mean().item(), 5e-4 if p < 0.1 else 5e-3)
        if p < 0.1:
            yield Constant(f"pentagon, p={p}: FVU", 0.111, found.losses[0].item() / (5 * (p / 3 - p**2 / 4)), 5e-4)
            yield Constant(f"two pairs, p={p}: loss", 0.01771, found.losses[1].item(), 5e-6)
            given = objective.details(net).given_active[0]
            for k, expected in enumerate((0.0, 0.016, 0.234)):
                yield Constant(f"pentagon, p={p}: loss given {k} active", expected, given[k].item(), 5e-4)


def best_shapes() -> Iterator[Constant]:
    """The best of 32 starts for five features in two dimensions: two pairs while p is large, then the pentagon."""
    for p, D in ((0.5, 0.5), (0.4, 0.5), (0.3, 0.5), (0.2, 0.4), (0.1, 0.4)):
        _, W, _ = best_of_random(lambda tolerance, p=p: independent(p, 5, tolerance), 32, 5)  # type: ignore[misc]
        values = feature_dimensionality(W)
        yield Constant(f"best of 5 in 2, p={p}: D", D, values[values > 0.1].mean().item(), 2e-3)
        yield Constant(f"best of 5 in 2, p={p}: represented", 4 if p > 0.25 else 5, float((values > 0.1).sum()), 0)


def one_dimension() -> Iterator[Constant]:
    """Two features in one dimension, importance (1, I): the best of 16 starts."""
    points = [
        (1.0, 0.4, 0.05099, 5e-6), (1.0, 0.2, 0.013184, 5e-7), (1.0, 0.1, 0.003320, 5e-7), (1.0, 0.01, 3.3e-5, 5e-7),
        (1.0, 0.7, 0.1081, 5e-5), (0.1, 0.2, 0.005667, 5e-7), (0.1, 0.1, 0.001755, 5e-7),
    ]  # fmt: skip
    importance = torch.tensor([[1.0, each[0]] for each in points], dtype=torch.float64).repeat_interleave(16, dim=0)
    p = torch.tensor([[each[1]] * 2 for each in points], dtype=torch.float64).repeat_interleave(16, dim=0)
    objective = ExactLoss.independent(p, importance=importance, tolerance=1e-10)
    found, net = minimum(objective, random_starts(16, 2, 1).repeat(len(points), 1, 1))
    best = best_instances(found.losses, 16)
    for (weight, density, loss, tolerance), index in zip(points, best.tolist(), strict=True):
        yield Constant(f"2 in 1, I={weight}, p={density}: loss", loss, found.losses[index].item(), tolerance)
    for place, norms, bias in ((0, (1.002, 1.002), 0.043), (4, (0.759, 0.759), 0.329), (6, (1.013, 0.916), None)):
        W, b = net.W[best[place]].abs().flatten(), net.b[best[place]]
        for index, norm in enumerate(norms):
            yield Constant(
                f"2 in 1, I={points[place][0]}, p={points[place][1]}: |W_{index}|", norm, W[index].item(), 5e-4
            )
        if bias is not None:
            yield Constant(f"2 in 1, I={points[place][0]}, p={points[place][1]}: b", bias, b.mean().item(), 5e-4)


def boundaries() -> Iterator[Constant]:
    """Where an antipodal pair begins to win, in closed form."""
    for name, expected in (("U[0, 1]", 0.571), ("{1, 2, 3}/3", 0.477), ("U[.5, 1]", 0.394), ("binary", 0.333)):
        got = superposition_boundary(torch.tensor(1.0, dtype=torch.float64), LAWS[name]).item()
        yield Constant(f"p* of 2 in 1, {name}", expected, got, 5e-4)


def crossovers() -> Iterator[Constant]:
    """One of five features rarer by r: where two pairs of the others become better than the pentagon."""
    for p, expected, tolerance in (
        (0.02, 1 / 5.4, 2e-3),
        (0.05, 0.268, 5e-4),
        (0.1, 1 / 2.36, 1e-3),
        (0.15, 1 / 1.65, 2e-3),
    ):
        low, high = 0.05, 1.0
        for _ in range(3):
            ratio = torch.linspace(low, high, 12, dtype=torch.float64)
            rarer = torch.full((12, 5), p, dtype=torch.float64)
            rarer[:, 4] *= ratio
            starts = torch.stack([polygon(5, radius=1.13), two_digons()]).repeat_interleave(12, dim=0)
            bias = torch.cat([torch.full((12, 5), -0.24), torch.cat([torch.zeros(12, 4), rarer[:, 4:] / 2], dim=1)])
            objective = independent(rarer.repeat(2, 1), 5, 1e-8)
            losses, net = minimum(objective, starts, bias)
            whole = feature_norms(net.W[:12]).amin(dim=1) > 0.5  # the pentagon may have lost its rare feature
            wins = whole & (losses.losses[:12] < losses.losses[12:])
            first = int(wins.double().argmax())
            low, high = ratio[max(first - 1, 0)].item(), ratio[first].item()
        yield Constant(f"r* of the pentagon, p={p}", expected, (low + high) / 2, tolerance)


def correlated() -> Iterator[Constant]:
    """Pairs that fire together: collapsed onto their mean, or orthogonal within the pair and antipodal across."""
    collapsed = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=torch.float64) / math.sqrt(2)
    antipodal = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    for p in (0.25, 0.1):
        losses = bottleneck_expected_loss(
            torch.stack([collapsed, antipodal]), torch.zeros(4, dtype=torch.float64), *sets_of_two(p, 2)
        ).loss
        yield Constant(
            f"2 x 2 correlated, p={p}: collapsed", collapsed_sets_loss(torch.tensor(p)).item(), losses[0].item(), 1e-8
        )
        yield Constant(
            f"2 x 2 correlated, p={p}: antipodal", antipodal_sets_loss(torch.tensor(p)).item(), losses[1].item(), 1e-8
        )
    for n_sets, p, expected in (
        (2, 0.3, 2),
        (2, 0.2, 0),
        (3, 0.5, 3),
        (3, 0.3, 2),
        (3, 0.2, 2),
        (3, 0.1, 1),
        (3, 0.05, 0),
    ):
        law = sets_of_two(p, n_sets)
        _, W, _ = best_of_random(lambda tolerance, law=law: ExactLoss(*law, tolerance=tolerance), 48, 2 * n_sets)  # type: ignore[misc]
        W = torch.nn.functional.normalize(W, dim=1)
        within = (W[0::2] * W[1::2]).sum(1)
        yield Constant(f"{n_sets} x 2 correlated, p={p}: collapsed sets", expected, float((within > 0.95).sum()), 0)
        if (n_sets, p) == (3, 0.05):
            yield Constant("3 x 2 correlated, p=0.05: cosine within a set", 0.45, within.mean().item(), 5e-3)


def hexagons() -> Iterator[Constant]:
    """Six features in two dimensions: the hexagon against the pentagon and a feature left out."""
    for p, hexagon, left_out, digits in (
        (0.02, 0.00749, 0.00898, 5e-6),
        (0.05, 0.02373, 0.02496, 5e-6),
        (0.1, 0.0597, 0.0571, 5e-5),
    ):
        starts = torch.stack([polygon(6, radius=1.15), polygon(5, 6, radius=1.13)])
        bias = torch.tensor([[-0.4] * 6, [-0.24] * 5 + [p / 2]])
        losses = minimum(independent(p, 6, 1e-8), starts, bias)[0].losses
        yield Constant(f"hexagon, p={p}: loss", hexagon, losses[0].item(), digits)
        yield Constant(f"pentagon + 0, p={p}: loss", left_out, losses[1].item(), digits)


def value_laws() -> Iterator[Constant]:
    """Five features in two dimensions at p = .05: the best of 16 starts under other laws of values, or with GELU."""
    p = 0.05
    for (name, pieces), fvu, bias in zip(
        LAWS.items(), (0.111, 0.118, 0.119, 0.122), (-0.24, -0.32, -0.27, -0.41), strict=True
    ):
        mean = sum(w * (low + high) / 2 for w, low, high in pieces)
        square = sum(w * (low**2 + low * high + high**2) / 3 for w, low, high in pieces)
        at = lambda tolerance, pieces=pieces: independent(p, 5, tolerance, pieces)  # type: ignore[misc]  # noqa: E731
        loss, _, b = best_of_random(at, 16, 5)
        yield Constant(f"5 in 2, {name}: FVU", fvu, loss / (5 * (p * square - (p * mean) ** 2)), 5e-4)
        yield Constant(f"5 in 2, {name}: b", bias, b.mean().item(), 5e-3)
    net = BottleneckModel(5, range(16), 2)
    net.activation = "gelu"  # type: ignore[assignment]
    losses = find_optimum(net, independent(p, 5, 1e-7)).losses
    yield Constant("5 in 2, GELU: FVU", 0.259, losses.min().item() / (5 * (p / 3 - p**2 / 4)), 5e-4)


def one_active() -> Iterator[Constant]:
    """Six features of which exactly one fires, in two dimensions: the critical levels of the k-gons."""
    objective = ExactLoss(torch.eye(6, dtype=torch.bool), torch.full((6,), 1 / 6, dtype=torch.float64), tolerance=1e-10)
    square = two_digons(6)
    starts = torch.stack([polygon(6), polygon(5, 6), polygon(5, 6), square, square, square])
    off, on = -0.1, 1 / 12
    bias = torch.tensor(
        [
            [-0.3] * 6,
            [-0.2] * 5 + [on],
            [-0.2] * 5 + [off],
            [0.0] * 4 + [on, on],
            [0.0] * 4 + [on, off],
            [0.0] * 4 + [off] * 2,
        ]
    )
    losses = minimum(objective, starts, bias)[0].losses.tolist()
    names = ("6", "5, b > 0", "5, b ≤ 0", "4, two b > 0", "4, one b > 0", "4, no b > 0")
    expected = (0.04817, 0.06179, 0.06874, 0.09722, 0.10417, 0.11111)
    for name, level, got in zip(names, expected, losses, strict=True):
        yield Constant(f"1-sparse 6 in 2, {name}: level", level, got, 5e-6)


def dropout_spread() -> Iterator[Constant]:
    """(max - min) / min of the loss over rotations of the best W under dropout of .2 on two hidden dimensions."""
    keep = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64) / 0.8
    chance = torch.tensor([0.04, 0.16, 0.16, 0.64], dtype=torch.float64)

    def losses(W: Tensor, b: Tensor, objective: ExactLoss) -> Tensor:
        readin = (W.unsqueeze(-3) * keep[:, None, :]) @ W.unsqueeze(-3).mT  # [..., masks, n, n]
        parts = expected_loss(
            readin, b.unsqueeze(-2), objective.supports, objective.probability, tolerance=1e-7, estimate_error=False
        )
        return (parts.loss * chance).sum(-1)

    turn = torch.linspace(0, math.pi, 181, dtype=torch.float64)
    rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], dim=1).view(-1, 2, 2)
    for p, spreads in ((0.05, (0.716, 0.17, 0.0064, 0.024)), (0.2, (0.33, 0.13, 0.0126, 0.007))):
        for n, expected in zip((2, 3, 4, 5), spreads, strict=True):
            objective = independent(p, n)
            found, net = minimum(lambda net, o=objective: losses(net.W, net.b, o), random_starts(16, n))  # type: ignore[misc]
            best = int(found.losses.argmin())
            with torch.no_grad():
                turned = losses(net.W[best] @ rotation, net.b[best].expand(len(rotation), n), objective)
            got = ((turned.max() - turned.min()) / turned.min()).item()
            last_digit = 10.0 ** -len(str(expected).partition(".")[2])
            yield Constant(f"dropout .2, {n} in 2, p={p}: rotation spread", expected, got, last_digit / 2)


def naive_floor() -> Iterator[Constant]:
    """Absolute values of 100 features, importance .8^i, 20 of them exact: the variance of |x| of the others."""
    law = (1.0, -1.0, 1.0)
    rest = 0.8**20 * (1 - 0.8**80) / 0.2
    expected = (0.004804, 0.004468, 0.001777, 5.63e-4, 1.91e-4, 5.75e-5, 1.92e-5)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    for p, floor in zip((1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001), expected, strict=True):
        one = ExactLoss.independent(torch.tensor([p], dtype=torch.float64))
        mean = torch.tensor([p / 2], dtype=torch.float64)
        loss = expected_loss(zero, mean, one.supports, one.probability, (law,), target="abs").loss.item()
        yield Constant(f"abs naive floor, p={p}", floor, rest * loss, 0.005 * floor)


GROUPS = (
    pentagon, best_shapes, one_dimension, boundaries, crossovers, correlated, hexagons, value_laws, one_active,
    dropout_spread, naive_floor,
)  # fmt: skip


def print_constants() -> None:
    """All constants, as a table."""
    console = Console()
    table = Table("constant", "expected", "got", "tolerance", "")
    for group in GROUPS:
        start = time.perf_counter()
        for each in group():
            mark = "" if each.agrees else "differs"
            table.add_row(each.name, f"{each.expected:.6g}", f"{each.got:.6g}", f"{each.tolerance:.2g}", mark)
        console.print(f"{group.__name__}: {time.perf_counter() - start:.1f} s")
    console.print(table)


def exact_seconds(n_starts: int) -> tuple[float, float]:
    """CPU seconds in which batched L-BFGS ends: every start at a coarse tolerance, the best four at a fine one."""
    start = time.process_time()
    _, W, b = best_of_random(lambda tolerance: independent(0.05, 5, tolerance), n_starts, 5)
    seconds = time.process_time() - start
    law = independent(0.05, 5)
    return seconds, bottleneck_expected_loss(W, b, law.supports, law.probability, tolerance=1e-11).loss.item()


def sample_seconds(n_starts: int, n_steps: int, threads: int) -> tuple[float, float]:
    """CPU seconds of a whole `sup fit` with hardly any validation rows, and the best expected loss that it reached."""
    with tempfile.TemporaryDirectory() as runs:
        start = time.process_time()
        run = fit(
            CONFIG,
            runs=runs,
            threads=threads,
            sweep={"seed": n_starts},
            data={"val_batch_size": 16, "val_batches": 1},
            model={"lr_scheduler": {"init_args": {"total_steps": n_steps}}},
            trainer={"max_steps": n_steps, "max_epochs": -1, "callbacks": [{"class_path": "SuperpositionMonitor"}]},
        )
        seconds = time.process_time() - start
    with torch.no_grad():
        return seconds, independent(0.05, 5, 1e-8)(run.model.net.double()).min().item()  # type: ignore[operator,union-attr,arg-type]


def print_speed(n_starts: int, threads: int) -> None:
    """The two ways to the optimum, as a table."""
    optimum = minimum(independent(0.05, 5, 1e-11), polygon(5)[None], -0.24)[0].losses.item()
    exact_seconds(2)  # warms up
    table = Table("way", "CPU seconds", "best loss / optimum - 1", title=f"{n_starts} starts, {threads} thread(s)")
    exact, loss = exact_seconds(n_starts)
    table.add_row("batched L-BFGS on the expected loss", f"{exact:.2f}", f"{loss / optimum - 1:.1e}")
    for n_steps in (500, 1000, 2000, 4000, 8000):
        seconds, loss = sample_seconds(n_starts, n_steps, threads)
        table.add_row(f"sup fit, {n_steps} steps", f"{seconds:.2f}", f"{loss / optimum - 1:.1e}")
        if loss < 1.01 * optimum:
            table.add_row("ratio", f"{seconds / exact:.1f}", "")
            break
    Console().print(table)


def main(constants: bool = False, speed: bool = False, n_starts: int = 32, threads: int = 1) -> None:
    """Print constants, speed, or both.

    Args:
        constants: Whether to compute the constants; some minutes.
        speed: Whether to measure the speed.
        n_starts: Starts of both sides of the speed comparison.
        threads: CPU threads of both sides.
    """
    torch.set_num_threads(threads)
    if constants:
        print_constants()
    if speed:
        print_speed(n_starts, threads)


if __name__ == "__main__":
    auto_cli(main)
