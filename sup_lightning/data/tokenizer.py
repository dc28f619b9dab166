"""Byte-level byte-pair tokenizers: trained on the corpus, or given."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from sup_lightning.data.text import cut
from sup_lightning.errors import UserError, reject

END_OF_TEXT = "<|endoftext|>"
SMALLEST_VOCABULARY = 257
"""All bytes and the end of text."""
BLOCK_BYTES = 64 * 1024
"""Longer text is encoded in blocks of at most this size."""


def train_tokenizer(texts: Iterable[str], d_vocab: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer (Sennrich et al. 2016; bytes as in GPT-2); the same texts give the same one.

    Args:
        texts: The training text.
        d_vocab: Tokens wanted, `<|endoftext|>` among them; a small text gives fewer.
    """
    if d_vocab < SMALLEST_VOCABULARY:
        reject("d_vocab", d_vocab, f"{SMALLEST_VOCABULARY} (every byte and the end of text) or more")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _prepared(tokenizer)


def load_tokenizer(name: str) -> Tokenizer:
    """Load a tokenizer from a `.json` file, or by its name on the Hugging Face hub.

    Raises:
        UserError: It cannot be had, is not byte-level (then bits per byte would have no meaning), or has no
            `<|endoftext|>`.
    """
    is_file = name.endswith(".json")
    try:
        tokenizer = Tokenizer.from_file(str(Path(name).expanduser())) if is_file else Tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises bare Exception for bad files and for the network alike
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"tokenizer is {name!r}, which cannot be loaded ({reason}); allowed: a tokenizer.json or a hub name"
        ) from error
    if "ByteLevel" not in json.dumps(json.loads(tokenizer.to_str())["decoder"]):
        reject("tokenizer", name, "a byte-level tokenizer, such as GPT-2's")
    if tokenizer.token_to_id(END_OF_TEXT) is None:
        reject("tokenizer", name, f"a tokenizer with the token {END_OF_TEXT}")
    return _prepared(tokenizer)


def encode_documents(tokenizer: Tokenizer, texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """The tokens of each text, ended by `<|endoftext|>`.

    A long text is encoded block by block, on all cores; a block ends after a blank line where it can.
    """
    blocks = [list(cut(text, BLOCK_BYTES)) for text in texts]
    encodings = iter(tokenizer.encode_batch_fast(list(chain.from_iterable(blocks)), add_special_tokens=False))
    end_of_text = tokenizer.token_to_id(END_OF_TEXT)
    return [
        np.array([*chain.from_iterable(encoding.ids for encoding in islice(encodings, len(parts))), end_of_text])
        for parts in blocks
    ]


def _prepared(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.encode_special_tokens = True  # text that spells <|endoftext|> is text
    return tokenizer


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """A hash of the tokenizer's whole definition."""
    return hashlib.blake2b(tokenizer.to_str().encode(), digest_size=8).hexdigest()


def token_texts(tokenizer: Tokenizer, d_vocab: int) -> list[str]:
    """The text of each token by itself, `[d_vocab]`; empty for special and unused ones.

    A token that is a part of a character reads as the replacement character.
    """
    return [tokenizer.decode([number]) for number in range(d_vocab)]


def bytes_per_token(tokenizer: Tokenizer, d_vocab: int) -> NDArray[np.int64]:
    """The number of bytes of text that each token stands for, `[d_vocab]`; 0 for special and unused tokens."""
    table = np.zeros(d_vocab, dtype=np.int64)
    for token, number in tokenizer.get_vocab(with_added_tokens=False).items():
        table[number] = len(token)  # a byte-level token spells each of its bytes with one character
    for number, added in tokenizer.get_added_tokens_decoder().items():
        table[number] = 0 if added.special else len(added.content.encode())
    return table
