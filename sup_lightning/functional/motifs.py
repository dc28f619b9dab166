"""What single neurons do in networks that compute absolute values (Elhage et al. 2022, "Computation in Superposition").

The network is y = g(W_out h + b), h = ReLU(W_in^T x), one output for each feature. Exactly two neurons compute |x_i|,
one for each sign. In superposition a neuron serves several features. The asymmetric superposition motif reads one
strongly and writes it weakly, the other the other way round (in 2, -1/2; out 1/2, 2): the weak one disturbs the strong
one's output little, and the disturbance the other way is removed by inhibition from another neuron.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.errors import reject


class NeuronCensus(NamedTuple):
    """What the neurons of each model do.

    Attributes:
        load: Features that each neuron reads, `[..., n_neurons]` int64.
        both_signs: Whether each feature has a neuron for + and one for -, `[..., n_features]` bool.
        asymmetric: Whether each neuron shows the asymmetric superposition motif, `[..., n_neurons]` bool.
        strong: The feature that such a neuron reads strongly, `[..., n_neurons]` int64; -1 for other neurons.
        weak: The feature that it reads weakly; -1 for other neurons.
        inhibition: Part of the strong feature's disturbance of the weak one's output that other neurons take away,
            `[..., n_neurons]`; 0 for other neurons.
        inhibited: Whether that part is large enough to count, `[..., n_neurons]` bool.
    """

    load: Tensor
    both_signs: Tensor
    asymmetric: Tensor
    strong: Tensor
    weak: Tensor
    inhibition: Tensor
    inhibited: Tensor

    @property
    def monosemantic(self) -> Tensor:
        """Neurons that read one feature, `[..., n_neurons]` bool."""
        return self.load == 1

    @property
    def polysemantic(self) -> Tensor:
        """Neurons that read several features, `[..., n_neurons]` bool."""
        return self.load > 1


def rescale_neurons(W_in: Tensor, W_out: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each neuron so that its largest |input weight| is 1, and its output weights so that nothing else changes.

    ReLU(c h) = c ReLU(h) for c > 0, so the size of a neuron means nothing. A neuron without input stays as it is.

    Args:
        W_in: `[..., n_features, n_neurons]`.
        W_out: `[..., n_outputs, n_neurons]`.

    >>> rescale_neurons(torch.tensor([[2.0], [-0.5]]), torch.tensor([[0.5], [2.0]]))
    (tensor([[ 1.0000],
            [-0.2500]]), tensor([[1.],
            [4.]]))
    """
    largest = W_in.abs().amax(dim=-2, keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0)
    return W_in / scale, W_out * scale


def neuron_census(
    W_in: Tensor,
    W_out: Tensor,
    significant: float = 0.1,
    tolerance: float = 0.3,
    least_ratio: float = 2.0,
    served: float = 0.5,
    least_inhibition: float = 0.25,
) -> NeuronCensus:
    """Count what neurons do, after `rescale_neurons`. Feature i is computed at output i.

    The contribution of neuron k to |x_i| on one side of 0 is |W_in[i, k]| W_out[i, k], 1 if it does all of it.

    - A neuron reads the features with |W_in[i, k]| > `significant` (of its largest weight).
    - A feature has both signs if one neuron that reads it with a positive weight and one with a negative weight
      contribute more than `served` each.
    - Asymmetric superposition: among the features that the neuron reads and to which it contributes 1 within
      `tolerance`, the largest |input weight| is more than `least_ratio` times the smallest; these two are the strong
      and the weak feature.
    - Inhibition of an asymmetric neuron: the strong feature, when it drives the neuron, disturbs the weak feature's
      output by |W_in[strong, k]| W_out[weak, k]. Other neurons that the strong feature drives with the same sign, and
      that write negatively onto the weak output, take some of it away; it counts from `least_inhibition` on.

    Args:
        W_in: `[..., n_features, n_neurons]`.
        W_out: `[..., n_features, n_neurons]`.
        significant: Least |input weight|, relative to the neuron's largest, that counts as reading.
        tolerance: Largest difference of a contribution from 1 in the motif.
        least_ratio: Least ratio of input weights in the motif.
        served: Least contribution of a neuron to one sign of a feature.
        least_inhibition: Least part of the disturbance that is taken away.

    >>> pair = neuron_census(torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, 1.0]]))
    >>> pair.load, pair.both_signs, pair.asymmetric
    (tensor([1, 1]), tensor([True]), tensor([False, False]))
    """
    if W_in.shape != W_out.shape:
        reject("shapes of W_in and W_out", (list(W_in.shape), list(W_out.shape)), "equal: one output for each feature")
    W_in, W_out = rescale_neurons(W_in.detach(), W_out.detach())
    size = W_in.abs()
    reads = size > significant
    contribution = size * W_out
    serves = reads & (contribution > served)
    both_signs = (serves & (W_in > 0)).any(dim=-1) & (serves & (W_in < 0)).any(dim=-1)

    computes = reads & ((contribution - 1).abs() <= tolerance)
    most, strong = torch.where(computes, size, -torch.inf).max(dim=-2)
    least, weak = torch.where(computes, size, torch.inf).min(dim=-2)
    asymmetric = computes.any(dim=-2) & (most > least_ratio * least)

    def of_feature(weights: Tensor, feature: Tensor) -> Tensor:
        """Weights of neuron k's feature on all neurons l, `[..., k, l]`."""
        return weights.take_along_dim(feature.unsqueeze(-1), dim=-2)

    drive = of_feature(W_in, strong)
    own_sign = drive.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-1)
    written = of_feature(W_out, weak)
    removed = ((own_sign * drive).relu() * (-written).relu()).sum(dim=-1)
    disturbance = (drive.abs() * written).diagonal(dim1=-2, dim2=-1)
    inhibition = torch.where(asymmetric, removed / torch.where(asymmetric, disturbance, 1.0), 0.0)
    return NeuronCensus(
        load=reads.sum(dim=-2),
        both_signs=both_signs,
        asymmetric=asymmetric,
        strong=torch.where(asymmetric, strong, -1),
        weak=torch.where(asymmetric, weak, -1),
        inhibition=inhibition,
        inhibited=asymmetric & (inhibition >= least_inhibition),
    )
