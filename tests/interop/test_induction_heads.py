"""The detector on circuits that are written by hand, and on a model that knows nothing."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.interop.induction_heads import (
    OFFSETS,
    ablation_harm,
    examine_heads,
    induction_heads,
    repeated_sequences,
)
from sup_lightning.nn.transformer import Transformer
from tests.interop.hand_made_heads import hand_made, unit_code

SEQUENCES = repeated_sequences(24, 24, n_sequences=24)


@pytest.mark.parametrize("delta", [1, 2])
def test_an_induction_circuit_is_found_with_its_offset(delta: int) -> None:
    (found,) = induction_heads(hand_made(delta=delta), SEQUENCES)
    assert (found.name, found.label, found.source) == ("L1H0", f"induction({delta})", (0, 0))
    assert float(found.match[delta]) > 0.7
    others = [float(found.match[k]) for k in OFFSETS if k != delta]
    assert max(others) < 0.15
    keys = unit_code(24, 16, 1)  # both maps are this code and a copy
    assert found.composition == pytest.approx(float((keys @ keys.T).norm() / keys.norm() ** 2), rel=0.02)
    assert found.composition > 3 * float(found.null.max())
    assert found.harm_interval[0] > 0.5


def test_what_each_head_looks_at() -> None:
    evidence = {each.name: each for each in examine_heads(hand_made(delta=2), SEQUENCES)}
    assert float(evidence["L0H0"].back[2]) > 0.95
    assert float(evidence["L0H1"].back[1]) > 0.95
    assert evidence["L0H0"].fails == "attends to no offset"
    assert torch.isnan(torch.tensor(evidence["L0H0"].harm))


def test_a_fixed_distance_is_rejected_at_other_periods_and_for_its_keys() -> None:
    net = hand_made(fixed_period=9)
    unseen = repeated_sequences(24, 24, 24, periods=[5, 6, 7, 8, 10, 11, 12])
    assert [each.fails for each in examine_heads(net, unseen)] == ["attends to no offset"] * 4
    trained = examine_heads(net, repeated_sequences(24, 24, 24, periods=[9]))[2]
    assert float(trained.match[1]) > 0.7  # what a score at the trained period alone would have taken for induction
    assert trained.harm_interval[0] > 0.5
    assert trained.composition < float(trained.null.max())
    assert trained.fails == "composes with no such head"


def test_attention_without_use_is_rejected() -> None:
    head = examine_heads(hand_made(strength=0.0), SEQUENCES)[2]
    assert float(head.match[1]) > 0.7
    assert head.harm == 0
    assert head.fails == "ablation costs nothing"


def test_a_head_without_an_earlier_one_is_rejected() -> None:
    net = hand_made()
    with torch.no_grad():
        net.layers[0].attn.q.weight.zero_()  # type: ignore[union-attr]
    head = examine_heads(net, SEQUENCES)[2]
    assert head.source is None
    assert not head.label


def test_nothing_is_found_at_initial_weights() -> None:
    net = Transformer(2, 64, 4, 24, 24, attn_only=True, init="sinusoidal")
    assert induction_heads(net, SEQUENCES) == []


def test_ablation_costs_what_the_head_was_worth() -> None:
    """Without the only head that writes, all logits are equal up to what its mean says."""
    net = hand_made(strength=10.0)
    harm = ablation_harm(net, SEQUENCES, 1, 0)
    assert harm.shape == (24,)
    assert torch.equal(ablation_harm(net, SEQUENCES, 1, 1), torch.zeros(24).double())
    assert float(harm.mean()) > 1.0


def test_sequences_repeat_at_periods_that_may_be_given() -> None:
    for row in repeated_sequences(30, 20, 8, periods=[5, 7]):
        assert torch.equal(row[5:], row[:-5]) or torch.equal(row[7:], row[:-7])
    assert repeated_sequences(4, 24, 2).shape == (2, 25)  # a vocabulary smaller than half of n_ctx
    assert not torch.equal(repeated_sequences(30, 20, 8), repeated_sequences(30, 20, 8, seed=1))
    with pytest.raises(UserError, match="n_ctx is 3; allowed: at least 4"):
        repeated_sequences(30, 3)
    with pytest.raises(UserError, match=r"periods is \[40\]; allowed: at most 20"):
        repeated_sequences(30, 20, periods=[40])
