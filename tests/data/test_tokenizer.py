from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from sup_lightning.data.tokenizer import (
    END_OF_TEXT,
    bytes_per_token,
    load_tokenizer,
    tokenizer_hash,
    train_tokenizer,
)
from sup_lightning.errors import UserError

TEXTS = [path.read_text() for path in sorted(Path(__file__).parent.glob("*.py"))]


def test_training_is_deterministic_and_round_trips() -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    assert tokenizer_hash(train_tokenizer(iter(TEXTS), 400)) == tokenizer_hash(tokenizer)
    assert tokenizer.get_vocab_size() == 400
    for text in (*TEXTS, "unseen: ☃ 🎄 \x07\n\t  "):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_saved_tokenizer_is_the_same(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(str(tmp_path / "tokenizer.json"))
    assert tokenizer_hash(loaded) == tokenizer_hash(tokenizer)
    assert loaded.encode(TEXTS[0]).ids == tokenizer.encode(TEXTS[0]).ids


def test_text_that_spells_the_end_of_text_is_text() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    ids = tokenizer.encode(f"a{END_OF_TEXT}b").ids
    assert tokenizer.token_to_id(END_OF_TEXT) not in ids
    assert tokenizer.decode(ids) == f"a{END_OF_TEXT}b"


def test_bytes_per_token_add_up_to_the_text() -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    table = bytes_per_token(tokenizer, 500)
    for text in (TEXTS[0], "snow ☃ é"):
        assert table[np.array(tokenizer.encode(text).ids)].sum() == len(text.encode())
    assert table[tokenizer.token_to_id(END_OF_TEXT)] == 0
    assert not table[400:].any()


def test_a_small_vocabulary_is_named() -> None:
    with pytest.raises(UserError, match="d_vocab is 256; allowed: 257"):
        train_tokenizer(TEXTS, 256)


def test_bad_tokenizer_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer is .*tokenizer\.json', which cannot be loaded"):
        load_tokenizer(str(path))
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(path))
    with pytest.raises(UserError, match="allowed: a byte-level tokenizer"):
        load_tokenizer(str(path))
    tokenizer = train_tokenizer(TEXTS, 300)
    path.write_text(tokenizer.to_str().replace(END_OF_TEXT, "<end>"))
    with pytest.raises(UserError, match="allowed: a tokenizer with the token"):
        load_tokenizer(str(path))
