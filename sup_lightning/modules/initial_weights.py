"""Initial weights from a file, by name, and the hashes that prove two models began alike."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sup_lightning.checkpoint_io import read_checkpoint
from sup_lightning.errors import UserError, reject


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of a language model, or in a file of safetensors, by the network's own names.

    Raises:
        UserError: If the file cannot be read.
    """
    if Path(path).suffix != ".safetensors":
        state = read_checkpoint(path)["state_dict"]
        return {name.removeprefix("net."): value for name, value in state.items() if name.startswith("net.")}
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"init_from is {str(path)!r}, which cannot be read ({error}); allowed: safetensors") from error


@torch.no_grad()
def take_weights(net: nn.Module, path: str | Path) -> None:
    """Set every parameter that the file has under the same name and in the same shape; leave the others.

    Raises:
        UserError: If no parameter matches.
    """
    weights = read_weights(path)
    taken = 0
    for name, parameter in net.named_parameters():
        if name in weights and weights[name].shape == parameter.shape:
            parameter.copy_(weights[name])
            taken += 1
    if not taken:
        reject("init_from", str(path), "a file with a weight of the same name and shape; this one has none")


def weight_hashes(module: nn.Module) -> dict[str, str]:
    """A hash of each parameter's values, by name: two models share what has the same hash."""
    return {
        name: hashlib.blake2b(parameter.detach().cpu().contiguous().numpy().tobytes(), digest_size=8).hexdigest()
        for name, parameter in module.named_parameters()
    }
