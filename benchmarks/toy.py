"""Toy training speed: the whole `sup fit` against the loop a researcher would otherwise write, in one run.

The peer is the loop of the notebook published with "Toy Models of Superposition" (batched einsum over the instances
axis, one uniform draw for the mask and one for the values, AdamW, no logging). `sup fit` runs with everything on:
TensorBoard, measurements at each epoch, checkpoints, the progress bar; its time includes reading the config and
building the model. Every instance is a seed of its own, so no draw is shared; `shared` adds a run whose instances are
points of one seed. An epoch is 1,000 steps, and ends with 65,536 validation rows (the package's default).

    python -m benchmarks.toy --threads 1
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table

from sup_lightning import fit

CONFIG = Path(__file__).parents[1] / "configs" / "experiment" / "toy_relu-output_5-2.yaml"
UNIT = "instance-steps per second"
SIZES = ((10, 5, 2, 1024), (10, 80, 20, 1024), (100, 5, 2, 1024))


def plain_loop(n_instances: int, n_features: int, n_hidden: int, batch_size: int, steps: int) -> float:
    """Seconds for `steps` steps of the published loop."""
    W = torch.nn.Parameter(torch.empty(n_instances, n_features, n_hidden))
    torch.nn.init.xavier_normal_(W)
    b = torch.nn.Parameter(torch.zeros(n_instances, n_features))
    importance, probability = torch.ones(n_features), torch.full((n_instances, 1), 0.05)
    optimizer = torch.optim.AdamW([W, b], lr=1e-3)
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        values = torch.rand(batch_size, n_instances, n_features)
        active = torch.rand(batch_size, n_instances, n_features) <= probability
        batch = torch.where(active, values, torch.zeros(()))
        hidden = torch.einsum("...if,ifh->...ih", batch, W)
        output = torch.relu(torch.einsum("...ih,ifh->...if", hidden, W) + b)
        error = importance * (batch.abs() - output) ** 2
        error.mean(dim=(0, 2)).sum().backward()
        optimizer.step()
    return time.perf_counter() - start


def sup_fit(
    n_instances: int, n_features: int, n_hidden: int, batch_size: int, steps: int, threads: int, shared: bool = False
) -> float:
    """Seconds of the whole `sup fit`."""
    probabilities = [0.05 + 1e-6 * index for index in range(n_instances)]
    sweep = {"seed": 1, "feature_probability": probabilities} if shared else {"seed": n_instances}
    with tempfile.TemporaryDirectory() as runs:
        start = time.perf_counter()
        fit(
            CONFIG,
            runs=runs,
            threads=threads,
            sweep=sweep,
            data={"n_features": n_features, "batch_size": batch_size, "steps_per_epoch": 1000, "val_batches": 16},
            model={"net": {"init_args": {"n_hidden": n_hidden}}},
            trainer={"max_steps": steps, "max_epochs": -1, "callbacks": [{"class_path": "SuperpositionMonitor"}]},
        )
        return time.perf_counter() - start


def main(threads: int = 1, rounds: int = 3, seconds: float = 12.0, shared: bool = False) -> None:
    """Measure all sizes.

    Args:
        threads: CPU threads of both sides.
        rounds: Alternations of the two sides; medians are reported.
        seconds: About how long one run of the plain loop takes.
        shared: Whether to measure shared draws as well.
    """
    torch.set_num_threads(threads)
    table = Table("instances, features, hidden, batch", "steps", "plain", "sup fit", "ratio", "shared", title=UNIT)
    for size in SIZES:
        plain_loop(*size, steps=20)
        pace = plain_loop(*size, steps=50) / 50
        steps = max(3000, round(seconds / pace / 1000) * 1000)
        sup_fit(*size, steps=100, threads=threads)
        pairs, shares = [], []
        for _ in range(rounds):
            pairs.append((plain_loop(*size, steps), sup_fit(*size, steps, threads)))
            if shared:
                shares.append(pairs[-1][0] / sup_fit(*size, steps, threads, shared=True))
        plain, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        rates = [f"{size[0] * steps / each:,.0f}" for each in (plain, ours)]
        table.add_row(
            str(size), str(steps), *rates, f"{ratio:.2f}", f"{statistics.median(shares):.2f}" if shares else ""
        )
    Console().print(table)


if __name__ == "__main__":
    auto_cli(main)
