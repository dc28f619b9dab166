"""Shared set-up: one thread (so that forked ranks are safe), a clean command line, files only below tmp_path."""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch is imported

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
gc.set_threshold(50_000, 20, 50)  # parsing a config makes a million small objects, and a sixth of its time was this


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr("sys.argv", ["sup"])  # LightningCLI warns where it finds arguments that are pytest's
    monkeypatch.chdir(tmp_path)
    yield
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
