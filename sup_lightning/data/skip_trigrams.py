"""Skip trigrams A … B → C: contexts as bags of tokens, and the next token that each asks for.

Attention without positions sees of a context only how often each token occurs in it, so a sequence is given as counts:

    features = [n_sources counts | n_random counts | count of the blank | one-hot current token]

Each source and each random token occurs with its probability p, at most once; blanks fill the context. The current
token B is one of the destinations, each equally often. Random tokens are like sources, but nothing follows from them.
"""

import torch
from torch import Tensor

from sup_lightning.data.features import FeatureDistribution
from sup_lightning.data.tasks import Task
from sup_lightning.errors import reject, require_positive


class SkipTrigramContexts(FeatureDistribution):
    """Contexts of sources, random tokens and blanks, and a current token; all that is left of n_features are these.

    Args:
        n_sources: Tokens A.
        n_random: Tokens from which nothing follows.
        context_length: Tokens before the current one; more than sources and random tokens, so that some are blank.
    """

    def __init__(self, n_sources: int = 2, n_random: int = 2, context_length: int = 6) -> None:
        require_positive(n_sources=n_sources, context_length=context_length)
        if n_random < 0:
            reject("n_random", n_random, "a number ≥ 0")
        if context_length <= n_sources + n_random:
            reject("context_length", context_length, f"more than the {n_sources + n_random} sources and random tokens")
        self.n_sources = n_sources
        self.n_random = n_random
        self.context_length = context_length

    @property
    def n_occasional(self) -> int:
        """Sources and random tokens: those that occur with probability p."""
        return self.n_sources + self.n_random

    def n_destinations(self, n_features: int) -> int:
        """How many tokens can be the current one."""
        return n_features - self.n_occasional - 1

    def check(self, n_features: int, feature_probability: Tensor) -> None:
        if self.n_destinations(n_features) < 1:
            reject("n_features", n_features, f"more than {self.n_occasional + 1}, the different tokens of a context")

    def n_draws(self, n_features: int) -> int:
        return self.n_occasional + 1

    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        occurs, current = uniform.tensor_split([self.n_occasional], dim=-2)
        occurs = (occurs >= 1 - self._of_occasional(feature_probability)).to(uniform.dtype)
        n_destinations = self.n_destinations(feature_probability.shape[-2])
        tokens = torch.arange(n_destinations, device=uniform.device).unsqueeze(-1)
        is_current = ((current * n_destinations).floor().clamp_(max=n_destinations - 1) == tokens).to(uniform.dtype)
        is_current = is_current.expand(*occurs.shape[:-2], *is_current.shape[-2:])
        return torch.cat([occurs, self.context_length - occurs.sum(-2, keepdim=True), is_current], dim=-2)

    def marginals(self, feature_probability: Tensor, n_features: int) -> Tensor:
        p = super().marginals(feature_probability, n_features).clone()
        p[..., self.n_occasional] = 1.0
        p[..., self.n_occasional + 1 :] = 1 / self.n_destinations(n_features)
        return p

    def contexts(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]:
        """All inputs there are, and how often each occurs: expectations over them are exact.

        Args:
            n_features: Number of features.
            feature_probability: The setting p, `[..., n_features]`.

        Returns:
            Features `[n_inputs, n_features]` and probabilities `[..., n_inputs]`.

        >>> x, probability = SkipTrigramContexts(n_sources=1, n_random=0).contexts(4, torch.full((4,), 0.1))
        >>> x.int().tolist()
        [[0, 6, 1, 0], [0, 6, 0, 1], [1, 5, 1, 0], [1, 5, 0, 1]]
        >>> [round(each, 3) for each in probability.tolist()]
        [0.45, 0.45, 0.05, 0.05]
        """
        n, n_destinations = self.n_occasional, self.n_destinations(n_features)
        occurs = (torch.arange(2**n).unsqueeze(1) >> torch.arange(n)) % 2 == 1
        blanks = self.context_length - occurs.sum(dim=1, keepdim=True)
        bags = torch.cat([occurs, blanks], dim=1).repeat_interleave(n_destinations, dim=0)
        current = torch.eye(n_destinations).repeat(len(occurs), 1)
        p = feature_probability[..., :n].unsqueeze(-2)
        probability = torch.where(occurs, p, 1 - p).prod(dim=-1) / n_destinations
        return torch.cat([bags, current], dim=1), probability.repeat_interleave(n_destinations, dim=-1)

    def _of_occasional(self, feature_probability: Tensor) -> Tensor:
        return feature_probability[..., : self.n_occasional, :]


