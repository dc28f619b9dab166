"""Other readers of a linear code than one ReLU layer: a deep decoder, and sparse inference unrolled."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sup_lightning.errors import reject, require_positive
from sup_lightning.functional.reconstruction import weighted_squared_error
from sup_lightning.nn.mlp import InstanceMLP
from sup_lightning.nn.toy import ToyNetwork


class Reader(nn.Module, ABC):
    """Reads features off the code h = W^T x."""

    @abstractmethod
    def forward(self, code: Tensor, W: Tensor) -> Tensor:
        """`[n_instances, batch, n_features]` from a code `[n_instances, batch, n_hidden]` and the directions W."""


class ReluReader(Reader):
    """x' = ReLU(W h + b): the readout of the ReLU output model (Elhage et al. 2022).

    Args:
        n_instances: Number of models.
        n_features: Number of features.
    """

    def __init__(self, n_instances: int, n_features: int) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(n_instances, n_features))

    def forward(self, code: Tensor, W: Tensor) -> Tensor:
        return torch.baddbmm(self.b.unsqueeze(1), code, W.mT).relu()


class DeepReader(Reader):
    """A multi-layer perceptron on the code alone, with a ReLU on its output.

    Args:
        seeds: Seed of each instance.
        n_features: Number of features.
        n_hidden: Dimensions of the code.
        n_layers: Layers of weights; one would be the ReLU readout, but for the tied weights.
        width: Neurons of each hidden layer.
    """

    ALIVE = 0.1
    """Initial bias of the outputs: rare features would otherwise kill some of them."""

    def __init__(self, seeds: Sequence[int], n_features: int, n_hidden: int, n_layers: int, width: int) -> None:
        super().__init__()
        self.mlp = InstanceMLP(f"reader{n_layers}", seeds, [n_hidden, *[width] * (n_layers - 1), n_features])
        with torch.no_grad():
            self.mlp.weights[-1].mul_(self.ALIVE)
            self.mlp.biases[-1].fill_(self.ALIVE)

    def forward(self, code: Tensor, W: Tensor) -> Tensor:
        return self.mlp(code).relu()


class UnrolledReader(Reader):
    """Steps of sparse inference (ISTA for x ≥ 0; learned thresholds as in Gregor and LeCun 2010, "LISTA").

    x ← ReLU(x + g_t W (h - W^T x) - θ_t), from x = 0: what the features so far leave unexplained of the code is read
    as the ReLU readout reads the code, so features that are both present explain each other away. Each step has its
    own gain g_t and thresholds θ_t; one step is the ReLU readout with a free gain.

    Args:
        n_instances: Number of models.
        n_features: Number of features.
        n_steps: Number of steps.
    """

    def __init__(self, n_instances: int, n_features: int, n_steps: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((n_instances, n_steps), 0.5))
        self.threshold = nn.Parameter(torch.zeros(n_instances, n_steps, n_features))

    def forward(self, code: Tensor, W: Tensor) -> Tensor:
        x = code.new_zeros(*code.shape[:-1], W.shape[-2])
        for gain, threshold in zip(self.gain.unbind(1), self.threshold.unbind(1), strict=True):
            unexplained = torch.baddbmm(code, x, W, alpha=-1)
            x = F.relu(x + gain.view(-1, 1, 1) * (unexplained @ W.mT) - threshold.unsqueeze(1))
        return x


class DecoderModel(ToyNetwork):
    """One bottleneck h = W^T x and several readers of it, trained side by side on the same batches.

    The readers are `relu` (tied to W), `deep_<n_layers>` and `unrolled`. The loss is the sum of theirs. With
    `encoder: relu` the directions are those of the ReLU output model, which the other readers take as they are: no
    gradient of theirs reaches W, so that each reader is what it would be if trained alone on that encoder. With
    `encoder: own` each has directions of its own, from the same start, and trains them with itself.

    Called as a network it gives the output of the ReLU readout; `read` gives all.

    Args:
        n_features: Number of features.
        seeds: Seed of each instance.
        n_hidden: Dimensions of the bottleneck.
        n_layers: Depths of the deep readers.
        width: Neurons of each of their hidden layers.
        n_steps: Steps of the unrolled reader.
        encoder: Whose directions the readers read.
    """

    def __init__(
        self,
        n_features: int,
        seeds: Sequence[int],
        n_hidden: int = 2,
        n_layers: Sequence[int] = (2, 3),
        width: int = 32,
        n_steps: int = 10,
        encoder: Literal["relu", "own"] = "relu",
    ) -> None:
        super().__init__(n_features, seeds, n_hidden)
        require_positive(width=width, n_steps=n_steps)
        if any(depth < 2 for depth in n_layers) or len(set(n_layers)) < len(n_layers):
            reject("n_layers", list(n_layers), "different depths of at least 2")
        if encoder not in ("relu", "own"):
            reject("encoder", encoder, "relu or own")
        self.encoder = encoder
        self.W = self.xavier_normal("W", n_features, n_hidden)
        readers: dict[str, Reader] = {"relu": ReluReader(len(seeds), n_features)}
        readers |= {f"deep_{depth}": DeepReader(seeds, n_features, n_hidden, depth, width) for depth in n_layers}
        self.readers = nn.ModuleDict(readers | {"unrolled": UnrolledReader(len(seeds), n_features, n_steps)})
        others = [name for name in self.readers if name != "relu"] if encoder == "own" else []
        self.W_own = nn.ParameterDict({name: nn.Parameter(self.W.detach().clone()) for name in others})

    def directions(self, reader: str) -> Tensor:
        """The directions that a reader reads, `[n_instances, n_features, n_hidden]`."""
        found: Tensor = self.W_own.get(reader, self.W)
        return found

    def read(self, features: Tensor, keep: Tensor | None = None) -> dict[str, Tensor]:
        """What each reader makes of the code, `[n_instances, batch, n_features]` each."""
        found = {}
        for name, reader in self.readers.items():
            W = self.directions(name)
            W = W.detach() if name != "relu" and self.encoder == "relu" else W
            code = features @ W
            found[name] = reader(code if keep is None else code * keep, W)
        return found

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        code = features @ self.W
        output: Tensor = self.readers["relu"](code if keep is None else code * keep, self.W)
        return output

    def feature_directions(self) -> Tensor:
        return self.W

    def loss(self, features: Tensor, target: Tensor, importance: Tensor, keep: Tensor | None = None) -> Tensor:
        outputs = self.read(features, keep).values()
        return torch.stack([weighted_squared_error(output, target, importance) for output in outputs]).sum(dim=0)
