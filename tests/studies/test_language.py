"""What studies of language models share, on a small text and models that are hand-made or untrained."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from sup_lightning.data.language import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.errors import UserError
from sup_lightning.interop.transformer_lens import to_bridge
from sup_lightning.nn.transformer import Transformer
from sup_lightning.studies.language import LanguageStudy, unfit
from sup_lightning.studies.study import Answer
from sup_lightning.studies.subjects import Subject, given_subject, stream, untrained_twin
from tests.data.corpora import write_texts

GOLDEN = Path(__file__).parents[1] / "golden" / "export"
HOOK = "blocks.0.mlp.hook_post"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TextData:
    folder = tmp_path_factory.mktemp("text")
    write_texts(folder)
    sources = [LocalText(str(folder / genre)) for genre in ("animals", "colours")]
    text = TextData(sources, n_ctx=8, d_vocab=270, val_fraction=0.2, val_windows=40, cache_dir=str(folder / "cache"))
    text.prepare_data()
    text.setup()
    return text


def subject_of(data: TextData) -> Subject:
    net = Transformer(n_layers=1, d_model=8, n_heads=2, d_vocab=270, n_ctx=8)
    return Subject(net.eval(), untrained_twin(net), data)


class Asks(LanguageStudy):
    id = title = question = hypothesis = caveat = "A00"
    experiments = ("lm_gelu-1l@0", "lm_gelu-1l@1")
    minutes = (1, 1)

    def measure(self, subjects: Mapping[str, Subject]) -> Answer:
        return Answer([], {})


def test_windows_are_of_the_held_out_text(data: TextData) -> None:
    windows = subject_of(data).windows(10)
    stream_of_tokens = np.asarray(data.val.tokens[: len(data.val.tokens)])
    for number, tokens, targets, documents in zip(
        windows.number, windows.tokens, windows.targets, windows.documents, strict=True
    ):
        start = int(number) * 8
        assert tokens.tolist() == stream_of_tokens[start : start + 8].tolist()
        assert targets.tolist() == stream_of_tokens[start + 1 : start + 9].tolist()
        ends = np.flatnonzero(stream_of_tokens == data.end_of_text)
        assert documents.tolist() == [int((ends < start + place).sum()) for place in range(8)]
    assert set(windows.genres.tolist()) == {0, 1}
    assert len(subject_of(data).windows(10**6).number) == data.val.n_windows(8)


def test_activations_in_parts_are_those_of_the_whole(data: TextData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.subjects.BATCH_TOKENS", 24)
    subject = subject_of(data)
    windows = subject.windows(10)
    parts = [(len(batch.tokens), found[HOOK]) for batch, found in stream(subject.net, windows, [HOOK])]
    assert [n for n, _ in parts] == [3, 3, 3, 1]
    torch.manual_seed(0)
    whole = next(iter(stream(subject.net, windows._replace(), [HOOK])))[1][HOOK]
    torch.testing.assert_close(parts[0][1], whole[:3])


def test_the_gate(data: TextData) -> None:
    subject = subject_of(data)
    assert subject.loss == pytest.approx(np.log(270), abs=0.1)
    assert unfit({"a": subject}).startswith(f"a: {subject.loss:.3f} nats per token, not below the bigrams' ")
    vars(subject)["loss"] = subject.baselines.bigram - 0.01
    assert unfit({"a": subject}) == ""


def test_a_given_model_reads_the_text_in_its_own_tokens(data: TextData) -> None:
    subject = given_subject(str(GOLDEN), data)
    assert subject.data.d_vocab == subject.net.d_vocab
    assert subject.data.tokenizer.to_str() != data.tokenizer.to_str()
    assert subject.initial.head.weight.shape == subject.net.head.weight.shape
    assert not torch.equal(subject.initial.head.weight, subject.net.head.weight)


def test_a_model_by_its_transformer_lens_name(data: TextData, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Transformer(n_layers=1, d_model=8, n_heads=2, d_vocab=270, n_ctx=8)
    asked = []

    def boot(name: str) -> object:
        asked.append(name)
        return to_bridge(net, data.tokenizer)

    monkeypatch.setattr("transformer_lens.model_bridge.sources.tl_legacy.boot", boot)
    subject = given_subject("gelu-1l", data)
    assert asked == ["NeelNanda/GELU_1L512W_C4_Code"]
    assert torch.equal(subject.net.head.weight, net.head.weight)
    assert subject.data.tokenizer.encode("red owl").ids == data.tokenizer.encode("red owl").ids
    with pytest.raises(UserError, match="model is 'gelu-1x'; allowed: a run directory"):
        given_subject("gelu-1x", data)


def test_the_initial_weights_are_those_that_training_began_with() -> None:
    net = Transformer(1, 8, 2, 20, 8, d_mlp=12, activation="solu_ln", mid_ln_eps=1e-8, init="published", seed=3)
    twin = untrained_twin(net, seed=3)
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), twin.parameters(), strict=True))
    assert twin.layers[0].mlp.ln.eps == 1e-8


def test_options() -> None:
    study = Asks()
    assert study.overrides("lm_gelu-1l@0") == {}
    assert Asks(text="corpus").overrides("lm_gelu-1l@0")["data"]["init_args"]["d_vocab"] == 4096
    assert Asks(model="gelu-1l").experiments == ()
    with pytest.raises(UserError, match="text is 'french'; allowed: c4_code, corpus, stdlib, or the path"):
        Asks(text="french")
