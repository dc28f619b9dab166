"""Language-model training speed: the whole `sup fit` against the loops that a researcher would otherwise write.

The peers are a plain loop over Hugging Face's GPT2LMHeadModel (tanh GELU, no dropout, fused attention; it stands for
nanoGPT) and one over TransformerLens' native model, both with fused AdamW, an untied unembedding, PyTorch's
cross-entropy, and nothing else: no logging, no validation, no checkpoint. `sup fit` runs with everything on:
TensorBoard, validation by genre, induction, neurons, samples and weights along the way, checkpoints, the progress line.
Its clock starts after ten steps, when the MLPs have been compiled; the time before is reported beside it. One layer,
float32 on a CPU, context 256, vocabulary 8192. The three sides take turns.

    python -m benchmarks.lm
    python -m benchmarks.lm --memory true
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from lightning.pytorch import Callback
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from sup_lightning import fit
from sup_lightning.functional.matmul_rate import matmul_rate
from sup_lightning.nn.estimate import estimate
from sup_lightning.nn.transformer import Transformer

Side = Literal["sup", "gpt2", "tl"]
CONFIG = Path(__file__).parents[1] / "configs" / "experiment" / "lm_gelu-1l.yaml"
SIZES = ((256, 1024), (64, 6400))
D_VOCAB, N_CTX, D_HEAD, WARM_UP = 8192, 256, 64, 10


class Clock(Callback):
    """Seconds from the end of step `WARM_UP` to the end of the last epoch, with all that happens in between."""

    started, ended = 0.0, 0.0

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == WARM_UP:
            Clock.started = time.perf_counter()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        Clock.ended = time.perf_counter()


def peer(side: Side, d_model: int, d_mlp: int) -> nn.Module:
    """The peer's model."""
    if side == "gpt2":
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=D_VOCAB, n_positions=N_CTX, n_embd=d_model, n_layer=1, n_head=d_model // D_HEAD, n_inner=d_mlp,
            activation_function="gelu_pytorch_tanh", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
            tie_word_embeddings=False, attn_implementation="sdpa", bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
        return GPT2LMHeadModel(config)
    from transformer_lens import TransformerBridge, TransformerBridgeConfig
    from transformer_lens.model_bridge.sources import native  # noqa: F401 - gives the class its boot_native

    config = TransformerBridgeConfig(
        d_model=d_model, d_head=D_HEAD, n_heads=d_model // D_HEAD, n_layers=1, n_ctx=N_CTX, d_vocab=D_VOCAB,
        d_mlp=d_mlp, act_fn="gelu_new", normalization_type="LN",
    )  # fmt: skip
    return TransformerBridge.boot_native(config)  # type: ignore[attr-defined]


def plain_loop(side: Side, d_model: int, d_mlp: int, batch_size: int) -> Callable[[int], float]:
    """A function from steps to the seconds that they take in the peer's loop."""
    model = peer(side, d_model, d_mlp).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    text = torch.randint(0, D_VOCAB, (100_000,))

    def logits(tokens: Tensor) -> Tensor:
        output = model(tokens)
        return output.logits if side == "gpt2" else output

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            places = torch.randint(0, len(text) - N_CTX - 1, (batch_size, 1)) + torch.arange(N_CTX + 1)
            windows = text[places]
            loss = F.cross_entropy(logits(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    return run


def sup_fit(d_model: int, d_mlp: int, batch_size: int, steps: int, threads: int) -> tuple[float, float]:
    """Seconds of a step of the whole `sup fit`, and seconds before the clock starts."""
    with tempfile.TemporaryDirectory() as runs:
        began = time.perf_counter()
        callbacks = ["GenreLoss", "InductionScore", "NeuronMonitor", "TextSamples", "WeightCheckpoints", "Throughput"]
        fit(
            CONFIG,
            runs=runs,
            threads=threads,
            data={"n_ctx": N_CTX, "d_vocab": D_VOCAB, "batch_size": batch_size, "steps_per_epoch": 100,
                  "val_windows": 32},
            model={"d_model": d_model, "n_heads": d_model // D_HEAD, "d_mlp": d_mlp, "activation": "gelu_new",
                   "recompute_mlp": d_mlp > 4 * d_model},
            trainer={"max_steps": steps + WARM_UP, "max_epochs": -1,
                     "callbacks": [{"class_path": name} for name in (*callbacks, "benchmarks.lm.Clock")]},
        )  # fmt: skip
    return (Clock.ended - Clock.started) / steps, Clock.started - began


def speed(threads: int, rounds: int, steps: int) -> None:
    """Print tokens per second of the three sides, and the share of the machine's matrix products that each achieves."""
    torch.set_num_threads(threads)
    most = matmul_rate(torch.device("cpu"), torch.float32)
    title = f"tokens per second; {threads} threads, matrix products {most / 1e9:.0f} GFLOP/s"
    table = Table("d_model, d_mlp", "GPT2LMHeadModel", "TransformerLens", "sup fit", "against the faster", title=title)
    for d_model, d_mlp in SIZES:
        loops = {side: plain_loop(side, d_model, d_mlp, batch_size=8) for side in ("gpt2", "tl")}  # type: ignore[arg-type]
        for loop in loops.values():
            loop(3)
        sup_fit(d_model, d_mlp, 8, WARM_UP, threads)  # prepares the text
        seconds: dict[str, list[float]] = {"gpt2": [], "tl": [], "sup": []}
        for _ in range(rounds):
            for side, loop in loops.items():
                seconds[side].append(loop(steps) / steps)
            ours, start_up = sup_fit(d_model, d_mlp, 8, 2 * steps, threads)
            seconds["sup"].append(ours)
        ratio = statistics.median(min(g, t) / s for g, t, s in zip(*seconds.values(), strict=True))
        net = Transformer(1, d_model, d_model // D_HEAD, D_VOCAB, N_CTX, d_mlp=d_mlp)
        flops = estimate(net, 1).flops_per_token
        rates = {side: 8 * N_CTX / statistics.median(values) for side, values in seconds.items()}
        shown = [f"{rate:,.0f} ({rate * flops / most:.0%})" for rate in rates.values()]
        table.add_row(f"{d_model}, {d_mlp}", *shown, f"{ratio:.2f} (after {start_up:.0f} s)")
    Console().print(table)


def main(threads: int = 2, rounds: int = 3, steps: int = 100, memory: bool = False, only: Side | None = None) -> None:
    """Measure speed, or memory at d_model = 64, d_mlp = 6400 with 32 windows in a batch.

    Args:
        threads: CPU threads of all sides.
        rounds: Turns of the three sides; medians are reported.
        steps: Steps of a turn.
        memory: Whether to measure the peak memory of a process of each side instead.
        only: In a process of its own: the side whose peak memory to print.
    """
    if only is not None:
        if only == "sup":
            sup_fit(64, 6400, 32, 5, threads)
        else:
            plain_loop(only, 64, 6400, batch_size=32)(5)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
    elif memory:
        for side in ("tl", "gpt2", "sup"):
            command = [sys.executable, "-m", "benchmarks.lm", "--only", side, "--threads", str(threads)]
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            print(f"{side}: peak {float(shown.split()[-1]):.2f} GB")
    else:
        speed(threads, rounds, steps)


if __name__ == "__main__":
    from benchmarks import lm  # the module whose clock the configuration names

    auto_cli(lm.main)
