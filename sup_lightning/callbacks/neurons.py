"""What the neurons of an MLP respond to, at each validation."""

import html
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sup_lightning.errors import UserError, require_positive
from sup_lightning.metrics.selectivity import DeadFraction, Kurtosis, RotatedKurtosis
from sup_lightning.metrics.top_examples import OUTSIDE, Examples, TopExamples

HOOK_POINT = "mlp.hook_post"
"""A module with a submodule so named lets its neurons be seen: its output is their activations `[B, T, d_mlp]`."""

BEFORE, AFTER = 8, 2
"""Tokens shown around the one that excites."""


class NeuronMonitor(Callback):
    """Measures the neurons of each MLP over the first batches of the validation set.

    Logs for each layer l, over all ranks: `neurons/L<l>/kurtosis_median` of the neurons, `kurtosis_rotated_median`
    along random directions, their difference `kurtosis_excess` (how much the neuron basis is privileged), and
    `dead_fraction` (neurons that never rise above 0). The tokens that excite some neurons most go to TensorBoard's text
    page. It looks on while Lightning validates, runs nothing of its own and draws no random numbers.

    Args:
        n_batches: Validation batches, over all ranks.
        n_neurons: Neurons of each layer, evenly spaced, whose strongest tokens are shown.
        n_examples: Tokens shown of each.
        seed: Of the random directions.
    """

    def __init__(self, n_batches: int = 8, n_neurons: int = 8, n_examples: int = 8, seed: int = 0) -> None:
        require_positive(n_batches=n_batches, n_neurons=n_neurons, n_examples=n_examples)
        self.n_batches, self.n_neurons, self.n_examples, self.seed = n_batches, n_neurons, n_examples, seed
        self.layers: dict[int, LayerRecord] = {}
        self._hooks: list[RemovableHandle] = []
        self._seen: dict[int, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage in ("fit", "validate") and not _hook_points(pl_module):
            raise UserError(
                f"NeuronMonitor finds no MLP in {type(pl_module).__name__} (a submodule {HOOK_POINT}); remove it"
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for record in self.layers.values():
            record.reset()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch.step < self.n_batches and not trainer.sanity_checking:
            for layer, module in enumerate(_hook_points(pl_module)):
                self._hooks.append(module.register_forward_hook(self._keep(layer)))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._remove_hooks()
        real = batch.weights > 0
        for layer, activations in self._seen.items():
            if layer not in self.layers:
                self.layers[layer] = LayerRecord(activations.shape[-1], self).to(activations.device)
            whole = bool(real.all())  # then nothing has to be copied
            windows = batch.step * len(real) + torch.arange(len(real), device=real.device)
            self.layers[layer].update(*(each if whole else each[real] for each in (activations, batch.tokens, windows)))
        self._seen.clear()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        for layer, record in self.layers.items():
            measured = {f"neurons/L{layer}/{name}": value.float() for name, value in record.measure().items()}
            pl_module.log_dict(measured, sync_dist=True, reduce_fx="max")  # equal on all ranks
            examples = record.top.compute()  # by all ranks, as they exchange their examples
            if trainer.is_global_zero:
                self._write(trainer, layer, record.shown.tolist(), examples)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._remove_hooks()

    def _keep(self, layer: int) -> Any:
        def hook(module: nn.Module, inputs: Any, activations: Tensor) -> None:
            self._seen[layer] = activations.detach()

        return hook

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _write(self, trainer: Trainer, layer: int, shown: list[int], examples: Examples) -> None:
        tokenizer = getattr(getattr(trainer, "datamodule", None), "tokenizer", None)
        for logger in trainer.loggers:
            if tokenizer is not None and isinstance(logger, TensorBoardLogger):
                table = examples_table(examples, shown, tokenizer)
                logger.experiment.add_text(f"neurons/L{layer}/top_tokens", table, trainer.global_step - 1)


class LayerRecord(nn.Module):
    """What is kept of one layer while validation batches stream past.

    Args:
        d_mlp: Neurons of the layer.
        settings: The callback, for its arguments.
    """

    shown: Tensor

    def __init__(self, d_mlp: int, settings: NeuronMonitor) -> None:
        super().__init__()
        n_shown = min(settings.n_neurons, d_mlp)
        self.register_buffer("shown", torch.arange(n_shown) * d_mlp // n_shown)
        self.kurtosis = Kurtosis(d_mlp)
        self.rotated = RotatedKurtosis(d_mlp, settings.seed)
        self.dead = DeadFraction(d_mlp)
        self.top = TopExamples(n_shown, settings.n_examples, BEFORE, AFTER)

    def update(self, activations: Tensor, tokens: Tensor, windows: Tensor) -> None:
        """Add a batch: `[B, T, d_mlp]` activations of `[B, T]` tokens, and the `[B]` numbers of the windows."""
        for metric in (self.kurtosis, self.rotated, self.dead):
            metric.update(activations)
        self.top.update(activations[..., self.shown], tokens, windows)

    def measure(self) -> dict[str, Tensor]:
        """The layer's scalars, over all ranks."""
        neurons, directions = self.kurtosis.compute().nanmedian(), self.rotated.compute().nanmedian()
        return {
            "kurtosis_median": neurons,
            "kurtosis_rotated_median": directions,
            "kurtosis_excess": neurons - directions,
            "dead_fraction": self.dead.compute(),
        }

    def reset(self) -> None:
        """Forget everything seen."""
        for metric in (self.kurtosis, self.rotated, self.dead, self.top):
            metric.reset()


def _hook_points(module: nn.Module) -> list[nn.Module]:
    return [part for name, part in module.named_modules() if name.endswith(HOOK_POINT)]


def examples_table(examples: Examples, shown: list[int], tokenizer: Tokenizer) -> str:
    """A Markdown table of the examples, the exciting token in bold.

    Args:
        examples: The strongest examples of each neuron, with `BEFORE` tokens before the token.
        shown: The neurons' numbers.
        tokenizer: Turns tokens into text.
    """
    rows = ["| neuron | activation | text |", "|---|---|---|"]
    for column, neuron in enumerate(shown):
        for value, tokens in zip(examples.activations[:, column], examples.tokens[:, column], strict=True):
            if torch.isfinite(value):
                parts = (tokens[:BEFORE], tokens[BEFORE : BEFORE + 1], tokens[BEFORE + 1 :])
                left, token, right = (
                    _visible(tokenizer.decode(part[part != OUTSIDE].tolist(), skip_special_tokens=False))
                    for part in parts
                )
                rows.append(f"| {neuron} | {value:.2f} | {left}**{token.replace(' ', '·')}**{right} |")
    return "\n".join(rows)


_SHOWN = str.maketrans({"|": "&#124;", "*": "&#42;", "_": "&#95;", "`": "&#96;", "\n": "↵", "\t": "→"})


def _visible(text: str) -> str:
    """Text that a cell of a Markdown table shows as it is."""
    return html.escape(text).translate(_SHOWN)
