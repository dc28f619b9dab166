"""P02 on neurons that follow a marker with noise of their own, and on clean ones that nothing else follows."""

import pytest
import torch

from sup_lightning.data.language import TextData
from sup_lightning.errors import UserError
from sup_lightning.functional.class_statistics import Sums, linear_discriminant
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.nn.transformer import Transformer
from sup_lightning.studies.probing.against_neurons import without
from sup_lightning.studies.probing.sample import Sample
from sup_lightning.studies.probing.shared_features import SharedFeatures
from sup_lightning.studies.probing.strongest import strongest_tokens
from sup_lightning.studies.rules import NONE, RuleBook
from sup_lightning.studies.study import Answer
from sup_lightning.studies.subjects import Subject, stream
from sup_lightning.studies.verdict import Outcome
from tests.studies.planted_text import D_MLP, D_VOCAB, MARKERS, SHARED, subject_of, two_genres

WIDTH, N_TOKENS, N_READ = 64, 28, 24
"""Of the stream; tokens that occur; tokens that two neurons read each."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TextData:
    return two_genres(tmp_path_factory.mktemp("text") / "genres")


@pytest.fixture(autouse=True)
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.probing.shared_features.FEWEST_TOKENS", 20)


def words(data: TextData) -> list[int]:
    tokens = [data.tokenizer.encode(f" {word}").ids for word in (*SHARED, *MARKERS)]
    assert all(len(each) == 1 for each in tokens)
    return [each[0] for each in tokens]


@torch.no_grad()
def token_model(data: TextData, others: float, noise: float) -> Transformer:
    """Neurons 2 i and 2 i + 1 read the i-th word; the output of the first is the first word's logit.

    Args:
        data: The text.
        others: How strongly these neurons read other words, at random.
        noise: How strongly they read noise that the position decides; other neurons read noise alone.
    """
    net = Transformer(n_layers=1, d_model=WIDTH, n_heads=1, d_vocab=D_VOCAB, n_ctx=32, d_mlp=D_MLP)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            parameter.zero_()
    tokens = words(data)
    net.tok_embed.weight[tokens, torch.arange(N_TOKENS)] = 4.0
    net.pos.weight[:, N_TOKENS:] = keyed_normal("positions", [0], 0, (32, WIDTH - N_TOKENS))[0]
    read = torch.zeros(D_MLP, N_TOKENS)
    read[: 2 * N_READ] = others * keyed_normal("others", [0], 0, (2 * N_READ, N_TOKENS))[0]
    read[torch.arange(2 * N_READ), torch.arange(2 * N_READ) // 2] = 1.0
    heard = torch.full((D_MLP, 1), 0.3)
    heard[: 2 * N_READ] = noise
    own = heard * keyed_normal("noise", [0], 0, (D_MLP, WIDTH - N_TOKENS))[0]
    weight = torch.cat([read, own], dim=1)
    mlp = net.layers[0].mlp
    mlp.fc_in.weight.copy_(weight - weight.mean(dim=1, keepdim=True))  # deaf to the mean that a LayerNorm takes off
    mlp.fc_in.bias.fill_(1.0)
    mlp.fc_out.weight[0, :2] = 1.0
    net.head.weight[tokens[0], 0] = 1.0
    return net.eval()


def found(net: Transformer, data: TextData) -> Answer:
    with torch.no_grad():
        return SharedFeatures(n_windows=400).measure({"planted": subject_of(net, data)})


def outcomes(answer: Answer) -> dict[str, Outcome]:
    names = ("gain", "recall", "spread", "rules")
    return {name: claim.outcome for name, claim in zip(names, answer.claims, strict=True)}


def test_noisy_neurons_that_help_each_other(data: TextData) -> None:
    answer = found(token_model(data, others=0.25, noise=0.4), data)
    assert answer.verdict == Outcome.SUPPORTED, outcomes(answer)
    shared = answer.tables["shared"]
    assert len(shared) > N_READ / 2
    for _, row in shared.iterrows():
        first = [f"token ·{word}" for word in SHARED].index(row["rule"]) * 2
        assert row["neurons"] == f"{first} {first + 1}"
        assert row["auc probe"] > row["auc neuron"]


def test_clean_neurons(data: TextData) -> None:
    answer = found(token_model(data, others=0.0, noise=0.0), data)
    verdicts = outcomes(answer)
    assert {verdicts[name] for name in ("gain", "recall", "spread")} == {Outcome.NOT_SUPPORTED}
    assert (answer.tables["shared"][["auc neuron", "recall neuron"]] > 0.999).all(axis=None)
    damage = answer.tables["shared"].set_index("rule").loc["token ·a"]
    assert damage["damage all neurons"] < damage["damage neuron"] < -0.2  # what it says is wrong, of another word
    assert damage["damage probe"] == pytest.approx(damage["damage all neurons"], abs=0.02)
    assert abs(damage["damage random direction"]) < 0.01


def test_untrained_neurons_have_no_more_rules_than_directions(data: TextData) -> None:
    net = subject_of(token_model(data, 0.0, 0.0), data).initial
    with torch.no_grad():
        answer = SharedFeatures(n_windows=400).measure({"planted": Subject(net, net, data)})
    assert answer.claims[-1].outcome != Outcome.SUPPORTED
    assert answer.verdict != Outcome.SUPPORTED


def test_too_few_shared_rules(data: TextData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.probing.shared_features.FEWEST_TOKENS", 10**6)
    answer = found(token_model(data, others=0.0, noise=0.0), data)
    assert answer.gate == "0 rules describe two neurons or more, too few to compare"
    assert answer.verdict == Outcome.INCONCLUSIVE


def test_strongest_tokens_are_those_of_a_full_sort(data: TextData) -> None:
    subject = subject_of(token_model(data, others=0.25, noise=0.4), data)
    sample = Sample.of(subject, 100)
    directions = keyed_normal("directions", [0], 0, (D_MLP, 3))[0]
    rows, positions = strongest_tokens(subject.net, sample, directions, k=5)
    name = "blocks.0.mlp.hook_post"
    whole = torch.cat([found[name] for _, found in stream(subject.net, sample.windows, [name])]) @ directions
    whole[~sample.training] = -torch.inf
    strongest, place = whole.max(dim=1)
    expected = strongest.topk(5, dim=0)
    torch.testing.assert_close(whole[rows, positions, torch.arange(3)], expected.values)
    assert torch.equal(positions, place.gather(0, rows))


def test_the_best_rule_by_hand(data: TextData) -> None:
    sample = Sample.of(subject_of(token_model(data, 0.0, 0.0), data), 100)
    book = RuleBook(data, sample.windows, sample.training)
    tokens, marker = sample.windows.tokens, words(data)[-2]
    at_marker = (tokens == marker).nonzero()[:20]
    before_marker = (tokens[:, 1:] == marker).nonzero()[:20]
    anywhere = (tokens >= 0).nonzero()[::17][:20]
    rows = torch.stack([at_marker[:, 0], before_marker[:, 0], anywhere[:, 0]], dim=1)
    positions = torch.stack([at_marker[:, 1], before_marker[:, 1], anywhere[:, 1]], dim=1)
    rules = book.best(rows, positions)
    assert rules.there.tolist() == [True, False, False]
    assert book.words(int(rules.attribute[0]), int(rules.value[0])) == "token ·def"
    assert int(rules.attribute[1]) == NONE
    assert float(rules.share[0]) == 1
    share = float((tokens == marker)[sample.training].float().mean())
    assert float(rules.lift[0]) == pytest.approx(1 / share, rel=1e-5)
    assert torch.equal(book.labels(int(rules.attribute[0]), int(rules.value[0])), (tokens == marker).long())


def test_a_probe_without_some_neurons() -> None:
    x = keyed_normal("x", [0], 0, (200, 5))[0].double()
    labels = (x[:, 0] + x[:, 1] > 0).long()
    one_hot = torch.nn.functional.one_hot(labels, 2).double()
    sums = Sums(one_hot.sum(0), one_hot.T @ x, x.T @ x)
    rest = x[:, [0, 2, 4]]
    expected = linear_discriminant(one_hot.sum(0), one_hot.T @ rest, rest.T @ rest, 0.1)[0]
    found = without(sums, torch.tensor([1, 3]), 0.1)
    torch.testing.assert_close(found[[0, 2, 4]], expected)
    assert found[[1, 3]].tolist() == [0, 0]


def test_options() -> None:
    with pytest.raises(UserError, match="n_windows is -1; allowed: a positive integer"):
        SharedFeatures(n_windows=-1)
