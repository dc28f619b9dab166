"""A text of two genres that share most words, and one-layer models that tell them apart in a known way."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sup_lightning.data.language import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.nn.transformer import Transformer
from sup_lightning.studies.subjects import Subject, untrained_twin

MARKERS = ("def", "the")
SHARED = "abcdefghijklmnopqrstuvwxyz"
D_VOCAB, D_MODEL, D_MLP = 300, 32, 64
TOKEN, GENRE, WRITTEN = 0, 1, 2
"""Dimensions of the residual stream: marker of the token, mean marker so far, and what the MLP says of it."""


def two_genres(folder: Path, n_documents: int = 60, n_words: int = 150) -> TextData:
    """A fifth of the words are a marker of the genre; the others are letters that both have."""
    random = np.random.default_rng(0)
    for genre, marker in zip(("code", "prose"), MARKERS, strict=True):
        (folder / genre).mkdir(parents=True)
        for number in range(n_documents):
            words = random.choice(list(SHARED), n_words)
            words[random.random(n_words) < 0.2] = "*"
            text = "".join(f" {marker if word == '*' else word}" for word in words)
            (folder / genre / f"{number:03}.txt").write_text(text)
    sources = [LocalText(str(folder / genre)) for genre in ("code", "prose")]
    data = TextData(sources, n_ctx=32, d_vocab=D_VOCAB, val_fraction=0.5, cache_dir=str(folder / "cache"))
    data.prepare_data()
    data.setup()
    return data


def marker_tokens(data: TextData) -> list[int]:
    tokens = [data.tokenizer.encode(f" {marker}").ids for marker in MARKERS]
    assert all(len(each) == 1 for each in tokens)
    return [each[0] for each in tokens]


def genre_model(data: TextData) -> Transformer:
    """Dimension `GENRE` holds the mean marker so far; neurons and output are left to the test, at 0."""
    net = Transformer(n_layers=1, d_model=D_MODEL, n_heads=1, d_vocab=D_VOCAB, n_ctx=32, d_mlp=D_MLP)
    first, second = marker_tokens(data)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.zero_()
        net.tok_embed.weight[:, 3:] = keyed_normal("planted tokens", [0], 0, (D_VOCAB, D_MODEL - 3))[0]
        net.pos.weight[:, 3:] = keyed_normal("planted positions", [0], 0, (32, D_MODEL - 3))[0]
        net.tok_embed.weight[first, TOKEN], net.tok_embed.weight[second, TOKEN] = 3.0, -3.0
        attn = net.layers[0].attn
        attn.v.weight[0, TOKEN] = 1.0  # attention itself is uniform, as queries are 0
        attn.o.weight[GENRE, 0] = 2.0
        net.head.weight[first, WRITTEN], net.head.weight[second, WRITTEN] = 5.0, -5.0
    return net.eval()


def subject_of(net: Transformer, data: TextData) -> Subject:
    return Subject(net, untrained_twin(net, seed=5), data)


def random_rotation(n: int) -> Tensor:
    return torch.linalg.qr(keyed_normal("planted rotation", [0], 0, (n, n))[0]).Q
