"""X03: a code that carries a function of two symbols, and neither of the symbols."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures, TableLookup
from sup_lightning.errors import reject, require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.information import clusters, merge_distances, mutual_information
from sup_lightning.functional.intervals import seed_interval
from sup_lightning.nn import CodeModel
from sup_lightning.studies.counterexamples.non_decomposable_figures import codes_and_information, edits
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.verdict import Claim

NARROW, WIDE, GROUP, CONTROL = "x03_table", "x03_table_wide", "x03_group", "x03_table_with-inputs"
LITTLE, MUCH = 0.05, 0.95
"""Shares of what there is to know of a symbol that count as nothing and as all of it."""
ABOVE_CHANCE = 0.1
"""By how much an edit may succeed more often than guessing, and still not be one."""
EDITED = 0.9
"""Least success of an edit that is one."""
FEWEST_SEEDS = 8
"""That have to have learned the table."""
RELATIVE_RESOLUTIONS = torch.logspace(-3, 0.75, 60, dtype=torch.float64)
"""Resolutions at which the codes are looked at, over the coarsest at which they tell f."""


@dataclass(frozen=True)
class Cases:
    """All inputs, each once, in the order of (a, b).

    Attributes:
        a: The first symbol, `[n_cases]` long.
        b: The second.
        f: What the table gives.
        features: Both as one-hots, `[n_cases, 2 n_symbols]` float64.
    """

    a: Tensor
    b: Tensor
    f: Tensor
    features: Tensor

    @classmethod
    def of(cls, task: TableLookup) -> "Cases":
        """All inputs of a table."""
        symbols = torch.arange(task.n_symbols)
        a, b = torch.cartesian_prod(symbols, symbols).T
        one_hot = torch.eye(task.n_symbols, dtype=torch.float64)
        return cls(a, b, task.values()[a, b], torch.cat([one_hot[a], one_hot[b]], dim=1))


def coarsest_resolution(merged: Tensor, labels: Tensor) -> Tensor:
    """The resolution from which on a code tells a label: finer than this no two cases of different labels run together.

    Args:
        merged: `[..., n_cases, n_cases]`, of `merge_distances`.
        labels: `[n_cases]`.

    Returns:
        `[...]`; 0 if two cases of different labels have the same code.
    """
    differ = labels[:, None] != labels
    return torch.where(differ, merged, math.inf).amin(dim=(-2, -1))


def informations(merged: Tensor, resolution: float, labels: tuple[Tensor, ...]) -> list[float]:
    """Bits that a code `[n_cases, n_cases]` (of `merge_distances`) tells of each label at a resolution."""
    found = clusters(merged, resolution)
    return [float(mutual_information(found, each)) for each in labels]


def edited(code: Tensor, cases: Cases, value: int, noise: float) -> Tensor:
    """Codes after the best affine edit that is to set a to a value and to leave b alone, `[n_cases, n_hidden]`.

    The edit c → c M + v is the one map for all cases that comes nearest, in least squares, to the code of (value, b).
    It has to work on codes that are known up to a normal noise, as it could else amplify differences that nothing
    reads.

    Args:
        code: `[n_cases, n_hidden]`.
        cases: What is coded.
        value: What a is set to.
        noise: Standard deviation of the noise.
    """
    n_symbols = int(cases.a.max()) + 1
    target = code[value * n_symbols + cases.b]  # cases are in the order of (a, b)
    centred, goal = code - code.mean(dim=0), target - target.mean(dim=0)
    gram = centred.mT @ centred + len(code) * noise**2 * torch.eye(code.shape[1], dtype=code.dtype)
    return centred @ torch.linalg.solve(gram, centred.mT @ goal) + target.mean(dim=0)


def edit_success(net: CodeModel, code: Tensor, cases: Cases, noise: Tensor) -> Tensor:
    """Share of cases and values for which an edit of a gives what the network says of (value, b), `[n_instances]`.

    Where the head tells a and b as well, these have to be right too.

    Args:
        net: Whose head reads the edited codes.
        code: `[n_instances, n_cases, n_hidden]`.
        cases: What is coded.
        noise: Of the edit, `[n_instances]`.
    """
    n_symbols = int(cases.a.max()) + 1
    right = []
    for value in range(n_symbols):
        changed = torch.stack(
            [edited(each, cases, value, float(level)) for each, level in zip(code, noise, strict=True)]
        )
        said = net.head(changed).unflatten(-1, (-1, n_symbols)).argmax(dim=-1)  # [n_instances, n_cases, 1 or 3]
        wanted = torch.stack([cases.f[value * n_symbols + cases.b], torch.full_like(cases.a, value), cases.b], dim=-1)
        right.append((said == wanted[:, : said.shape[-1]]).all(dim=-1).double().mean(dim=-1))
    return torch.stack(right).mean(dim=0)


@dataclass(frozen=True)
class Measured:
    """An experiment, of the seeds that have learned their table.

    Attributes:
        n_symbols: Of a, b and f.
        cases: All inputs.
        n_all: Number of seeds, learned or not.
        code: `[n_seeds, n_cases, n_hidden]`.
        resolution: From which on the code tells f, `[n_seeds]`.
        told: Share of f, a and b that is told at half of it, `[n_seeds, 3]`.
        curves: The same at each of `RELATIVE_RESOLUTIONS`, `[n_seeds, n_resolutions, 3]`.
        untrained: `told` of the initial weights.
        edit: Success of edits, `[n_seeds]`.
    """

    n_symbols: int
    cases: Cases
    n_all: int
    code: Tensor
    resolution: Tensor
    told: Tensor
    curves: Tensor
    untrained: Tensor
    edit: Tensor

    @classmethod
    def of(cls, run: Run) -> "Measured":
        """Measure a finished run."""
        task = cast(TableLookup, cast(SyntheticFeatures, run.data).task)
        net = cast(CodeModel, run.toy.net)
        cases, q = Cases.of(task), task.n_symbols
        start = CodeModel(2 * q, net.seeds, net.n_hidden, net.n_neurons, net.n_outputs).double()
        trained = CodeModel(2 * q, net.seeds, net.n_hidden, net.n_neurons, net.n_outputs).double()
        trained.load_state_dict(net.state_dict())
        features = cases.features.expand(net.n_instances, -1, -1)
        said = trained(features).unflatten(-1, (-1, q)).argmax(dim=-1)
        wanted = torch.stack([cases.f, cases.a, cases.b], dim=-1)[:, : said.shape[-1]]
        learned = (said == wanted).flatten(1).all(dim=1)
        code = trained.code(features)
        merged = merge_distances(code)
        resolution = coarsest_resolution(merged, cases.f)
        success = edit_success(trained, code, cases, resolution / 4)[learned]
        merged_before = merge_distances(start.code(features))
        half = _told(merged_before, coarsest_resolution(merged_before, cases.f) / 2, cases, q)
        told = _told(merged, resolution / 2, cases, q)[learned]
        at = [_told(merged[learned], resolution[learned] * each, cases, q) for each in RELATIVE_RESOLUTIONS]
        curve = torch.stack(at, dim=1)
        return cls(q, cases, len(code), code[learned], resolution[learned], told, curve, half, success)

    @property
    def of_a_symbol(self) -> Tensor:
        """The larger of the shares of a and b that is told, `[n_seeds]`."""
        return self.told[:, 1:].amax(dim=1)


def _told(merged: Tensor, resolution: Tensor, cases: Cases, n_symbols: int) -> Tensor:
    """Shares of what there is to know of f, a and b, `[n_seeds, 3]`."""
    labels = (cases.f, cases.a, cases.b)
    found = [informations(each, float(r), labels) for each, r in zip(merged, resolution, strict=True)]
    return torch.tensor(found, dtype=torch.float64).view(-1, 3) / math.log2(n_symbols)


class NonDecomposable(Study):
    """Codes of a value that a table gives to two symbols.

    Args:
        n_symbols: Values of a and b, in the experiments with a random table.
        table_seed: Which random table.
    """

    id = "X03"
    title = "A representation without parts"
    question = (
        "Can a network's hidden layer hold a function of its inputs and nothing of the inputs themselves, so that no "
        "part of it stands for one of them?"
    )
    hypothesis = (
        "Two symbols a and b go in; only f(a, b), which a Latin square gives, is asked for. At half the resolution at "
        "which a code of two dimensions tells all of f, it tells at most 5 % of a and of b. The best affine edit that "
        "is to change a alone succeeds at most 10 points more often than guessing. If the head has to tell a and b as "
        "well, the code tells 95 % of them, and the edit succeeds in 90 % of the cases or more."
    )
    caveat = (
        "f is known to say nothing of a or b by itself, as each row and column of the table holds every symbol once, "
        "and all inputs are counted. A network's code is real numbers, so some trace of a is left in its far digits; "
        "the claim is about what is left at a resolution, and the curve shows all of them. Real models compute "
        "functions whose values do tell something of the inputs, and keep the inputs for other uses, as the control "
        "does here. A code that tells a or b at the resolution of f would change the verdict."
    )
    experiments = (NARROW, WIDE, GROUP, CONTROL)
    minutes = (1.5, 1.5)

    def __init__(self, n_symbols: int = 5, table_seed: int = 0) -> None:
        require_positive(n_symbols=n_symbols)
        if not 3 <= n_symbols <= 12:
            reject("n_symbols", n_symbols, "3 to 12")
        self.n_symbols, self.table_seed = n_symbols, table_seed

    def overrides(self, experiment: str) -> dict[str, Any]:
        if experiment == GROUP:
            return {}
        with_inputs = experiment == CONTROL
        table = {"n_symbols": self.n_symbols, "table_seed": self.table_seed, "with_inputs": with_inputs}
        features = {"set_size": self.n_symbols, "values": {"class_path": "ConstantValue"}}
        return {
            "data": {
                "n_features": 2 * self.n_symbols,
                "features": {"class_path": "AnticorrelatedSets", "init_args": features},
                "task": {"class_path": "TableLookup", "init_args": table},
            },
            "model": {"net": {"n_outputs": self.n_symbols * (3 if with_inputs else 1)}},
        }

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = {name: Measured.of(run) for name, run in runs.items()}
        few = [name for name, each in found.items() if len(each.code) < FEWEST_SEEDS]
        if few:
            return Answer([], {}, gate=f"fewer than {FEWEST_SEEDS} seeds learned the table of {', '.join(few)}")
        narrow, control = found[NARROW], found[CONTROL]
        pictures = {
            "codes": Picture(codes_and_information(narrow, control, RELATIVE_RESOLUTIONS), CODES),
            "edits": Picture(edits(found), EDITS),
        }
        tables = {"seeds": pd.concat([_table(name, each) for name, each in found.items()])}
        return Answer(_claims(found, narrow, control), pictures, tables)


CODES = (
    "Left: the codes of all inputs of the first model, in two dimensions; a colour for each value of f, with the pairs "
    "of a and b that have it. Right: what codes tell of f, a and b if two codes closer than a resolution cannot be "
    "told apart, over the resolution at which f is known; mean over seeds."
)
EDITS = (
    "How often the best affine edit of the code that is to change a alone gives what the network says of the changed "
    "input: one dot for each seed, the line is guessing."
)


def _claims(found: Mapping[str, Measured], narrow: Measured, control: Measured) -> list[Claim]:
    def interval(values: Tensor) -> tuple[float, tuple[float, float]]:
        median, low, high = (float(each) for each in seed_interval(values))
        return median, (low, high)

    def others(quantity: str, seeds: Mapping[str, Tensor]) -> str:
        return "; ".join(f"{name}: {float(values.median()):.2f}" for name, values in seeds.items()) + f" ({quantity})"

    told, told_with = interval(narrow.of_a_symbol), interval(control.told[:, 1:].amin(dim=1))
    edit, edit_with = interval(narrow.edit), interval(control.edit)
    before = float(narrow.untrained[:, 1:].amax(dim=1).nanmedian())
    more = {"code of the wide model": found[WIDE].of_a_symbol, "group S3": found[GROUP].of_a_symbol}
    chance = 1 / narrow.n_symbols
    quantity = "share told at half the resolution at which f is known, median over seeds"
    return [
        Claim(
            "the code tells f, and neither a nor b",
            *told,
            (-math.inf, LITTLE),
            f"if the head needs a and b as well: {told_with[0]:.2f}; untrained: {before:.2f}; "
            + others("the same", more),
            f"of a or b, the larger {quantity}",
        ),
        Claim(
            "no affine edit of the code changes a alone",
            *edit,
            (-math.inf, chance + ABOVE_CHANCE),
            f"guessing: {chance:.2f}; if the head needs a and b as well: {edit_with[0]:.2f}; "
            + others("the same", {"wide model": found[WIDE].edit}),
            "success of the best edit, median over seeds",
        ),
        Claim(
            "control: a head that also needs a and b has a code that tells them",
            *told_with,
            (MUCH, math.inf),
            f"the head that needs f alone: {told[0]:.2f}",
            f"of a or b, the smaller {quantity}",
        ),
        Claim(
            "control: of that code an affine edit changes a alone",
            *edit_with,
            (EDITED, math.inf),
            f"the head that needs f alone: {edit[0]:.2f}; guessing f, a and b: {chance**3:.3f}",
            "success of the best edit, median over seeds",
        ),
    ]


def _table(name: str, found: Measured) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "experiment": name,
            "seeds that learned the table": f"{len(found.code)} of {found.n_all}",
            "share of f told": found.told[:, 0],
            "share of a told": found.told[:, 1],
            "share of b told": found.told[:, 2],
            "success of edits of a": found.edit,
            "resolution that tells f, over the codes' spread": found.resolution
            / found.code.std(dim=1).square().sum(-1).sqrt(),
        }
    )
