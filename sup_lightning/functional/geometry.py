"""Which polytopes the features form (Elhage et al. 2022, "The Geometry of Superposition").

A configuration in many dimensions is often a tegum product: groups of features in mutually orthogonal subspaces, each
group a regular polytope in few dimensions. Here the groups are taken apart and named.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.functional.dimensionality import REPRESENTED, feature_norms
from sup_lightning.functional.interference import gram

CONNECTED = 0.1
"""Two features belong together if their cosine is beyond this."""
RANK_TOLERANCE = 0.2
"""Singular values of a group's unit directions below this share of the largest are noise."""
RESIDUAL = 0.05
"""Largest root mean square difference of a named group's cosines from those of the polytope."""
RESIDUAL_TIMES_SIZE = 0.4
"""Stricter for more than 8 features: neighbours in a polygon are 2π / size apart, of which this is a sixteenth."""
DIMENSIONALITY_TOLERANCE = 0.02
"""Largest |D_i - rank / size| of a feature in a named group."""

PLATEAUS = {
    0.0: "not represented",
    1 / 3: "hexagon",
    3 / 8: "square antiprism",
    2 / 5: "pentagon",
    1 / 2: "digon",
    2 / 3: "triangle",
    3 / 4: "tetrahedron",
    1.0: "single",
}
"""Values of D_i that features of uniform importance stick to, and the first polytope with that value."""

_SIMPLEX_NAMES = {2: "digon", 3: "triangle", 4: "tetrahedron"}
_POLYGON_NAMES = {5: "pentagon", 6: "hexagon", 7: "heptagon", 8: "octagon"}
_PLURALS = {"tetrahedron": "tetrahedra"}


@dataclass(frozen=True)
class Polytope:
    """A group of features that interfere with each other, directly or through others of the group.

    Attributes:
        name: `single`, `digon`, `triangle`, `tetrahedron`, `4-simplex` (5 features in 4 dimensions) and so on,
            `pentagon`, `hexagon`, …, `9-gon` and so on, `square antiprism`, or `unnamed 5 in 3` (5 features, rank 3).
        features: Their indices, ascending.
        rank: Dimensions that they span.
        residual: Root mean square difference of the cosines from those of the only polytope known with this size and
            rank; NaN if none is.
        dimensionality: Mean D_i of the features.
    """

    name: str
    features: tuple[int, ...]
    rank: int
    residual: float
    dimensionality: float

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.features)

    @property
    def is_named(self) -> bool:
        """Whether it is one of the known polytopes."""
        return not self.name.startswith("unnamed")


def find_polytopes(W: Tensor, signed: bool = False) -> list[Polytope]:
    """Take one model's features apart into tegum factors, and name them.

    Features longer than `REPRESENTED` are joined where |cos| > `CONNECTED`; the connected components are the factors.
    The rank of a factor counts the singular values of its unit directions above `RANK_TOLERANCE` of the largest. Size
    and rank leave one candidate at most: a regular simplex, a regular polygon or the square antiprism with D_i = 3/8
    (cos² of the polar angle 1/3). All look the same from each vertex, so each feature's sorted cosines to the others
    are compared with one row of the polytope. The name is given if the root mean square difference is below `RESIDUAL`
    and `RESIDUAL_TIMES_SIZE` / size, and each D_i is within `DIMENSIONALITY_TOLERANCE` of rank / size. With noise of
    standard deviation .01 on the weights, at least 19 in 20 groups keep their name; with .05 few do.

    What splits is found as its parts: a square and an octahedron are 2 and 3 digons, a triangular bipyramid is a
    triangle and a digon. Simplices of 11 or more features have cosines of -.1 or nearer to 0, and are not joined.

    Args:
        W: `[n_features, n_hidden]`.
        signed: For correlated features, whose positive cosines do no harm: features are joined only where
            cos < -`CONNECTED`, and D_i counts the overlaps within the factor alone. Positive cosines between factors
            are then allowed (two features in one direction are two singles); positive cosines within a factor, which
            negative ones hold together, are still compared with the polytope's.

    Returns:
        The factors, in order of their first feature; empty if nothing is represented.

    >>> [polytope.name for polytope in find_polytopes(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))]
    ['digon', 'single']
    """
    if W.ndim != 2:
        reject("W", list(W.shape), "the shape of one model, [n_features, n_hidden]")
    W = W.detach().cpu().double()
    norms = feature_norms(W)
    represented = (norms > REPRESENTED).nonzero().flatten()
    directions = W[represented] / norms[represented, None]
    cosines = directions @ directions.mT
    groups = _components(cosines < -CONNECTED if signed else cosines.abs() > CONNECTED)
    overlaps = gram(W).square()
    polytopes = []
    for group in groups:
        features = represented[group]
        others = features if signed else torch.arange(len(W))
        dimensionality = norms[features] ** 4 / overlaps[features][:, others].sum(dim=1)
        polytopes.append(_name(directions[group], features, dimensionality))
    return polytopes


