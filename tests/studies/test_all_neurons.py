"""N03 on models made by hand: a neuron for each trigram, and neurons that trigrams share."""

import pytest
import torch

from sup_lightning.data.language import TextData
from sup_lightning.errors import UserError
from sup_lightning.studies.neurons.all_neurons import AllNeurons
from sup_lightning.studies.neurons.features import known_features, planted_contexts, real_contexts, text_trigrams
from sup_lightning.studies.neurons.removal import removal_of
from sup_lightning.studies.study import Answer
from sup_lightning.studies.subjects import Subject
from sup_lightning.studies.verdict import Outcome
from tests.studies.hand_made_language import deaf_to_the_second, one_neuron_each, shared_neurons, trigram_text


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TextData:
    return trigram_text(tmp_path_factory.mktemp("text"))


def asked(subject: Subject, n_features: int = 6) -> Answer:
    with torch.no_grad():
        return AllNeurons(n_features=n_features, n_contexts=64).measure({"planted": subject})


def outcomes(answer: Answer) -> dict[str, Outcome]:
    return {claim.text: claim.outcome for claim in answer.claims}


def test_contexts(data: TextData) -> None:
    subject = one_neuron_each(data)
    trigram = text_trigrams(subject)[0]
    real = real_contexts(subject, 64)
    clean, first, second, neither = planted_contexts(trigram, real)
    assert (clean[:, -2:] == torch.tensor(trigram[:2])).all()
    assert (first[:, -2] == trigram.first).all()
    assert (second[:, -1] == trigram.second).all()
    assert (neither[:, -2] != trigram.first).all()
    assert (neither[:, -1] != trigram.second).all()
    for one, other in ((clean, first), (first, neither)):
        assert torch.equal(one[:, :-2], other[:, :-2])
    assert torch.equal(first[:, -1], neither[:, -1])
    assert {tuple(row) for row in neither.tolist()} <= {tuple(row) for row in real.tolist()}
    assert len(text_trigrams(subject)) > 20  # of fifty that are there


def test_one_neuron_to_a_trigram(data: TextData) -> None:
    subject = one_neuron_each(data)
    real = real_contexts(subject, 64)
    (known, *_), n_seen = known_features(subject.net, 0, text_trigrams(subject), real, 2)
    assert n_seen == 2
    found = removal_of(known, torch.eye(50)[None])
    assert (found.size(), found.size("kept"), found.size("rotated")) == (1, 1, 1)  # a basis that is the neurons' own
    assert found.team.carried == pytest.approx(1, abs=0.01)
    assert found.team.members.tolist() == (found.team.effects == found.team.effects.max()).tolist()
    answer = asked(subject)
    assert answer.tables["features"]["k90"].tolist() == [1] * 6
    assert answer.verdict == Outcome.MIXED
    assert {text: outcome for text, outcome in outcomes(answer).items() if "other neurons" not in text} == {
        "the neurons carry the feature": "supported",
        "more than a few neurons": "not supported",
        "not most neurons": "supported",
        "fewer neurons than random directions": "supported",
        "the team computes an AND": "supported",
        "unrelated features share neurons": "not supported",
    }


def test_neurons_that_trigrams_share(data: TextData) -> None:
    answer = asked(shared_neurons(data), n_features=20)
    table = answer.tables["features"]
    assert answer.verdict == Outcome.SUPPORTED, [claim for claim in answer.claims if claim.outcome != "supported"]
    assert table["k90"].between(8, 30).all()  # about fifteen share in each
    assert (table["and_share"] > 0.9).all()
    assert list(answer.pictures) == ["removal", "teams"]


def test_neurons_that_need_the_first_token_alone(data: TextData) -> None:
    answer = asked(deaf_to_the_second(data))
    assert outcomes(answer)["the team computes an AND"] == Outcome.NOT_SUPPORTED


def test_an_untrained_model_knows_no_trigram(data: TextData) -> None:
    subject = one_neuron_each(data)
    answer = asked(Subject(subject.initial, subject.initial, data))
    assert answer.verdict == Outcome.INCONCLUSIVE
    assert answer.gate.startswith("the model knows 0 of ")


def test_options() -> None:
    study = AllNeurons(experiment="lm_gelu-2l", layer=1)
    assert (study.experiments, study.layer) == (("lm_gelu-2l",), 1)
    assert AllNeurons(model="gelu-1l").experiments == ()
    with pytest.raises(UserError, match="layer is -1; allowed: 0 or more"):
        AllNeurons(layer=-1)
