"""How well few neurons can make x² and x y of features that are uniform on [-1, 1]: bounds that no training beats.

A ReLU network with neither hidden biases nor readout bias is positively homogeneous: f(s x) = s f(x) for s > 0. So it
is a straight line along each ray, whatever its width and depth, and a parabola is not. With biases k neurons make a
piecewise linear function with k knots.
"""

from collections.abc import Callable
from math import comb

import numpy as np
import torch
from torch import Tensor

N_NODES = 64
"""Gauss-Legendre nodes on [0, 1] for smooth functions of one feature."""


def homogeneous_floor(feature_probability: Tensor, n_features: int, n_factors: int = 1) -> Tensor:
    """The least expected squared error of one output t(x) over all positively homogeneous functions, in p's shape.

    t is x_i² (one factor) or x_i x_j (two), of features that fire independently with probability p, uniform on [-1, 1].
    Given k active features, x = s v with max |v_i| = 1, where s has density k s^(k-1) on [0, 1] and does not depend on
    v. Then t = s² t(v), the function is s h(v), the best h(v) is t(v) E s³ / E s², and what is left is
    E t(v)² (E s⁴ - (E s³)² / E s²) = E t(x)² / (k + 3)². It is 1/80 for x² alone, and less where other features fire:
    they take the part of a bias.

    Args:
        feature_probability: p, the same for all features.
        n_features: How many there are.
        n_factors: 1 for x_i², 2 for x_i x_j.

    >>> homogeneous_floor(torch.tensor([1.0, 0.1]), n_features=1)
    tensor([0.0125, 0.0013])
    """
    p, second_moment = feature_probability, 1 / 5 if n_factors == 1 else 1 / 9
    floor = torch.zeros_like(p)
    for k in range(n_factors, n_features + 1):
        chance = comb(n_features - n_factors, k - n_factors) * p**k * (1 - p) ** (n_features - k)
        floor = floor + chance * second_moment / (k + 3) ** 2
    return floor


def pair_square_error(scale: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Expected squared error of x² by two mirrored neurons without biases, a (f(e x) + f(-e x)), with the best a.

    x is uniform on [-1, 1]. For GELU the pair is a e x erf(e x / √2), a parabola for small e.

    Args:
        scale: e, the input weight, any shape; float64 where the error is small.
        activation: f.

    >>> from torch.nn.functional import gelu
    >>> [f"{float(error):.1e}" for error in pair_square_error(torch.tensor([0.3, 1.0]).double(), gelu)]
    ['2.0e-06', '2.2e-04']
    """
    nodes, weights = np.polynomial.legendre.leggauss(N_NODES)
    x, weight = (torch.as_tensor(each, dtype=scale.dtype) for each in ((nodes + 1) / 2, weights / 2))
    z = scale.unsqueeze(-1) * x
    pair = activation(z) + activation(-z)
    overlap, square = (pair * x**2 * weight).sum(dim=-1), (pair.square() * weight).sum(dim=-1)
    return 1 / 5 - overlap.square() / square


def relu_square_error(knots: Tensor, facing: Tensor, p: float = 1.0) -> Tensor:
    """Least expected squared error of x² by ReLUs with given knots, sum_i c_i ReLU(s_i (x - t_i)), over all c, `[...]`.

    x is uniform on [-1, 1] with probability p, else 0. The integrals are exact: polynomials between the knots. Knots
    that coincide are told apart by a ridge of 1e-12.

    Args:
        knots: t, `[..., n_neurons]`, in float64.
        facing: s, 1 for a neuron that fires right of its knot, -1 for left; the same shape.
        p: How often x is not 0.

    >>> round(float(relu_square_error(torch.zeros(2).double(), torch.tensor([1.0, -1.0]).double())), 8)  # |x|
    0.0125
    """
    ends = torch.cat([torch.full_like(knots[..., :1], -1.0), knots.clamp(-1, 1), torch.ones_like(knots[..., :1])], -1)
    ends = ends.sort(dim=-1).values
    low, width = ends[..., :-1, None], ends.diff(dim=-1).unsqueeze(-1)
    nodes, weights = np.polynomial.legendre.leggauss(3)
    unit, share = (torch.as_tensor(each, dtype=knots.dtype) for each in ((nodes + 1) / 2, weights / 4))
    x = (low + width * unit).flatten(-2)
    weight = (width * share).flatten(-2).unsqueeze(-1)
    neurons = (facing.unsqueeze(-2) * (x.unsqueeze(-1) - knots.unsqueeze(-2))).relu()  # [..., n_nodes, n_neurons]
    silent = (-facing * knots).relu()
    gram = p * (neurons.mT @ (weight * neurons)) + (1 - p) * silent.unsqueeze(-1) * silent.unsqueeze(-2)
    gram = gram + 1e-12 * torch.eye(knots.shape[-1], dtype=knots.dtype)
    overlap = p * (neurons * weight * x.unsqueeze(-1).square()).sum(dim=-2)
    best = torch.linalg.solve(gram, overlap)
    return p / 5 - (overlap * best).sum(dim=-1)
