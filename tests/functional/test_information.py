import itertools
import math

import pytest
import torch

from sup_lightning.functional.information import clusters, merge_distances, mutual_information


def test_mutual_information_from_entropies() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(0, 4, (2, 200), generator=generator)

    def entropy(*labels: list[int]) -> float:
        cases = list(zip(*labels, strict=True))
        return -sum(cases.count(each) / len(cases) * math.log2(cases.count(each) / len(cases)) for each in set(cases))

    a, b = first.tolist(), second.tolist()
    expected = entropy(a) + entropy(b) - entropy(a, b)
    assert mutual_information(first, second).item() == pytest.approx(expected, abs=1e-12)


def test_a_sum_says_nothing_of_its_parts() -> None:
    a, b = torch.cartesian_prod(torch.arange(7), torch.arange(7)).T
    total = (a + b) % 7
    assert mutual_information(total, a).item() == pytest.approx(0, abs=1e-12)
    assert mutual_information(total, b).item() == pytest.approx(0, abs=1e-12)
    assert mutual_information(total, 7 * a + b).item() == pytest.approx(math.log2(7))


def test_merging_against_all_chains() -> None:
    points = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    distance = torch.cdist(points, points)
    for i, j in itertools.combinations(range(5), 2):
        others = [k for k in range(5) if k not in (i, j)]
        chains = [(i, *middle, j) for n in range(4) for middle in itertools.permutations(others, n)]
        best = min(max(float(distance[a, b]) for a, b in itertools.pairwise(chain)) for chain in chains)
        assert merge_distances(points)[i, j].item() == pytest.approx(best, abs=1e-6)


def test_clusters_split_as_the_resolution_gets_finer() -> None:
    merged = merge_distances(torch.tensor([[0.0], [0.1], [1.0], [1.1], [5.0]]))
    assert [len(clusters(merged, r).unique()) for r in (4, 2, 0.5, 0.05)] == [1, 2, 3, 5]
