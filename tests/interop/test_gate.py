import math

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.interop.gate import LARGEST_ERROR, bridge_error, check_bridge
from sup_lightning.interop.transformer_lens import to_bridge
from tests.interop.networks import TOKENS, WIDE, noisy


def test_a_faithful_bridge_passes() -> None:
    model = noisy(**WIDE)
    assert check_bridge(model, to_bridge(model), TOKENS) < 5e-5


def test_the_error_is_that_of_log_probabilities() -> None:
    model = noisy()
    assert bridge_error(model, lambda tokens: model(tokens) + 3.0, TOKENS) < 1e-5  # the same probabilities

    def other(tokens: torch.Tensor) -> torch.Tensor:
        logits = model(tokens).clone()
        logits[..., 7] += math.log(2)
        return logits

    log_p = model(TOKENS).log_softmax(dim=-1)[..., 7].double()
    expected = (math.log(2) - torch.log1p(log_p.exp())).abs().max()  # of token 7 itself, where it is least likely
    assert bridge_error(model, other, TOKENS) == pytest.approx(expected.item(), abs=1e-5)


def test_another_epsilon_does_not_pass() -> None:
    model = noisy(**WIDE)
    bridge = to_bridge(noisy(**WIDE | {"mid_ln_eps": [1e-2, 2e-4]}))
    error = bridge_error(model, bridge, TOKENS)
    assert error > LARGEST_ERROR
    with pytest.raises(UserError, match=f"differ by {error:.2g} from the model's; allowed: below 0.0002"):
        check_bridge(model, bridge, TOKENS)


def test_what_is_not_a_number_does_not_pass() -> None:
    with pytest.raises(UserError, match="differ by nan"):
        check_bridge(noisy(), lambda tokens: torch.full((*tokens.shape, 300), torch.nan), TOKENS)
