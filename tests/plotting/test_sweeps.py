import torch
from matplotlib.figure import Figure

from sup_lightning.plotting.sweeps import BLUE, density_axis, seeds_over


def test_curves_over_density() -> None:
    ax = Figure().subplots()
    seeds_over(ax, [1.0, 0.1], torch.tensor([[1.0] * 8, [3.0] * 8]), BLUE, "features")
    density_axis(ax, (1, 0.1))
    dots, line = ax.lines
    assert line.get_ydata().tolist() == [1, 3]
    assert len(dots.get_xdata()) == 16
    assert ax.get_xlim()[0] > ax.get_xlim()[1]  # sparser to the right
