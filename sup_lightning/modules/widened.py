"""Fine-tuning one widened MLP of a trained language model."""

from inspect import signature
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from sup_lightning.checkpoint_io import read_checkpoint
from sup_lightning.errors import UserError, reject
from sup_lightning.modules.language import LanguageModel
from sup_lightning.nn.transformer import MLP, Transformer
from sup_lightning.nn.widen import NoiseScheme, output_scale, widen


class WidenedLanguageModel(LanguageModel):
    """A trained language model with k copies of each neuron of one layer; that layer's MLP alone trains.

    All else is frozen, LayerNorms too, and stays what it was bit for bit. The learning rate of the MLP's output weights
    is multiplied by what the weights themselves were (1/k; 1 for plain SoLU): k copies that move alike then change the
    output as one neuron did. Decoupled weight decay, being a multiple of the learning rate, falls with it.

    k = 1 with noise `none` is the control: the same fine-tuning at the source's width.

    The checkpoint is that of a `LanguageModel` with one number of neurons per layer: everything that takes such a
    checkpoint takes this one, and `LanguageModel.load_from_checkpoint` reads it without the source.

    Args:
        k: Copies of each neuron.
        noise: How the copies differ; see `sup_lightning.nn.widen.widen`.
        n_ctx: Longest sequence, the source's; set by the data.
        d_vocab: Number of tokens, the source's; set by the data.
        source: Path of the checkpoint of the trained LanguageModel.
        layer: The layer whose MLP is widened, from 0.
        noise_scale: Standard deviation of the noise, relative to each neuron's copied weights.
        compile: Whether the MLPs are compiled for training.
        seed: Of the noise and the dropout masks; 0 if not given.
        optimizer: Called with the parameter groups; its weight decay applies to the MLP's two matrices.
        lr_scheduler: Called with the optimiser; stepped once for each optimiser step.

    Raises:
        UserError: If the source is no checkpoint of a language model, has other sizes than the data, or cannot be
            widened in this way.
    """

    def __init__(
        self,
        k: int,
        noise: NoiseScheme,
        n_ctx: int,
        d_vocab: int,
        source: str | None = None,
        layer: int = 0,
        noise_scale: float = 1.0,
        compile: bool = False,
        seed: int | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        seed = 0 if seed is None else seed
        checkpoint = _read_source(source)
        settings = _settings_of(checkpoint)
        for name, present in {"n_ctx": n_ctx, "d_vocab": d_vocab}.items():
            if present != settings[name]:
                reject(name, present, f"{settings[name]}, as in the source {source}")
        net = Transformer(**settings)
        net.load_state_dict({name.removeprefix("net."): value for name, value in checkpoint["state_dict"].items()})
        widened = widen(net, layer, k, noise, noise_scale, seed)

        settings |= {"d_mlp": widened.d_mlps, "mid_ln_eps": _mid_ln_epss(widened) or settings["mid_ln_eps"]}
        super().__init__(**settings | {"seed": seed}, compile=compile, optimizer=optimizer, lr_scheduler=lr_scheduler)
        self.save_hyperparameters(
            {"source": source, "layer": layer, "k": k, "noise": noise, "noise_scale": noise_scale}
        )
        self.net = widened
        self.layer, self.k = layer, k
        self.tokenizer_hash = checkpoint.get("tokenizer_hash")
        # Autograd records nothing below the first parameter that trains: what precedes the MLP costs a forward pass.
        self.requires_grad_(False)
        self.mlp.requires_grad_(True)

    @property
    def mlp(self) -> MLP:
        """The widened MLP."""
        mlp = self.net.layers[self.layer].mlp
        assert isinstance(mlp, MLP)
        return mlp

    def neuron_copies(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Input and output weights of the copies, `[n_neurons, k, d_model]` each, by layer."""
        W, V = self.mlp.fc_in.weight, self.mlp.fc_out.weight.T
        return {self.layer: (W.unflatten(0, (-1, self.k)), V.unflatten(0, (-1, self.k)))}

    def _lr_scale(self, name: str) -> float:
        """That of the source's weights, times what multiplied the weights themselves."""
        scale = super()._lr_scale(name)
        if not name.endswith("mlp.fc_out.weight"):
            return scale
        of_source = scale * self.k if self.net.init == "by_width" else scale  # it was divided by the present width
        return of_source * output_scale(self.net.activation, self.k)


def _read_source(source: str | None) -> dict[str, Any]:
    """The checkpoint of a language model."""
    if source is None:
        reject("source", source, "the path of a checkpoint of a LanguageModel")
    try:
        checkpoint = read_checkpoint(source)
    except UserError as error:
        raise UserError(str(error).replace("ckpt_path", "source", 1)) from error
    if "net.tok_embed.weight" not in checkpoint.get("state_dict", {}):
        reject("source", source, "a checkpoint of a LanguageModel")
    return checkpoint


def _settings_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Transformer` among the hyper-parameters."""
    saved = checkpoint["hyper_parameters"]
    return {name: saved[name] for name in signature(Transformer).parameters if name in saved}


def _mid_ln_epss(net: Transformer) -> list[float]:
    """Epsilon of the LayerNorm over the neurons of each layer; none if there are no such LayerNorms."""
    norms = [getattr(layer.mlp, "ln", None) for layer in net.layers]
    return [norm.eps for norm in norms if isinstance(norm, nn.LayerNorm)]
