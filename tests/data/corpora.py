"""A small corpus of two genres that the tests of preparation share."""

from pathlib import Path

import numpy as np

from sup_lightning.data.preparation import Corpus, build_cache
from sup_lightning.data.text import LocalText

CACHE = Path("cache")


def write_texts(folder: Path, n_documents: int = 20) -> None:
    rng = np.random.default_rng(0)
    for genre, words in {"animals": ["cat", "dog", "owl"], "colours": ["red", "blue", "green"]}.items():
        (folder / genre).mkdir(parents=True)
        for number in range(n_documents):
            (folder / genre / f"{number:02}.txt").write_text(" ".join(rng.choice(words, 50)))


def small_corpus(folder: Path) -> Corpus:
    write_texts(folder / "text")
    return Corpus([LocalText("text/animals"), LocalText("text/colours")], d_vocab=270, val_fraction=0.2)


def build(corpus: Corpus) -> Path:
    return build_cache(corpus, CACHE, corpus.key())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}
