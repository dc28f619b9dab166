"""`sup export`."""

from collections.abc import Sequence

from jsonargparse import ActionYesNo
from rich.console import Console

from sup_lightning.interop.exports import export as write_export
from sup_lightning.interop.hub import push
from sup_lightning.lightning_cli import SupArgumentParser


def export(arguments: Sequence[str]) -> None:
    """Write a trained language model as a folder, and share it if asked."""
    parser = SupArgumentParser(
        prog="sup export", description="Write a language model for use anywhere: weights, settings, tokenizer."
    )
    parser.add_argument("checkpoint", type=str, help="A checkpoint, or a run directory.")
    parser.add_argument("--to", type=str, required=True, help="The folder to write.")
    parser.add_argument(
        "--check",
        action=ActionYesNo(yes_prefix="", no_prefix="no-"),
        default=True,
        help="Compare the export as a TransformerLens model with the checkpoint (the default).",
    )
    parser.add_argument("--overwrite", action="store_true", help="Replace an older export.")
    parser.add_argument("--push-to-hub", type=str | None, help="Also upload it to owner/name on the Hugging Face hub.")
    given = parser.parse_args(list(arguments))
    folder = write_export(given.checkpoint, given.to, given.check, given.overwrite)
    console = Console()
    console.print(f"Export: {folder}{'' if given.check else ' (not checked)'}", soft_wrap=True, highlight=False)
    if given.push_to_hub:
        console.print(f"On the hub: {push(folder, given.push_to_hub)}", soft_wrap=True, highlight=False)
