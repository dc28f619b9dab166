"""A text of trigrams, and one-layer models made by hand that foretell their third tokens, with neurons of any plan.

Every a (of ten) before every b (of five) foretells its own c. A head fetches the previous token; a neuron is on where
that is one of the a and the current token one of the b that it reads, and writes to the c of all pairs that it reads.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sup_lightning.data.language import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.nn.transformer import Transformer
from sup_lightning.studies.subjects import Subject, untrained_twin

FIRST, SECOND = "ABCDEFGHIJ", "vwxyz"
THIRD = "KLMNOPQRSTUVWXYZabcdefghijklmnopqrstu0123456789+-="
N_CTX = 12
SHARP, THRESHOLD, LOUD = 4.0, 1.5, 6.0


def third(a: int, b: int) -> str:
    """The token that the b-th second token after the a-th first one foretells."""
    return THIRD[a * len(SECOND) + b]


def trigram_text(folder: Path, n_documents: int = 40, n_trigrams: int = 220) -> TextData:
    """Text in which nothing else can be foretold."""
    rng = np.random.default_rng(0)
    (folder / "text").mkdir(parents=True)
    for number in range(n_documents):
        pairs = rng.integers(0, (len(FIRST), len(SECOND)), size=(n_trigrams, 2))
        written = "".join(FIRST[a] + SECOND[b] + third(a, b) for a, b in pairs)
        (folder / "text" / f"{number:02}.txt").write_text(written)
    data = TextData(
        [LocalText(str(folder / "text"))],
        n_ctx=N_CTX,
        d_vocab=257,
        val_fraction=0.25,
        val_windows=40,
        cache_dir=str(folder / "cache"),
    )
    data.prepare_data()
    data.setup()
    return data


def hand_made(data: TextData, reads_first: Tensor, reads_second: Tensor, need: float = THRESHOLD) -> Subject:
    """A model that foretells c by ANDs.

    Args:
        data: Of `trigram_text`.
        reads_first: `[d_mlp, 10]`, 1 for the first tokens that a neuron reads.
        reads_second: `[d_mlp, 5]`, 1 for its second tokens.
        need: How many of the two tokens a neuron needs, less one half.
    """
    ids = [data.tokenizer.encode(letter).ids[0] for letter in FIRST + SECOND + THIRD]
    n_tokens, n_first = len(ids), len(FIRST)
    token, previous, out = 0, n_tokens, 2 * n_tokens
    place = out + len(THIRD)
    d_model = place + N_CTX
    net = Transformer(1, d_model, 1, data.d_vocab, N_CTX, d_head=n_tokens, d_mlp=len(reads_first)).eval()
    block = net.layers[0]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.tok_embed.weight[ids, token + torch.arange(n_tokens)] = 1.0
        net.pos.weight[torch.arange(N_CTX), place + torch.arange(N_CTX)] = 1.0
        for layernorm, n_ones in ((block.ln1, 2), (block.ln2, 3), (net.ln_out, 3)):  # undoes itself
            mean = n_ones / d_model
            layernorm.weight.fill_((mean - mean**2 + layernorm.eps) ** 0.5)
            layernorm.bias.fill_(mean)
        rows = torch.arange(N_CTX)
        block.attn.q.weight[rows, place + rows] = 400.0
        block.attn.k.weight[rows[1:], place + rows[:-1]] = 1.0
        rows = torch.arange(n_tokens)
        block.attn.v.weight[rows, token + rows] = 1.0
        block.attn.o.weight[previous + rows, rows] = 1.0
        block.mlp.fc_in.weight[:, previous : previous + n_first] = SHARP * reads_first
        block.mlp.fc_in.weight[:, n_first : n_first + len(SECOND)] = SHARP * reads_second
        block.mlp.fc_in.bias.fill_(-SHARP * need)
        pairs = ((reads_first[:, :, None] * reads_second[:, None, :]) > 0).float().flatten(1)  # [d_mlp, 50]
        height = torch.nn.functional.gelu(torch.tensor(SHARP * (2 - need)))
        block.mlp.fc_out.weight[out : out + len(THIRD)] = pairs.T / pairs.sum(dim=0).clamp(min=1)[:, None] / height
        third_ids = ids[-len(THIRD) :]
        net.head.weight[third_ids, out + torch.arange(len(THIRD))] = LOUD
    return Subject(net, untrained_twin(net), data)


def one_neuron_each(data: TextData) -> Subject:
    """A neuron for each trigram."""
    first = torch.eye(len(FIRST)).repeat_interleave(len(SECOND), dim=0)
    return hand_made(data, first, torch.eye(len(SECOND)).repeat(len(FIRST), 1))


def shared_neurons(data: TextData, n_neurons: int = 96, share: float = 0.4) -> Subject:
    """Neurons that read each token with probability .4, so that about fifteen share in a trigram."""
    generator = torch.Generator().manual_seed(0)

    def some(of: Sequence[str]) -> Tensor:
        return (torch.rand(n_neurons, len(of), generator=generator) < share).float()

    return hand_made(data, some(FIRST), some(SECOND))


def deaf_to_the_second(data: TextData) -> Subject:
    """Neurons that read the first token alone, and write to all that it foretells: no AND."""
    return hand_made(data, torch.eye(len(FIRST)).repeat(6, 1), torch.ones(60, len(SECOND)) * 1e-6, need=0.5)
