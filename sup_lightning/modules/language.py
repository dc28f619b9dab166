"""Training a language model."""

import math
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn
from torchmetrics import SumMetric

from sup_lightning.errors import UserError
from sup_lightning.modules.base import SupModule
from sup_lightning.modules.initial_weights import take_weights, weight_hashes
from sup_lightning.modules.precision import check_precision
from sup_lightning.nn.compiling import missing_toolchain
from sup_lightning.nn.estimate import estimate
from sup_lightning.nn.transformer import InitName, Transformer


class Batch(Protocol):
    """What a batch of text has; see `sup_lightning.data.language.TextBatch`."""

    step: int
    tokens: Tensor
    targets: Tensor
    weights: Tensor
    n_bytes: Tensor


def _exact_sum() -> SumMetric:
    """A sum over all ranks in float64, that carries NaN on."""
    metric = SumMetric(nan_strategy="disable")
    metric.set_dtype(torch.float64)
    return metric


class LanguageModel(SupModule):
    """A transformer trained to predict the next token.

    Logs `train/loss` (nats per token, this rank's micro-batch) and, over the whole validation set and all ranks,
    `val/loss` (nats per token), `val/perplexity` and `val/bits_per_byte` (comparable between tokenizers). Dropout masks
    are a function of (seed, step, micro-batch, rank), so that a resumed run draws the same ones.

    With `init: by_width` the learning rate of an MLP's output weights is that of the others times 4 d_model / d_mlp
    (their fan-in grows with the width, and Adam's steps do not shrink: Yang et al. 2022, "Tensor Programs V").

    Args:
        n_layers: Number of layers.
        d_model: Width of the residual stream.
        n_heads: Attention heads per layer.
        n_ctx: Longest sequence; set by the data.
        d_vocab: Number of tokens; set by the data.
        d_head: Size of a head; `d_model / n_heads` if not given.
        d_mlp: Neurons per layer, for all layers or for each; `4 d_model` if not given.
        activation: Of the MLP: gelu, gelu_new, relu, silu, solu or solu_ln.
        attn_only: Whether to leave the MLPs out.
        positions: `learned` or `rotary`.
        tied: Whether the unembedding is the embedding.
        dropout: Probability of dropping an element of the embedding and of what a layer adds.
        ln_eps: Epsilon of the LayerNorms on the residual stream.
        mid_ln_eps: Epsilon of the LayerNorm over the neurons (`solu_ln`), for all layers or for each.
        init: `by_width`; `published` as the code of the published one- to four-layer models; or `sinusoidal`, wide
            weights and sinusoidal positions, for small models that are to learn induction.
        init_from: A checkpoint, or a file of safetensors: a weight with the same name and shape there is the initial
            one here. So models that differ in the activation start as twins.
        recompute_mlp: Whether activations are computed again in the backward pass: bounded memory for wide MLPs.
        compile: Whether the MLPs are compiled for training; without a compiler they run as they are.
        seed: Of the initial weights and the dropout masks; 0 if not given.
        optimizer: Called with the parameter groups; its weight decay applies to matrices only, embeddings excepted.
        lr_scheduler: Called with the optimiser; stepped once for each optimiser step.
    """

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        n_heads: int,
        n_ctx: int,
        d_vocab: int,
        d_head: int | None = None,
        d_mlp: int | list[int] | None = None,
        activation: str = "gelu",
        attn_only: bool = False,
        positions: str = "learned",
        tied: bool = False,
        dropout: float = 0.0,
        ln_eps: float = 1e-5,
        mid_ln_eps: float | list[float] = 1e-5,
        init: InitName = "by_width",
        init_from: str | None = None,
        recompute_mlp: bool = False,
        compile: bool = False,
        seed: int | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.seed = 0 if seed is None else seed
        settings: dict[str, Any] = {
            "n_layers": n_layers,
            "d_model": d_model,
            "n_heads": n_heads,
            "n_ctx": n_ctx,
            "d_vocab": d_vocab,
            "d_head": d_head,
            "d_mlp": d_mlp,
            "activation": activation,
            "attn_only": attn_only,
            "positions": positions,
            "tied": tied,
            "dropout": dropout,
            "ln_eps": ln_eps,
            "mid_ln_eps": mid_ln_eps,
            "init": init,
            "recompute_mlp": recompute_mlp,
            "seed": self.seed,
        }
        # Plain values alone: with the optimiser's factory in it a checkpoint would not load under weights_only=True.
        self.save_hyperparameters(settings)
        self.net = Transformer(**settings)
        if init_from is not None:
            take_weights(self.net, init_from)
        self.compile_mlps = compile
        self.tokenizer_hash: str | None = None
        self.nats, self.tokens, self.bytes = _exact_sum(), _exact_sum(), _exact_sum()

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, T]` tokens to `[B, T, d_vocab]` logits."""
        return self.net(tokens)

    @property
    def flops_per_item(self) -> float:
        """Floating-point operations of training on one token."""
        return estimate(self.net, 1).flops_per_token

    def weight_hashes(self) -> dict[str, str]:
        """A hash of each weight by its name in the network."""
        return weight_hashes(self.net)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weight decay for matrices, none for embeddings, positions, biases and LayerNorms; `lr_scale` of the MLPs."""
        embeddings = {id(part.weight) for part in self.modules() if isinstance(part, nn.Embedding)}
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                decays = parameter.ndim > 1 and id(parameter) not in embeddings
                groups.setdefault((decays, self._lr_scale(name)), []).append(parameter)
        return [
            {"params": parameters, "lr_scale": lr_scale} | ({} if decays else {"weight_decay": 0.0})
            for (decays, lr_scale), parameters in groups.items()
        ]

    def _lr_scale(self, name: str) -> float:
        """The learning rate of a parameter, as a multiple of the optimiser's."""
        if self.net.init != "by_width" or not name.endswith("mlp.fc_out.weight"):
            return 1.0
        return 4 * self.net.d_model / self.net.d_mlps[int(name.split(".")[2])]

    def on_fit_start(self) -> None:
        """Check the precision, say what the run will take, and compile."""
        check_precision(self.trainer.precision, self.device)
        items = getattr(getattr(self.trainer, "datamodule", None), "items_per_step", None)
        if items is not None:
            parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
            half = str(self.trainer.precision).startswith(("16", "bf16"))
            taken = estimate(self.net, items // parts, 2 if half else 4)
            rank_zero_info(f"Estimate: {taken}")
            figures = {"gigabytes": taken.bytes / 1e9, "megaflops_per_token": taken.flops_per_token / 1e6}
            for logger in self.loggers:
                logger.log_metrics({f"estimate/{name}": value for name, value in figures.items()}, step=0)
        if self.compile_mlps:
            if (missing := missing_toolchain(self.device.type)) is not None:
                rank_zero_info(f"compile: {missing} is missing here, so the MLPs run as they are, which is slower")
            else:
                self.net.compile_for_training()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the dropout of this batch."""
        super().on_train_batch_start(batch, batch_idx)
        micro = batch_idx % self.trainer.accumulate_grad_batches
        entropy = np.random.SeedSequence([self.seed, batch.step, micro, self.global_rank])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean nats per token."""
        self.check_step(batch.step)
        loss = self.net.loss(batch.tokens, batch.targets)
        if self.logs_now or self.device.type == "cpu":  # elsewhere looking at each loss would hold up the device
            self.check_finite(loss.detach()[None], batch.step)
        if self.logs_now:
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start the sums afresh."""
        for total in (self.nats, self.tokens, self.bytes):
            total.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Add a batch to the sums; returns the nats of each row, `[B]` float64."""
        nats = self.net.token_losses(batch.tokens, batch.targets).double().sum(dim=1)
        self.nats.update((nats * batch.weights).sum())
        self.tokens.update(batch.weights.double().sum() * batch.targets.shape[1])
        self.bytes.update((batch.n_bytes * batch.weights).double().sum())
        return nats

    def on_validation_epoch_end(self) -> None:
        """Log the quotients of the sums over all ranks."""
        self._log_sums("val")

    def on_test_epoch_start(self) -> None:
        """Start the sums afresh."""
        self.on_validation_epoch_start()

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Add a batch to the sums; returns the nats of each row, `[B]` float64."""
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log the quotients of the sums over all ranks."""
        self._log_sums("test")

    def _log_sums(self, stage: str) -> None:
        nats, tokens, n_bytes = (total.compute() for total in (self.nats, self.tokens, self.bytes))
        loss = nats / tokens
        self.log_equal({f"{stage}/loss": loss.float()}, prog_bar=True)
        others = {"perplexity": loss.exp(), "bits_per_byte": nats / n_bytes / math.log(2)}
        self.log_equal({f"{stage}/{name}": value.float() for name, value in others.items()})

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Log-probability of each target, `[B, n_ctx]`, without the rows that only fill the batch."""
        return -self.net.token_losses(batch.tokens, batch.targets)[batch.weights > 0]

    def setup(self, stage: str) -> None:
        """Check that the data's tokenizer is the one that the weights were trained with."""
        data = getattr(self.trainer, "datamodule", None)
        self._match_tokenizer(getattr(data, "tokenizer_hash", None))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record the tokenizer."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["tokenizer_hash"] = self.tokenizer_hash

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint's tokenizer is the data's."""
        super().on_load_checkpoint(checkpoint)
        saved, present = checkpoint.get("tokenizer_hash"), self.tokenizer_hash
        self.tokenizer_hash = saved
        self._match_tokenizer(present)

    def _match_tokenizer(self, of_data: str | None) -> None:
        if self.tokenizer_hash is None:
            self.tokenizer_hash = of_data
        elif of_data is not None and of_data != self.tokenizer_hash:
            raise UserError(
                f"the data's tokenizer is {of_data}, but the weights were trained with {self.tokenizer_hash}; allowed: "
                "the same text and vocabulary, or `tokenizer` set to the tokenizer.json of that run"
            )
