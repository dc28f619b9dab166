import torch

from sup_lightning.functional import basis
from sup_lightning.metrics.basis import AlignmentAboveRandom, ParticipationAboveRandom


def test_basis_metrics_equal_their_functions() -> None:
    old, new = torch.randn(3, 5, 4), torch.randn(3, 5, 4)
    for metric, function in (
        (AlignmentAboveRandom(n_rotations=5, seed=3), basis.alignment_above_random),
        (ParticipationAboveRandom(n_rotations=5, seed=3), basis.participation_above_random),
    ):
        metric.update(old)
        metric.update(new)
        torch.testing.assert_close(metric.compute(), function(new, n_rotations=5, seed=3))
