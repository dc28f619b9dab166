"""The expected squared error of each output of trained networks, over the law of their features."""

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.experiment import Run
from sup_lightning.nn import ToyNetwork
from sup_lightning.studies.active_rows import expected_loss


def instances_of(net: ToyNetwork, chosen: slice) -> ToyNetwork:
    """A copy of a network with some of its instances."""
    some = deepcopy(net)
    some.seeds = net.seeds[chosen]
    for tensor in (*some.parameters(), *some.buffers()):
        tensor.data = tensor.data[chosen]
    return some


def output_losses(run: Run, net: ToyNetwork | None = None) -> Tensor:
    """Expected squared error of each output, importance left out, `[n_points, n_seeds, n_outputs]` float64.

    All models of a point are measured on the same rows, of which those in which nothing fires are computed once.

    Args:
        run: Whose models and features.
        net: Other weights in the place of the run's.
    """
    data, sweep = cast(SyntheticFeatures, run.data), run.toy.sweep
    found = []
    for point in range(sweep.n_points):
        some = instances_of(net or run.toy.net, slice(point * sweep.n_seeds, (point + 1) * sweep.n_seeds))

        def squared_error(x: Tensor, some: ToyNetwork = some) -> Tensor:
            output = some(x.mT.expand(some.n_instances, *x.mT.shape))
            return (output - data.task(x).mT).square().sum(dim=1)

        p = data.feature_probability[point * sweep.n_seeds]
        found.append(expected_loss(squared_error, p, data, "output losses"))
    return torch.stack(found).double()