class SkipTrigrams(Task):
    """Which tokens follow: output c is 1 if some source A of the context and the current token B ask for C = c, else 0.

    Incoherent, what follows from a source depends on the current token, A_i … B_j → C_((i + j) mod n_labels): no two
    trigrams of a source agree, nor any two of a destination. Coherent, each source is copied, A_i … B_j → A_i.

    With `AttentionModel`, whose readout sees what heads write and nothing else, the fewest heads that can do this
    without error when one source is present are

    - one for coherent trigrams: it attends to sources, and copies;
    - n_destinations for incoherent ones and a linear readout. Without a source the output is 0 for all B. So those of a
      source A, sum_h α_h(B, A) (V_h(A) - V_h(blank)), lie in n_heads dimensions; n_labels = n_destinations different
      one-hot targets do not lie in fewer than as many;
    - two for incoherent ones and a ReLU, if there are more than one destinations. With one head the output of each
      label rises with α or is 0 for all α, so of two labels of a source the one with the smaller α cannot be 0 where
      the other is 1. With two, the pairs (α_1, α_2) of all destinations fit on an arc, where a line cuts off each;
    - one for incoherent ones and a softmax, in the limit of large logits, which is why no softmax is used here: with
      logits c (2 x - c), x = n_labels α, label c is the most likely where α is about c / n_labels.

    Args:
        n_sources: Tokens A, the first features.
        n_destinations: Tokens B, the last features; there are as many labels, or as many as sources if these are more.
        coherent: Whether what follows from a source is the same for all destinations.
    """

    def __init__(self, n_sources: int = 2, n_destinations: int = 6, coherent: bool = False) -> None:
        require_positive(n_sources=n_sources, n_destinations=n_destinations)
        self.n_sources = n_sources
        self.n_destinations = n_destinations
        self.coherent = coherent
        self.n_labels = max(n_sources, n_destinations)

    def n_outputs(self, n_features: int) -> int:
        if n_features <= self.n_sources + self.n_destinations:
            allowed = f"more than the {self.n_sources} sources and {self.n_destinations} destinations"
            reject("n_features", n_features, allowed)
        return self.n_labels

    @property
    def labels(self) -> Tensor:
        """What follows, `[n_sources, n_destinations]` whole numbers."""
        source = torch.arange(self.n_sources).unsqueeze(1).expand(-1, self.n_destinations)
        return source if self.coherent else (source + torch.arange(self.n_destinations)) % self.n_labels

    def __call__(self, features: Tensor) -> Tensor:
        table = torch.nn.functional.one_hot(self.labels, self.n_labels).to(features)  # [source, destination, label]
        present = (features[..., : self.n_sources, :] > 0).to(features)
        current = features[..., -self.n_destinations :, :]
        both = (present.unsqueeze(-2) * current.unsqueeze(-3)).flatten(-3, -2)  # [..., source * destination, batch]
        return (table.flatten(0, 1).mT @ both).clamp_(max=1.0)


def trigram_rows(features: Tensor, n_occasional: int, token: int) -> tuple[Tensor, Tensor]:
    """Where a token is the only one in the context besides blanks, and the same current token with blanks alone.

    Args:
        features: All inputs, `[n_inputs, n_features]`, as `SkipTrigramContexts.contexts` lists them.
        n_occasional: Sources and random tokens.
        token: Which of these.

    Returns:
        Row numbers with the token and without it, `[n_destinations]` each, both by destination.
    """
    alone = torch.nn.functional.one_hot(torch.tensor(token), n_occasional).to(features)
    occurs = features[:, :n_occasional]
    with_token, without = ((occurs == each).all(dim=1).nonzero().flatten() for each in (alone, 0 * alone))
    return with_token, without
