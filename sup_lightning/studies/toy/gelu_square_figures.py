"""Figures of T11."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.functional.quadratic import pair_square_error
from sup_lightning.nn import ToyNetwork
from sup_lightning.nn.activations import ToyActivationName, get_toy_activation
from sup_lightning.plotting.sweeps import BLUE, GREEN, PURPLE, RED, density_axis, seeds_over

if TYPE_CHECKING:
    from sup_lightning.studies.toy.gelu_square import Measured

LOSSES = (
    "Squared error of each function over rows in which its features are active, against how often features fire. Dots "
    "are seeds, lines medians. Dashed: the least error that any network without biases can have whose activation is "
    "ReLU, at any width. Left: squares. Right: products."
)
CURVES = (
    "Left: what the networks make of one feature while the others are silent (seed with the least error at the p "
    "given). Without biases ReLU networks are straight on either side of 0. Right: the error of two mirrored neurons "
    "without biases by their input weight, exactly, and the learned input weights with the error of the whole network: "
    "one dot for each seed and p. Where all features are active (p = 1) other neurons help: dots are below the line."
)
STYLES = {
    "smooth": (BLUE, "{activation}, {n} neurons a function", "o"),
    "relu": (RED, "ReLU, {n}", "s"),
    "relu-wide": (PURPLE, "ReLU, {n}", "^"),
    "relu-bias": (GREEN, "ReLU, {n}, with biases", "D"),
}
NAMES = {"gelu": "GELU", "gelu_new": "GELU", "silu": "SiLU", "softplus": "softplus"}


def style(experiment: str, activation: str, n_neurons: int) -> tuple[str, str, str]:
    """Colour, label and marker of an experiment."""
    colour, label, marker = STYLES[experiment.rpartition("_")[2]]
    return colour, label.format(activation=NAMES[activation], n=n_neurons), marker


def losses(found: Mapping[str, "Measured"], neurons: Mapping[str, int], activation: str) -> Figure:
    """Errors over p, squares left and products right.

    Args:
        found: Losses of each experiment.
        neurons: Of each experiment, for each function.
        activation: The smooth one.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, task, title in zip(figure.subplots(1, 2), ("square", "product"), ("$x^2$", "$x\\,y$"), strict=True):
        chosen = {name: m for name, m in found.items() if task in name}
        for name, m in chosen.items():
            seeds_over(axes, m.p, m.loss, *style(name, activation, neurons[name]))
        axes.plot(m.p, m.floor, "--", color="0.2", lw=1.2, label="floor of ReLU without biases")
        density_axis(axes, m.p)
        axes.set_yscale("log")
        axes.set_title(title, fontsize=11)
        axes.set_ylabel("squared error when active", fontsize=8)
        axes.legend(fontsize=7.5, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def curves(
    nets: Mapping[str, ToyNetwork],
    labels: Mapping[str, tuple[str, str, str]],
    p: float,
    scale: Tensor,
    loss: Tensor,
    activation: ToyActivationName,
) -> Figure:
    """Learned functions of one feature, and errors by input scale.

    Args:
        nets: One model of each experiment.
        labels: Colour, label and marker of each.
        p: At which they were trained.
        scale: Learned input scales of the smooth networks, any shape.
        loss: Their errors, the same shape.
        activation: The smooth one.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    x = torch.linspace(-1, 1, 401)
    left.plot(x, x.square(), color="0.75", lw=5, label="$x^2$")
    for name, net in nets.items():
        features = torch.zeros(1, len(x), net.n_features)
        features[0, :, 0] = x
        colour, label, _ = labels[name]
        left.plot(x, net(features)[0, :, 0].detach(), color=colour, lw=1.4, label=label)
    left.set(xlabel="$x$", ylabel="output")
    left.set_title(f"one feature alone, trained at $p$ = {p:g}", fontsize=9)
    left.legend(fontsize=7.5, frameon=False, loc="upper center")
    _pair_error(right, scale, loss, activation)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
    return figure


def _pair_error(axes: Axes, scale: Tensor, loss: Tensor, activation: ToyActivationName) -> None:
    e = torch.logspace(-1, 1.3, 200, dtype=torch.float64)
    axes.plot(e, pair_square_error(e, get_toy_activation("activation", activation)), color="0.3", lw=1.2, label="exact")
    axes.plot(scale.flatten().detach(), loss.flatten(), "o", color=BLUE, ms=4, alpha=0.5, mew=0, label="trained")
    axes.axhline(1 / 80, color=RED, lw=1, ls="--", label="two ReLUs")
    axes.set(xscale="log", yscale="log", xlabel="input weight of a neuron", ylabel="squared error when active")
    axes.set_title(f"two {NAMES[activation]} neurons without biases", fontsize=9)
    axes.legend(fontsize=7.5, frameon=False)
