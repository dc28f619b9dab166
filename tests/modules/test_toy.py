"""Training of the toy models: chunks that nobody notices, instances that do not know of each other."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from sup_lightning.callbacks import LastCheckpoint, SuperpositionMonitor
from sup_lightning.errors import UserError
from sup_lightning.functional.keyed_random import keyed_normal, keyed_uniform
from sup_lightning.modules import ToyModel
from sup_lightning.nn import BottleneckModel
from tests.helpers import events, same_weights, toy_data, toy_model, toy_trainer, weights

SWEEP = {"seed": [3, 8], "feature_probability": [0.1, 0.5], "dropout": [0.0, 0.3]}


def trained(tmp_path: Path, chunk: int, *callbacks: Callback, sweep: Any = SWEEP, **settings: Any) -> ToyModel:
    model = toy_model(sweep)
    toy_trainer(tmp_path, *callbacks, **{"max_steps": 35, **settings}).fit(model, toy_data(sweep, chunk_steps=chunk))
    return model


@pytest.mark.parametrize("chunk", [1, 6, 48])
def test_the_chunk_size_changes_nothing(tmp_path: Path, chunk: int) -> None:
    reference, model = trained(tmp_path, 7), trained(tmp_path, chunk)
    assert model.trainer.global_step == 35
    assert same_weights(weights(reference), weights(model))


@pytest.mark.parametrize("chunk", [1, 48])
def test_cadences_count_optimiser_steps(tmp_path: Path, chunk: int) -> None:
    """Epochs of 20 steps, a log every 8, validation every 15, checkpoints every 9: none divides the chunk."""
    seen: list[int] = []

    class Validated(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append(trainer.global_step)

    checkpoints = ModelCheckpoint(tmp_path / "saved", "{step}", every_n_train_steps=9, save_top_k=-1)
    logger = TensorBoardLogger(tmp_path, "logs", "run", default_hp_metric=False)
    with pytest.warns(UserWarning, match="pre-optimization state"):  # Lightning's advice for another use
        trained(
            tmp_path, chunk, checkpoints, Validated(),
            logger=logger, log_every_n_steps=8, num_sanity_val_steps=0,
            val_check_interval=15, check_val_every_n_epoch=None, enable_checkpointing=True,
        )  # fmt: skip
    assert seen == [15, 30]
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {f"step={n}.ckpt" for n in (9, 18, 27)}
    for path in (tmp_path / "saved").iterdir():
        assert torch.load(path)["global_step"] == int(path.stem.removeprefix("step="))
    logged = events(tmp_path / "logs" / "run")
    assert [scalar.step for scalar in logged.Scalars("train/loss")] == [7, 15, 23, 31]
    assert [scalar.step for scalar in logged.Scalars("val/loss")] == [14, 29]


@pytest.mark.parametrize("instance", [0, 3, 6])
def test_an_instance_alone_is_that_instance_of_the_sweep(tmp_path: Path, instance: int) -> None:
    together = toy_model(SWEEP)
    toy_trainer(tmp_path, max_steps=100).fit(together, toy_data(SWEEP))
    settings = together.sweep.instances[instance]
    only = {name: [value] for name, value in settings.items()}
    alone = toy_model(only)
    toy_trainer(tmp_path, max_steps=100).fit(alone, toy_data(only))
    torch.testing.assert_close(alone.net.W[0], together.net.W[instance], rtol=0, atol=1e-5)
    torch.testing.assert_close(alone.net.b[0], together.net.b[instance], rtol=0, atol=1e-5)


def test_sweep_points_of_one_seed_share_draws_and_seeds_do_not(tmp_path: Path) -> None:
    data = toy_data({"seed": 2, "feature_probability": [0.2, 0.4]})
    x = data.batch("features", 0, range(1000), 1000).features  # p=.2 seed 0, p=.2 seed 1, p=.4 seed 0, p=.4 seed 1
    assert (x[2][x[0] > 0] > 0).all()
    first, second = (x[0] > 0).double(), (x[1] > 0).double()
    assert abs(first.mean() * second.mean() - (first * second).mean()) < 0.02


def test_validation_rows_are_the_same_for_every_seed() -> None:
    x = toy_data({"seed": 3}).batch("validation", 0, range(64), 64).features
    assert torch.equal(x[0], x[1])
    assert not torch.equal(x[0], toy_data().batch("test", 0, range(64), 64).features[0])


def test_the_published_loop_gives_the_same_weights(tmp_path: Path) -> None:
    """An independent loop over plain tensors, with the formula written out, torch's autograd and AdamW."""
    model = ToyModel(5, partial(BottleneckModel, n_hidden=2), importance_decay=0.9)
    toy_trainer(tmp_path, max_steps=40).fit(model, toy_data(feature_probability=0.3))
    W = (keyed_normal("init/W", [0], 0, (5, 2))[0] * (2 / 7) ** 0.5).requires_grad_()
    b = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.AdamW([W, b], lr=1e-3, weight_decay=0.0)
    for step in range(40):
        u = keyed_uniform("features", [0], step, (5, 32))[0].T
        x = torch.where(u >= 0.7, (u - 0.7) / 0.3, 0.0)
        out = torch.relu(x @ W @ W.T + b)
        loss = (0.9 ** torch.arange(5) * (x - out) ** 2).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(model.net.W[0], W, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.net.b[0], b, rtol=0, atol=1e-5)


