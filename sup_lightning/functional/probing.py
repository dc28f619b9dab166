"""What can be read off activations: held-out R² and AUC of linear probes, and R² of one that is not (scikit-learn)."""

import warnings
from typing import Literal

import torch
from torch import Tensor

from sup_lightning.errors import reject

Probe = Literal["linear", "mlp"]
MLP_WIDTHS, MLP_EPOCHS = (32, 32), 40


def probe_r2(activations: Tensor, targets: Tensor, probe: Probe = "linear", seed: int = 0) -> Tensor:
    """R² of a probe trained on the first half of the rows and held against the second, for each target, `[n_targets]`.

    `linear` is least squares with an intercept. By Bessel's inequality the R² of uncorrelated targets add up to at most
    the width of the activations (on the rows that it is fitted to): k neurons cannot hold more than k of them linearly.
    `mlp` is scikit-learn's MLPRegressor on standardised activations and targets, two hidden layers of 32. NaN for
    targets that do not vary.

    Args:
        activations: `[rows, width]`.
        targets: `[rows, n_targets]`.
        probe: Which probe.
        seed: Of the MLP's start and batches.

    >>> x = torch.rand(400, 2, generator=torch.Generator().manual_seed(0))
    >>> probe_r2(x, torch.stack([x[:, 0] - x[:, 1], x[:, 0] + 1], dim=1))
    tensor([1., 1.])
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPRegressor

    if probe not in ("linear", "mlp"):
        reject("probe", probe, "linear or mlp")
    half = len(activations) // 2
    x, y = (_standardised(each.double(), half) for each in (activations, targets))
    if probe == "linear":
        model = LinearRegression()
    else:
        model = MLPRegressor(
            hidden_layer_sizes=MLP_WIDTHS, max_iter=MLP_EPOCHS, learning_rate_init=3e-3, random_state=seed
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of epochs is meant
        single = y[:half].squeeze(1) if y.shape[1] == 1 else y[:half]  # scikit-learn takes one target as a vector
        model.fit(x[:half].numpy(), single.numpy())
    predicted = torch.from_numpy(model.predict(x[half:].numpy())).view(len(x) - half, -1)
    held_out = y[half:]
    spread = (held_out - held_out.mean(dim=0)).square().sum(dim=0)
    r2 = 1 - (held_out - predicted).square().sum(dim=0) / spread
    return r2.where(spread > 0, torch.nan).to(activations.dtype)


def probe_weights(activations: Tensor, labels: Tensor) -> Tensor:
    """Weights of a logistic regression of two classes on standardised activations, `[width]`; penalty |w|²/2.

    Args:
        activations: `[rows, width]`.
        labels: `[rows]` bool.
    """
    from sklearn.linear_model import LogisticRegression

    x = _standardised(activations.double(), len(activations))
    return torch.from_numpy(LogisticRegression(max_iter=1000).fit(x.numpy(), labels.numpy()).coef_[0])


def probe_auc(activations: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor) -> float:
    """Area under the ROC curve of that probe on held-out rows: .5 is chance, 1 tells every pair apart.

    Args:
        activations: `[rows, width]`, fitted to.
        labels: `[rows]` bool.
        held_out: `[held_out_rows, width]`.
        held_out_labels: `[held_out_rows]` bool.

    >>> x, y = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 2 == 0
    >>> round(probe_auc(x + y[:, None], y, x + y[:, None], y), 2), probe_auc(x, y, x * 0, y)
    (0.92, 0.5)
    """
    from sklearn.metrics import roc_auc_score

    scale = activations.double().std(dim=0)
    weights = probe_weights(activations, labels) / scale.where(scale > 1e-12, 1.0)
    return float(roc_auc_score(held_out_labels.numpy(), (held_out.double() @ weights).numpy()))


def _standardised(values: Tensor, half: int) -> Tensor:
    """Mean 0 and variance 1 over the first half of the rows; what does not vary is left at 0."""
    mean, std = values[:half].mean(dim=0), values[:half].std(dim=0)
    return (values - mean) / std.where(std > 1e-12, 1.0)
