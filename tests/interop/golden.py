"""Writes the golden files: `python -m tests.interop.golden`, if the format changes on purpose.

A tiny model is trained for real; its checkpoint, its export and some of its logits must be readable ever after.
"""

import json
import shutil
import tempfile
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from sup_lightning.data import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.interop import export
from sup_lightning.modules import LanguageModel
from tests.helpers import ROOT

GOLDEN = ROOT / "tests" / "golden"
CHECKPOINT, EXPORT = GOLDEN / "checkpoint" / "model.ckpt", GOLDEN / "export"
LOGITS = GOLDEN / "checkpoint" / "logits.json"
PROMPT = "the cat sat"


def train(folder: Path, **options: object) -> Trainer:
    """A finished run of a tiny language model."""
    text = folder / "text"
    text.mkdir(parents=True)
    for number in range(40):
        (text / f"{number:02}.txt").write_text(
            f"the cat number {number} sat on the mat and saw {number + 1} dogs. " * 4
        )
    data = TextData(
        [LocalText([str(text)])], n_ctx=16, d_vocab=257, batch_size=8, steps_per_epoch=20, val_fraction=0.3,
        val_windows=8, cache_dir=str(folder / "cache"), min_documents_per_genre=1,
    )  # fmt: skip
    sizes = {"n_layers": 1, "d_model": 16, "n_heads": 2, "n_ctx": 16, "d_vocab": 257} | options
    model = LanguageModel(**sizes, optimizer=partial(torch.optim.SGD, lr=0.5))  # type: ignore[arg-type]
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, data)
    return trainer


def main() -> None:
    """Replace the golden files."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = train(Path(folder))
    trainer.save_checkpoint(CHECKPOINT)
    shutil.rmtree(EXPORT, ignore_errors=True)
    export(CHECKPOINT, EXPORT)
    model, tokenizer = trainer.lightning_module.net.eval(), trainer.datamodule.tokenizer  # type: ignore[attr-defined]
    tokens = tokenizer.encode(PROMPT).ids
    with torch.no_grad():
        logits = model(torch.tensor([tokens]))[0, -1]
    LOGITS.write_text(json.dumps({"tokens": tokens, "last_logits": [round(value, 7) for value in logits.tolist()]}))


if __name__ == "__main__":
    main()