def test_a_step_hook_is_called_for_each_step_and_changes_nothing(tmp_path: Path) -> None:
    calls: list[str] = []

    class Watcher(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
            calls.append("step")

        def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
            calls.append("backward")

    reference, watched = trained(tmp_path, 7), trained(tmp_path, 7, Watcher())
    assert calls == ["backward", "step"] * 35
    assert same_weights(weights(reference), weights(watched))


def test_measuring_does_not_change_the_run(tmp_path: Path) -> None:
    reference = trained(tmp_path, 7, limit_val_batches=0)
    measured = trained(tmp_path, 7, SuperpositionMonitor())
    assert same_weights(weights(reference), weights(measured))


def test_a_loss_that_is_not_finite_names_step_and_instance(tmp_path: Path) -> None:
    class Spoiled(ToyModel):
        def instance_losses(self, batch: Any) -> torch.Tensor:
            losses = super().instance_losses(batch)
            return losses * (1 + torch.tensor([0.0, torch.nan]) if batch.step == 11 else 1)

    model = Spoiled(5, partial(BottleneckModel, n_hidden=2), sweep={"seed": [4, 9]})
    with pytest.raises(UserError, match=r"the loss is not finite at step 11 in instance 1 \(seed=9\)"):
        toy_trainer(tmp_path, max_steps=35).fit(model, toy_data({"seed": [4, 9]}))


def test_data_at_another_step_is_refused(tmp_path: Path) -> None:
    data = toy_data()
    draw = data.draw
    data.draw = lambda slot: draw(type(slot)(step=slot.step + 1, n_steps=slot.n_steps))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="the batch is for step 1, but the weights are at step 0"):
        toy_trainer(tmp_path, max_steps=3).fit(toy_model(), data)


def test_checkpoint_loads_without_running_code(tmp_path: Path) -> None:
    model = trained(tmp_path, 7, LastCheckpoint())
    path = tmp_path / "checkpoints" / "last.ckpt"
    loaded = ToyModel.load_from_checkpoint(path, net=partial(BottleneckModel, n_hidden=2), weights_only=True)
    assert same_weights(weights(model), weights(loaded))
    assert loaded.sweep.labels == model.sweep.labels
    other = ToyModel.load_from_checkpoint(path, net=partial(BottleneckModel, n_hidden=2), importance_decay=0.5)
    assert other.importance[0].tolist() == pytest.approx([0.5**i for i in range(5)])  # by hand, anything may be chosen


def test_importance_falls_as_a_power_of_the_place() -> None:
    model = toy_model({"seed": 2, "importance": [1.0, 3.0]}, importance_decay=0.5, importance_power=2.0)
    expected = torch.tensor([1, 0.5 / 4, 0.25 / 9, 0.125 / 16, 0.0625 / 25])
    torch.testing.assert_close(model.importance, torch.stack([expected, expected, 3 * expected, 3 * expected]))
    assert (toy_model(importance_power=0.0).importance == 1).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: toy_model(dropout=1.0), r"dropout is 1.0; allowed: a number in \[0, 1\)"),
        (lambda: toy_model(importance=[1.0, 2.0]), "importance is .*; allowed: a number, or one for each of the 5"),
        (lambda: toy_model(importance=-1.0), "importance is -1.0; allowed: numbers ≥ 0"),
        (lambda: toy_model(importance_decay=0.0), "importance_decay is 0.0; allowed: a positive number"),
        (lambda: toy_model(importance_power=-1.0), "importance_power is -1.0; allowed: a number ≥ 0"),
        (lambda: toy_model(importance_power=float("inf")), "importance_power is inf; allowed: a number ≥ 0"),
        (lambda: BottleneckModel(5, [0], 0), "n_hidden is 0; allowed: a positive integer"),
        (lambda: BottleneckModel(5, [0], 2, activation="tanh"), "activation is 'tanh'; allowed: relu, linear, gelu"),  # type: ignore[arg-type]
        (lambda: toy_data(feature_probability=0.0), r"feature_probability is 0.0; allowed: numbers in \(0, 1\]"),
        (lambda: toy_data(feature_probability=1.01), r"feature_probability is 1.01; allowed: numbers in \(0, 1\]"),
        (lambda: toy_data(feature_probability=[0.1]), "feature_probability is .*; allowed: a number, or one for each"),
        (lambda: toy_data(n_features=-5), "n_features is -5; allowed: a positive integer"),
        (lambda: toy_data(batch_size=0), "batch_size is 0; allowed: a positive integer"),
    ],
)
def test_bad_settings(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
