"""Pictures of feature directions. Functions from arrays to a matplotlib Figure; no pyplot, nothing to close."""

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from sup_lightning.functional.dimensionality import feature_dimensionality, feature_norms
from sup_lightning.functional.interference import gram

COLOURS = "viridis"


def features_2d(directions: Tensor, titles: Sequence[str], suptitle: str = "", columns: int = 5) -> Figure:
    """Feature directions as arrows in the plane, one panel for each instance.

    Arrows are coloured by the share of a dimension that the feature has: 1 for its own dimension, 1/2 in an antipodal
    pair, 2/5 in a pentagon.

    Args:
        directions: `[n_instances, n_features, 2]`.
        titles: One for each panel.
        suptitle: Title of the figure.
        columns: Most panels beside each other.
    """
    W = directions.float().cpu()
    columns = min(len(W), columns)
    rows = ceil(len(W) / columns)
    figure = Figure(figsize=(2.2 * columns + 0.9, 2.45 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    reach = max(1.2, 1.08 * float(feature_norms(W).max()))
    dimensionality = feature_dimensionality(W).numpy()
    for ax, arrows, colours, title in zip(axes.flat, W.numpy(), dimensionality, titles, strict=False):
        origin = np.zeros(len(arrows))
        ax.quiver(origin, origin, *arrows.T, colours, cmap=COLOURS, clim=(0, 1), angles="xy", scale_units="xy", scale=1,
                  width=0.018, zorder=2)  # fmt: skip
        ax.scatter(*arrows.T, c=colours, cmap=COLOURS, vmin=0, vmax=1, s=22, zorder=3)
        for index, (x, y) in enumerate(arrows):
            if np.hypot(x, y) > 0.3:
                ax.annotate(str(index), 1.17 * np.array([x, y]), ha="center", va="center", fontsize=7, color="0.35")
        ax.add_artist(Circle((0, 0), 1, fill=False, color="0.85", lw=0.8, zorder=1))
        ax.set(xlim=(-1.2 * reach, 1.2 * reach), ylim=(-1.2 * reach, 1.2 * reach), aspect="equal", xticks=[], yticks=[])
        ax.set_title(title, fontsize=8)
        ax.spines[:].set_color("0.85")
    for ax in axes.flat[len(W) :]:
        ax.set_axis_off()
    bar = figure.colorbar(axes.flat[0].collections[0], ax=axes, shrink=0.7, pad=0.02)
    bar.set_label("feature dimensionality $D_i$", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(suptitle, fontsize=10)
    return figure


def gram_and_norms(directions: Tensor, titles: Sequence[str], suptitle: str = "") -> Figure:
    """For any number of dimensions: the Gram matrix W Wᵀ, and bars of |W_i| coloured by D_i.

    Args:
        directions: `[n_instances, n_features, n_hidden]`.
        titles: One for each instance.
        suptitle: Title of the figure.
    """
    W = directions.float().cpu()
    columns = len(W)
    figure = Figure(figsize=(2.4 * columns + 0.9, 4.6), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False, height_ratios=(1, 0.8))
    grams, norms, dimensionality = gram(W).numpy(), feature_norms(W).numpy(), feature_dimensionality(W).numpy()
    scale = TwoSlopeNorm(0, -1, 1)
    for column, title in enumerate(titles):
        image = axes[0, column].imshow(grams[column], cmap="RdBu_r", norm=scale, interpolation="nearest")
        axes[0, column].set_title(title, fontsize=8)
        axes[0, column].tick_params(labelsize=6)
        bars = axes[1, column]
        bars.barh(range(W.shape[1]), norms[column], color=colormaps[COLOURS](dimensionality[column]), height=0.9)
        bars.invert_yaxis()
        bars.set_xlim(0, max(1.2, 1.05 * float(norms.max())))
        bars.tick_params(labelsize=6)
        bars.set_xlabel("$|W_i|$", fontsize=8)
    figure.colorbar(image, ax=axes[0, :], shrink=0.8).set_label("$W_i\\cdot W_j$", fontsize=8)
    figure.suptitle(suptitle, fontsize=10)
    return figure
