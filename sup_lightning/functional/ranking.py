"""How well scores tell two classes apart, as functions of the weight of each sample.

Scores are sorted once, so that many resamples cost little.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sup_lightning.functional.histograms import auc_of_counts


def auc_of_weights(scores: Tensor, labels: Tensor) -> Callable[[Tensor], float]:
    """AUC of scores as a function of the weight of each sample; exact, ties counted half.

    Args:
        scores: `[n]`.
        labels: `[n]`, 0 or 1; samples with another label are left out.

    >>> of = auc_of_weights(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([0, 1, 0, 1]))
    >>> of(torch.ones(4)), of(torch.tensor([1.0, 1.0, 0.0, 1.0]))
    (0.875, 1.0)
    """
    values, place = scores.unique(return_inverse=True)
    negative, positive = labels == 0, labels == 1

    def auc(weights: Tensor) -> float:
        weights = weights.double()
        counts = [
            torch.zeros(len(values), dtype=torch.float64).index_add_(0, place[chosen], weights[chosen])
            for chosen in (negative, positive)
        ]
        return float(auc_of_counts(*counts))

    return auc


def auc(scores: Tensor, labels: Tensor) -> float:
    """Probability that a sample of class 1 scores above one of class 0, ties counted half; NaN if a class is missing.

    >>> auc(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([0, 1, 0, 1]))
    0.875
    """
    return auc_of_weights(scores, labels)(torch.ones(len(scores)))


def recall_of_weights(scores: Tensor, labels: Tensor, precision: float) -> Callable[[Tensor], float]:
    """The greatest recall of a threshold that is precise enough, as a function of the weight of each sample.

    A sample counts as found if its score is at least the threshold. 0 if no threshold is precise enough.

    Args:
        scores: `[n]`.
        labels: `[n]`, 0 or 1; samples with another label are left out.
        precision: Share of the found ones that must have label 1.

    >>> recall = recall_of_weights(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 0, 1, 1]), precision=0.7)
    >>> recall(torch.ones(4)), recall(torch.tensor([1.0, 2.0, 1.0, 1.0]))
    (1.0, 0.3333333333333333)
    """
    values, place = (-scores).unique(return_inverse=True)  # greatest score first
    negative, positive = labels == 0, labels == 1

    def recall(weights: Tensor) -> float:
        weights = weights.double()
        below, found = (
            torch.zeros(len(values), dtype=torch.float64).index_add_(0, place[chosen], weights[chosen]).cumsum(dim=0)
            for chosen in (negative, positive)
        )
        enough = found >= precision * (found + below)
        return float(found[enough].max() / found[-1]) if bool((enough & (found > 0)).any()) else 0.0

    return recall
