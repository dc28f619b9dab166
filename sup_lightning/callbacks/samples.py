"""Text that the model writes."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from sup_lightning.errors import UserError, reject, require_positive


class TextSamples(Callback):
    """Writes sampled text to TensorBoard at the end of each epoch.

    The samples have a generator of their own, so that the run is the same with and without them, and each epoch starts
    it afresh, so that epochs can be compared.

    Args:
        prompts: How the texts begin; an empty one begins as documents do.
        n_tokens: Tokens to sample after each.
        temperature: Divides the logits.
        seed: Of the samples.
    """

    def __init__(
        self, prompts: list[str] | None = None, n_tokens: int = 96, temperature: float = 0.8, seed: int = 0
    ) -> None:
        require_positive(n_tokens=n_tokens)
        if not temperature > 0:
            reject("temperature", temperature, "a positive number")
        self.prompts = prompts or [""]
        self.n_tokens, self.temperature, self.seed = n_tokens, temperature, seed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and getattr(getattr(trainer, "datamodule", None), "tokenizer", None) is None:
            raise UserError("TextSamples needs data with a tokenizer, such as TextData; remove it")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        generator = torch.Generator().manual_seed(self.seed)
        modes = {module: module.training for module in pl_module.modules()}
        pl_module.eval()
        texts = []
        for prompt in self.prompts:  # by all ranks: a sharded model needs them all
            ids = [data.end_of_text, *data.tokenizer.encode(prompt, add_special_tokens=False).ids]
            texts.append(data.tokenizer.decode(self._continue(pl_module, ids, data.n_ctx, generator)))
        for module, training in modes.items():
            module.training = training
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    shown = "\n\n---\n\n".join("\n".join(f"    {line}" for line in text.split("\n")) for text in texts)
                    logger.experiment.add_text("samples", shown, trainer.global_step - 1)

    @torch.no_grad()
    def _continue(self, model: LightningModule, ids: list[int], n_ctx: int, generator: torch.Generator) -> list[int]:
        for _ in range(self.n_tokens):
            tokens = torch.tensor([ids[-n_ctx:]], device=model.device)
            logits: Tensor = model(tokens)[0, -1].float().cpu()
            chosen = torch.multinomial((logits / self.temperature).softmax(dim=-1), 1, generator=generator)
            ids = [*ids, int(chosen)]
        return ids