def find_polytopes_of_instances(W: Tensor, signed: bool = False) -> list[list[Polytope]]:
    """`find_polytopes` of each model of `[n_instances, n_features, n_hidden]`."""
    return [find_polytopes(each, signed) for each in W.detach().cpu()]


def describe(polytopes: Iterable[Polytope]) -> str:
    """The polytopes in words, from small to large, the unnamed last; empty if there are none.

    >>> describe(find_polytopes(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])))
    '2 digons'
    """
    ordered = sorted(polytopes, key=lambda polytope: (not polytope.is_named, polytope.size, polytope.rank))
    counts = Counter(polytope.name for polytope in ordered)
    return " + ".join(name if count == 1 else f"{count} {_plural(name)}" for name, count in counts.items())


def plateau(D: Tensor, tolerance: float = 0.0125) -> Tensor:
    """The plateau (key of `PLATEAUS`) nearest to each feature's dimensionality; NaN if none is within the tolerance.

    Args:
        D: Any shape.
        tolerance: Largest distance; the default is half of that between the two nearest plateaus, 3/8 and 2/5.

    >>> plateau(torch.tensor([0.51, 0.39, 0.45, 0.0]))
    tensor([0.5000, 0.4000,    nan, 0.0000])
    """
    levels = torch.tensor(list(PLATEAUS), dtype=D.dtype, device=D.device)
    distance, nearest = (D.unsqueeze(-1) - levels).abs().min(dim=-1)
    return torch.where(distance <= tolerance, levels[nearest], torch.nan)


def _components(joined: Tensor) -> list[Tensor]:
    """Connected components of a symmetric graph `[n, n]` bool, as index tensors, in order of their first node."""
    n = len(joined)
    reach = joined | torch.eye(n, dtype=torch.bool)
    labels = torch.arange(n)
    while True:  # each node takes the least label in its neighbourhood, until nothing changes
        spread = torch.where(reach, labels, n).amin(dim=1) if n else labels
        if torch.equal(spread, labels):
            return [(labels == label).nonzero().flatten() for label in labels.unique()]
        labels = spread


def _name(directions: Tensor, features: Tensor, dimensionality: Tensor) -> Polytope:
    """Name a factor from its unit directions `[size, n_hidden]`, and D_i `[size]`."""
    size = len(directions)
    singular = torch.linalg.svdvals(directions)
    rank = int((singular > RANK_TOLERANCE * singular[0]).sum())
    name, row = _template(size, rank)
    cosines = directions @ directions.mT
    others = cosines[~torch.eye(size, dtype=torch.bool)].view(size, size - 1).sort(dim=1).values
    residual = float("nan")
    if row is not None:
        residual = float(torch.linalg.vector_norm(others - row)) / max(1, others.numel()) ** 0.5
    alike = residual < min(RESIDUAL, RESIDUAL_TIMES_SIZE / size)
    if not (alike and bool(((dimensionality - rank / size).abs() < DIMENSIONALITY_TOLERANCE).all())):
        name = f"unnamed {size} in {rank}"
    return Polytope(name, tuple(features.tolist()), rank, residual, float(dimensionality.mean()))


def _template(size: int, rank: int) -> tuple[str, Tensor | None]:
    """The polytope of this size and rank, with the sorted cosines of a vertex to the others, `[size - 1]`."""
    if size == 1:
        return "single", torch.empty(0, dtype=torch.float64)
    if rank == size - 1:
        cosines = [-1 / rank] * rank
        return _SIMPLEX_NAMES.get(size, f"{rank}-simplex"), torch.tensor(cosines, dtype=torch.float64)
    if rank == 2 and size >= 5:
        cosines = sorted(cos(2 * pi * step / size) for step in range(1, size))
        return _POLYGON_NAMES.get(size, f"{size}-gon"), torch.tensor(cosines, dtype=torch.float64)
    if (size, rank) == (8, 3):
        near, far = (
            2 / 3 * cos(pi / 4) - 1 / 3,
            2 / 3 * cos(3 * pi / 4) - 1 / 3,
        )  # the other ring; this ring: ±90°, 180°
        cosines = sorted([1 / 3, 1 / 3, -1 / 3, near, near, far, far])
        return "square antiprism", torch.tensor(cosines, dtype=torch.float64)
    return "", None


def _plural(name: str) -> str:
    if name.startswith("unnamed"):
        return name
    return _PLURALS.get(name, name.replace("simplex", "simplice") + "s")
