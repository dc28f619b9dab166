"""What kinds of neurons there are: signatures that forget which features a neuron serves, and kinds already known.

Features of a network that computes absolute values are interchangeable, and so are their signs. A signature keeps of a
neuron what is left then: how strongly it reads its features, most strongly read first, and how much it contributes to
each of their outputs and to others.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from sup_lightning.functional.motifs import NeuronCensus, rescale_neurons

Kind = Literal["idle", "one feature", "one feature, inhibits", "asymmetric pair", "inhibitor", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds of neurons; `neuron_kinds` gives their places in this list."""

COLUMNS = ("reads_2", "reads_3", "writes_1", "writes_2", "writes_3", "writes_elsewhere_low", "writes_elsewhere_high")
"""What `Signatures.vector` holds if three features are kept."""


class Signatures(NamedTuple):
    """What each neuron does, whichever features it serves.

    Attributes:
        read: `[..., n_neurons, n_read]` the largest |input weights| over the neuron's largest, descending.
        write: The contribution |W_in| W_out to the outputs of these features; 1 does all of it.
        elsewhere: `[..., n_neurons, 2]` the largest negative and the largest positive output weight of the rescaled
            neuron on features that it reads less than these.
        feature: `[..., n_neurons, n_read]` the features.
    """

    read: Tensor
    write: Tensor
    elsewhere: Tensor
    feature: Tensor

    @property
    def vector(self) -> Tensor:
        """One vector for each neuron, `[..., n_neurons, 2 n_read + 1]`, for clustering; outputs cut off at ±2."""
        return torch.cat([self.read[..., 1:], self.write.clamp(-2, 2), self.elsewhere.clamp(-2, 2)], dim=-1)


def neuron_signatures(W_in: Tensor, W_out: Tensor, n_read: int = 3) -> Signatures:
    """The signatures of neurons of y = g(W_out ReLU(W_in^T x) + b) with one output for each feature.

    Args:
        W_in: `[..., n_features, n_neurons]`.
        W_out: `[..., n_features, n_neurons]`.
        n_read: Features kept.

    >>> one = neuron_signatures(torch.tensor([[-2.0], [0.0], [0.5]]), torch.tensor([[0.5], [-1.0], [0.0]]), n_read=2)
    >>> one.read, one.write, one.elsewhere
    (tensor([[1.0000, 0.2500]]), tensor([[1., 0.]]), tensor([[-2.,  0.]]))
    """
    W_in, W_out = rescale_neurons(W_in.detach(), W_out.detach())
    size = W_in.abs().mT  # [..., n_neurons, n_features]
    read, feature = size.topk(n_read, dim=-1)
    written = W_out.mT
    write = read * written.gather(-1, feature)
    rest = written.scatter(-1, feature, 0.0)
    elsewhere = torch.stack([rest.amin(dim=-1).clamp(max=0), rest.amax(dim=-1).clamp(min=0)], dim=-1)
    return Signatures(read, write, elsewhere, feature)


def neuron_kinds(
    W_in: Tensor, W_out: Tensor, census: NeuronCensus, served: float = 0.5, least_inhibition: float = 0.25
) -> Tensor:
    """Which of the known kinds each neuron is, `[..., n_neurons]` int64, as places in `KINDS`.

    - idle: its contribution to any output, or effect on one, is less than a tenth of an absolute value.
    - one feature: it reads one feature and contributes more than `served` to it; it inhibits if it also writes less
      than -`least_inhibition` to another output.
    - asymmetric pair: the asymmetric superposition motif of the census.
    - inhibitor: it contributes more than `served` to no feature, and writes less than -`least_inhibition`, and more
      negatively than positively, to some output.
    - other: whatever is left.

    Args:
        W_in: `[..., n_features, n_neurons]`.
        W_out: `[..., n_features, n_neurons]`.
        census: Of these weights.
        served: Least contribution that serves a feature.
        least_inhibition: Least negative output weight that counts, of a neuron whose largest input weight is 1.
    """
    W_in, W_out = rescale_neurons(W_in.detach(), W_out.detach())
    alive = W_in.abs().amax(dim=-2) > 0
    largest = torch.where(alive, W_out.abs().amax(dim=-2), 0.0)
    contributes = (W_in.abs() * W_out > served).any(dim=-2)
    most_negative, most_positive = -W_out.amin(dim=-2), W_out.amax(dim=-2)
    inhibits = most_negative > least_inhibition
    one = census.monosemantic & contributes
    kind = torch.full_like(census.load, KINDS.index("other"))
    for name, holds in (
        ("inhibitor", inhibits & ~contributes & (most_negative > most_positive)),
        ("asymmetric pair", census.asymmetric),
        ("one feature", one & ~inhibits),
        ("one feature, inhibits", one & inhibits),
        ("idle", largest < 0.1),
    ):
        kind = torch.where(holds, KINDS.index(name), kind)  # type: ignore[arg-type]
    return kind


class NeuronClusters(NamedTuple):
    """Neurons of similar signature.

    Attributes:
        label: The cluster of each neuron, `[n_neurons]` int64, the largest first.
        centre: Median signature of each cluster, `[n_clusters, n_columns]`.
        radius: Distance from the mean signature within which nine of ten of its neurons lie, `[n_clusters]`.
        mean: Mean signature.
        silhouette: How well apart they are, from -1 to 1.
    """

    label: Tensor
    centre: Tensor
    radius: Tensor
    mean: Tensor
    silhouette: float

    @property
    def n_clusters(self) -> int:
        return len(self.centre)

    def assign(self, vectors: Tensor) -> Tensor:
        """How many of other neurons, `[n, n_columns]`, belong to each cluster, `[n_clusters]` int64.

        A neuron belongs to the nearest cluster, if it lies within the cluster's radius, and else to none.
        """
        distance = torch.cdist(vectors, self.mean)
        nearest = distance.argmin(dim=1)
        inside = distance.gather(1, nearest.unsqueeze(1)).squeeze(1) <= self.radius[nearest]
        return nearest[inside].bincount(minlength=self.n_clusters)


def cluster_neurons(vectors: Tensor, most: int = 8) -> NeuronClusters:
    """Cluster signatures by k-means, with the number of clusters, 2 to `most`, of the largest silhouette.

    Args:
        vectors: `[n_neurons, n_columns]`, as `Signatures.vector` gives them; more than `most` neurons. If all are equal
            there is one cluster, and no silhouette.
        most: Most clusters.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    points = vectors.double().numpy()
    found = [(float("nan"), np.zeros(len(points), dtype=int))]
    for n_clusters in range(2, min(most, len(np.unique(points, axis=0))) + 1):
        labels = KMeans(n_clusters, n_init=4, random_state=0).fit_predict(points)
        found.append((float(silhouette_score(points, labels)), labels))
    silhouette, labels = max(found[1:] or found, key=lambda each: each[0])
    raw = torch.from_numpy(labels).long()
    order = raw.bincount().argsort(descending=True)
    label = order.argsort()[raw]
    members = [vectors[label == k] for k in range(len(order))]
    mean = torch.stack([each.mean(dim=0) for each in members])
    radius = torch.stack([(each - mean[k]).norm(dim=1).quantile(0.9) for k, each in enumerate(members)])
    centre = torch.stack([each.median(dim=0).values for each in members])
    return NeuronClusters(label, centre, radius, mean, silhouette)
