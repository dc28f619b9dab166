"""From measured effects to a verdict, by rules that are the same for every study."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What the numbers say of a claim, or of a question."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    MIXED = "mixed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Claim:
    """A statement that was committed to before the numbers were seen, and what was seen.

    Attributes:
        text: The statement.
        effect: The measured quantity on which it depends.
        interval: Ends of its 95 % interval; over training seeds, or the error bound of an exact computation.
        holds: The least and the greatest effect for which the statement is true; infinite where there is no bound. The
            finite end is the smallest effect of interest.
        control: What the effect is compared with, and what came out there.
        quantity: The name of the effect.

    >>> Claim("the pair is antipodal", -0.99, (-1.0, -0.98), (-math.inf, -0.9), "random start: 0.0").outcome
    <Outcome.SUPPORTED: 'supported'>
    """

    text: str
    effect: float
    interval: tuple[float, float]
    holds: tuple[float, float]
    control: str
    quantity: str = ""

    @property
    def outcome(self) -> Outcome:
        """Supported if the whole interval lies where the claim holds, not supported if none of it does."""
        low, high = self.interval
        if not all(map(math.isfinite, (self.effect, low, high))):
            return Outcome.INCONCLUSIVE
        least, greatest = self.holds
        if least <= low and high <= greatest:
            return Outcome.SUPPORTED
        if high < least or greatest < low:
            return Outcome.NOT_SUPPORTED
        return Outcome.INCONCLUSIVE


def verdict(claims: Sequence[Claim]) -> Outcome:
    """The verdict on a question: that of its claims if they agree, mixed if some hold and some fail.

    >>> verdict([])
    <Outcome.INCONCLUSIVE: 'inconclusive'>
    """
    outcomes = {claim.outcome for claim in claims}
    if len(outcomes) == 1:
        return outcomes.pop()
    return Outcome.MIXED if {Outcome.SUPPORTED, Outcome.NOT_SUPPORTED} <= outcomes else Outcome.INCONCLUSIVE
