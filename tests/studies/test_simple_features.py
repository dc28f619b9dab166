"""P01 on models that represent a genre in one neuron, in all of them, in none, or without using it."""

import pytest
import torch

from sup_lightning.data.language import TextData
from sup_lightning.errors import UserError
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.nn.transformer import Transformer
from sup_lightning.studies.probing.features import common_pairs
from sup_lightning.studies.probing.sample import JUDGED, LEFT_OUT, N_FOLDS, SKIPPED, Sample
from sup_lightning.studies.probing.simple_features import SimpleFeatures, reading_of
from sup_lightning.studies.study import Answer
from sup_lightning.studies.subjects import Subject
from sup_lightning.studies.verdict import Outcome
from tests.studies.planted_text import (
    D_MLP,
    D_MODEL,
    D_VOCAB,
    GENRE,
    WRITTEN,
    genre_model,
    random_rotation,
    subject_of,
    two_genres,
)

FEATURE = "genre code"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TextData:
    return two_genres(tmp_path_factory.mktemp("text") / "genres")


@pytest.fixture(autouse=True)
def one_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the genre; a common pair of these words means nothing to the models."""
    monkeypatch.setattr("sup_lightning.studies.probing.features.N_PAIRS", 0)


def found(subject: Subject) -> Answer:
    with torch.no_grad():
        return SimpleFeatures(n_windows=400).measure({"planted": subject})


def outcomes(answer: Answer) -> dict[str, Outcome]:
    names = ("detected", "sparse", "neurons", "stable", "used")
    return {name: claim.outcome for name, claim in zip(names, answer.claims, strict=True)}


def noise_neurons(net: Transformer, size: float) -> None:
    """All neurons read the token, each in its own way."""
    net.layers[0].mlp.fc_in.weight[:, 3:] = size * keyed_normal("noise", [0], 0, (D_MLP, D_MODEL - 3))[0]


@torch.no_grad()
def one_neuron(data: TextData) -> Transformer:
    net = genre_model(data)
    mlp = net.layers[0].mlp
    noise_neurons(net, 2.0)
    mlp.fc_in.weight[0] = 0.0
    mlp.fc_in.weight[0, GENRE] = 3.0
    mlp.fc_out.weight[WRITTEN, 0] = 1.0
    return net


@torch.no_grad()
def all_neurons(data: TextData) -> Transformer:
    """GELUs far above 0 are linear, so that a rotated representation is one that all neurons share."""
    net = one_neuron(data)
    mlp, rotation = net.layers[0].mlp, random_rotation(D_MLP)
    mlp.fc_in.weight.copy_(rotation @ mlp.fc_in.weight)
    mlp.fc_in.bias.fill_(40.0)
    mlp.fc_out.weight[WRITTEN] = rotation[:, 0]
    return net


@torch.no_grad()
def other_neurons_used(data: TextData) -> Transformer:
    """The output is that of other neurons, which say less of the genre, so that a probe hardly reads them."""
    net = one_neuron(data)
    mlp = net.layers[0].mlp
    mlp.fc_in.bias[:32] = 40.0  # linear, so that the first neuron says all that there is to say
    mlp.fc_in.weight[1:32, GENRE] = 3.0
    mlp.fc_out.weight[WRITTEN, 0], mlp.fc_out.weight[WRITTEN, 1:32] = 0.0, 1.0
    return net


def test_one_neuron_that_is_used(data: TextData) -> None:
    answer = found(subject_of(one_neuron(data), data))
    assert answer.verdict == Outcome.SUPPORTED, outcomes(answer)
    row = answer.tables["features"].set_index("feature").loc[FEATURE]
    assert row["neurons"].split()[0] == "0"
    assert row["best neuron"] > 0.97
    assert row["shuffled labels"] == pytest.approx(0.5, abs=0.15)
    assert row["reading"] == "decodable, neuron-aligned, 1 neurons; its direction is used"
    shares = answer.tables["interchange"].set_index("direction")["share"]
    assert shares["best 8 neurons"] == pytest.approx(1, abs=1e-4)  # the output reads the first of them alone
    assert shares["8 random neurons"] == pytest.approx(0, abs=1e-4)
    assert shares["probe"] > 0.8
    assert shares["placebo"] < 0.15


def test_all_neurons_share(data: TextData) -> None:
    answer = found(subject_of(all_neurons(data), data))
    assert outcomes(answer) == {
        "detected": Outcome.SUPPORTED,
        "sparse": Outcome.NOT_SUPPORTED,
        "neurons": Outcome.NOT_SUPPORTED,
        "stable": Outcome.SUPPORTED,
        "used": Outcome.SUPPORTED,
    }
    assert answer.verdict == Outcome.MIXED


def test_what_is_read_is_not_what_is_used(data: TextData) -> None:
    answer = found(subject_of(other_neurons_used(data), data))
    assert outcomes(answer)["detected"] == Outcome.SUPPORTED
    assert outcomes(answer)["used"] == Outcome.NOT_SUPPORTED


def test_nothing_is_represented(data: TextData) -> None:
    net = genre_model(data)
    subject = subject_of(net, data)
    answer = found(Subject(subject.initial, subject.initial, data))
    assert outcomes(answer)["detected"] == Outcome.NOT_SUPPORTED
    assert answer.claims[0].effect <= 0
    assert answer.verdict != Outcome.SUPPORTED


def test_documents_are_in_one_part(data: TextData) -> None:
    sample = Sample.of(subject_of(genre_model(data), data), 400)
    documents, part = sample.windows.documents, sample.part
    assert bool((part[:, :SKIPPED] == LEFT_OUT).all())
    assert set(part.unique().tolist()) == {LEFT_OUT, JUDGED, *range(N_FOLDS)}
    for document in documents.unique():
        assert len(set(part[documents == document].tolist()) - {LEFT_OUT}) <= 1
    assert not (sample.kept & ~sample.training).any()
    share = float(sample.judged.sum() / (part != LEFT_OUT).sum())
    assert share == pytest.approx(1 / 3, abs=0.05)


def test_shuffled_labels_stay_in_their_document_or_move_with_it(data: TextData) -> None:
    sample = Sample.of(subject_of(genre_model(data), data), 400)
    documents = sample.windows.documents
    labels = (sample.windows.tokens % 3 == 0).long()
    labels[:, 5] = -1
    shuffled = sample.shuffled(labels, 0)
    assert torch.equal(shuffled == -1, labels == -1)
    assert not torch.equal(shuffled, labels)
    for document in documents.unique()[:10]:
        inside = documents == document
        assert int((shuffled[inside] == 1).sum()) == int((labels[inside] == 1).sum())
    genre = torch.from_numpy(data.val.genre_of_document)[documents]
    moved = sample.shuffled(genre, 0)
    of_document = {int(d): moved[documents == d].unique().tolist() for d in documents.unique()}
    assert all(len(each) == 1 for each in of_document.values())
    assert not torch.equal(moved, genre)


def test_pairs_of_tokens() -> None:
    tokens = torch.tensor([[0, 1, 0, 1, 2, 1, 3, 4, 3, 4, 3, 4, 1, 1]])
    # Of five 1s two come after 0 and one each after 2, 4 and 1; 4 always comes after 3, which is too often.
    assert common_pairs(tokens, 5, 1) == [(0, 1)]
    assert (3, 4) not in common_pairs(tokens, 5, 9)
    assert len({second for _, second in common_pairs(tokens, 5, 9)}) == len(common_pairs(tokens, 5, 9))


def test_words_for_numbers() -> None:
    baselines = {"token": 0.6, "initial weights": 0.6, "shuffled labels": 0.6}
    row = baselines | {"probe": 0.9, "lead": 0.1, "enough": 4, "moved": 0.0}
    assert reading_of(row) == "decodable, neuron-aligned, 4 neurons; its direction is hardly used"
    assert reading_of(row | {"moved": float("nan")}) == "decodable, neuron-aligned, 4 neurons"
    assert reading_of(row | {"token": 0.99}) == "the token alone settles it"
    assert reading_of(row | {"shuffled labels": 0.88}).startswith("no more decodable than from the token, the document")
    assert "over 64 neurons or more" in reading_of(row | {"enough": float("inf")})


def test_options(data: TextData) -> None:
    with pytest.raises(UserError, match="n_windows is 0; allowed: a positive integer"):
        SimpleFeatures(n_windows=0)
    attention = Transformer(n_layers=1, d_model=D_MODEL, n_heads=1, d_vocab=D_VOCAB, n_ctx=32, attn_only=True).eval()
    with pytest.raises(UserError, match="model is 'attention alone'; allowed: a model with MLPs"):
        found(Subject(attention, attention, data))
