"""Functions of functions of the features: only the last is a target."""

from torch import Tensor

from sup_lightning.data.tasks import Task
from sup_lightning.errors import reject, require_positive


class Composed(Task):
    """A task on the targets of another: outer(inner(x)). The inner targets are hidden intermediates.

    Args:
        inner: From the features to the intermediates.
        outer: From the intermediates, in place of features, to the targets.

    >>> import torch
    >>> from sup_lightning.data.pair_tasks import PairTask
    >>> task = Composed(PairTask("and"), PairTask("xor"))  # (x0 and x1) xor (x2 and x3)
    >>> task(torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]))
    tensor([[1., 0., 1.]])
    """

    def __init__(self, inner: Task, outer: Task) -> None:
        self.inner, self.outer = inner, outer

    def n_outputs(self, n_features: int) -> int:
        return self.outer.n_outputs(self.inner.n_outputs(n_features))

    def __call__(self, features: Tensor) -> Tensor:
        return self.outer(self.inner(features))


class GroupSums(Task):
    """Sums over groups of features: feature i belongs to group i modulo the number of groups.

    Args:
        n_groups: Number of groups, and of targets.

    >>> import torch
    >>> GroupSums(2)(torch.tensor([[1.0], [2.0], [4.0]]))
    tensor([[5.],
            [2.]])
    """

    def __init__(self, n_groups: int) -> None:
        require_positive(n_groups=n_groups)
        self.n_groups = n_groups

    def n_outputs(self, n_features: int) -> int:
        if n_features < self.n_groups:
            reject("n_groups", self.n_groups, f"at most {n_features}, the number of what is summed")
        return self.n_groups

    def __call__(self, features: Tensor) -> Tensor:
        sums = features.new_zeros(*features.shape[:-2], self.n_groups, features.shape[-1])
        for group in range(self.n_groups):
            sums[..., group, :] = features[..., group :: self.n_groups, :].sum(dim=-2)
        return sums
