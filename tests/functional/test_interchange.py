"""Interchange along directions, and pairs that differ in one thing."""

import pytest
import torch

from sup_lightning.functional.interchange import interchanged, matched_pairs, moved_as_far
from sup_lightning.functional.keyed_random import keyed_normal, keyed_uniform


def test_only_the_coordinate_along_the_direction_is_taken_over() -> None:
    base, source, direction, other = keyed_normal("interchange", range(4), 0, (5,)).double()
    base, source = base.expand(3, 5), torch.stack([source, 2 * source, base])
    moved = interchanged(base, source, 7 * direction)
    torch.testing.assert_close(moved @ direction, source @ direction)
    across = other - (other @ direction) / (direction @ direction) * direction
    torch.testing.assert_close(moved @ across, base @ across)
    assert torch.equal(moved[2], base[2])


def test_the_placebo_goes_as_far_elsewhere() -> None:
    base, source, direction, placebo = keyed_normal("interchange", range(4), 0, (5,)).double()
    moved, elsewhere = interchanged(base, source, direction), moved_as_far(base, source, direction, placebo)
    assert float((elsewhere - base).norm()) == pytest.approx(float((moved - base).norm()))
    assert abs(float(torch.cosine_similarity(elsewhere - base, placebo, dim=0))) == pytest.approx(1)


def test_pairs_are_of_one_group_and_of_both_labels() -> None:
    groups = (keyed_uniform("groups", [0], 0, (400,))[0] * 12).long()
    labels = (keyed_uniform("labels", [0], 0, (400,))[0] * 3).long() - 1
    zeros, ones = matched_pairs(groups, labels, 10**6)
    assert torch.equal(groups[zeros], groups[ones])
    assert set(labels[zeros].tolist()) == {0}
    assert set(labels[ones].tolist()) == {1}
    assert len(set(zeros.tolist())) == len(set(ones.tolist())) == len(zeros)
    most = sum(min(int((labels[groups == g] == k).sum()) for k in (0, 1)) for g in range(12))
    assert len(zeros) == most
    few = matched_pairs(groups, labels, 9)
    assert len(few[0]) == 9
    assert {*zip(*(part.tolist() for part in few), strict=True)} <= {*zip(zeros.tolist(), ones.tolist(), strict=True)}
    assert len(matched_pairs(groups, torch.ones(400), 5)[0]) == 0
