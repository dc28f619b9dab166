"""How many seeds of a five-features-in-two-dimensions run found the pentagon, beside the exact optimum."""

from pathlib import Path

import pandas as pd
from jsonargparse import auto_cli

# The best that any weights can do at p = .05, importance 1 (Elhage et al.'s model, expected loss computed exactly).
OPTIMUM = {"loss": 0.008907, "feature_norm": 1.132, "feature_dimensionality": 0.400}
WITHIN = 0.05
"""A seed found the pentagon if its loss is this close to the optimum's; the next best shape is at twice its loss."""


def main(run: Path) -> None:
    """Print the best seed and the share of pentagons.

    Args:
        run: The run's directory.
    """
    table = pd.read_csv(run / "instances.csv")
    last = table[table["step"] == table["step"].max()]
    best = last.loc[last["loss"].idxmin()]
    found = (last["loss"] < (1 + WITHIN) * OPTIMUM["loss"]).sum()
    print(f"{found} of {len(last)} seeds found the pentagon; the best is seed {best['seed']:.0f}:")
    for name, exact in OPTIMUM.items():
        print(f"  {name:24} {best[name]:.5f}   exact optimum {exact:.5f}")


if __name__ == "__main__":
    auto_cli(main)
