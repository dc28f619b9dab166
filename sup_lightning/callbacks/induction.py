"""Whether the model has learned to copy what it has seen before."""

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from sup_lightning.errors import UserError, reject, require_positive
from sup_lightning.functional.keyed_random import keyed_uniform


class InductionScore(Callback):
    """Measures the loss on random tokens that come twice, at each validation.

    Sequences are n random tokens and then the same n again. Only a model that looks for the earlier place (Olsson et
    al. 2022, "In-context Learning and Induction Heads") is better the second time. Logs
    `induction/loss_repeated`, the nats per token of the repetition, and `induction/gain`, by how many nats per token it
    is below the loss of the first time; the first token of the repetition, which nothing foretells, does not count.

    Args:
        n_sequences: Sequences, the same ones each time.
        n_tokens: Random tokens in each, before they are repeated; half of `n_ctx` if not given.
        seed: Of the tokens.
    """

    def __init__(self, n_sequences: int = 16, n_tokens: int | None = None, seed: int = 0) -> None:
        require_positive(n_sequences=n_sequences, n_tokens=n_tokens or 1)
        self.n_sequences, self.n_tokens, self.seed = n_sequences, n_tokens, seed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage not in ("fit", "validate"):
            return
        net = getattr(pl_module, "net", None)
        if not hasattr(net, "token_losses"):
            raise UserError(f"InductionScore needs a language model, not {type(pl_module).__name__}; remove it")
        most = net.n_ctx // 2  # type: ignore[union-attr]
        if not 2 <= self._half(net.n_ctx) <= most:  # type: ignore[union-attr, arg-type]
            reject("n_tokens", self.n_tokens, f"2 to {most}, half of n_ctx")

    def _half(self, n_ctx: int) -> int:
        return self.n_tokens or n_ctx // 2

    def sequences(self, d_vocab: int, n_ctx: int) -> Tensor:
        """`[n_sequences, 2 n_tokens]` int64."""
        uniform = keyed_uniform("induction", [self.seed], 0, (self.n_sequences, self._half(n_ctx)))[0]
        return (uniform * d_vocab).long().clamp(max=d_vocab - 1).repeat(1, 2)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        net = pl_module.net
        tokens = self.sequences(net.d_vocab, net.n_ctx).to(pl_module.device)  # type: ignore[union-attr, arg-type]
        with trainer.precision_plugin.forward_context():
            losses = net.token_losses(tokens[:, :-1], tokens[:, 1:])  # type: ignore[union-attr, operator]
        half = tokens.shape[1] // 2
        first, repeated = losses[:, : half - 1].double().mean(), losses[:, half:].double().mean()
        measured = {"induction/loss_repeated": repeated, "induction/gain": first - repeated}
        pl_module.log_dict(
            {name: value.float() for name, value in measured.items()}, sync_dist=True, reduce_fx="max"
        )  # equal on all ranks
