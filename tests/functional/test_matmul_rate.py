import torch

from sup_lightning.functional.matmul_rate import matmul_rate


def test_a_matrix_product_has_a_rate() -> None:
    rate = matmul_rate(torch.device("cpu"), torch.float32)
    assert 1e8 < rate < 1e14
    assert matmul_rate(torch.device("cpu"), torch.float32) == rate  # measured once
