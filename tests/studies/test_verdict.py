import math

import pytest

from sup_lightning.studies.verdict import Claim, Outcome, verdict


def claim(interval: tuple[float, float], holds: tuple[float, float] = (0.9, math.inf)) -> Claim:
    return Claim("it holds", sum(interval) / 2, interval, holds, "chance: 0.5")


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        ((0.95, 1.0), Outcome.SUPPORTED),
        ((0.9, 0.9), Outcome.SUPPORTED),
        ((0.1, 0.2), Outcome.NOT_SUPPORTED),
        ((0.8, 0.95), Outcome.INCONCLUSIVE),
        ((math.nan, math.nan), Outcome.INCONCLUSIVE),
        ((0.95, math.inf), Outcome.INCONCLUSIVE),
    ],
)
def test_outcome_of_a_claim(interval: tuple[float, float], outcome: Outcome) -> None:
    assert claim(interval).outcome == outcome


def test_a_claim_can_hold_between_two_ends() -> None:
    assert claim((0.2, 0.3), (0.1, 0.4)).outcome == Outcome.SUPPORTED
    assert claim((0.0, 0.05), (0.1, 0.4)).outcome == Outcome.NOT_SUPPORTED
    assert claim((0.3, 0.5), (0.1, 0.4)).outcome == Outcome.INCONCLUSIVE


def test_verdict_of_several_claims() -> None:
    yes, no, unclear = claim((0.95, 1.0)), claim((0.1, 0.2)), claim((0.8, 0.95))
    assert verdict([yes, yes]) == Outcome.SUPPORTED
    assert verdict([no, no]) == Outcome.NOT_SUPPORTED
    assert verdict([yes, no]) == verdict([yes, no, unclear]) == Outcome.MIXED
    assert verdict([yes, unclear]) == verdict([no, unclear]) == verdict([]) == Outcome.INCONCLUSIVE
