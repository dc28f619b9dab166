"""The losses that counting tokens achieves on a text.

Run it as `python -m benchmarks.ngram --data configs/data/text_stdlib.yaml`.
"""

from sup_lightning.data.language import TextData
from sup_lightning.data.ngram import ngram_baselines


def main(data: TextData) -> None:
    """Print the unigram, bigram and trigram losses of a text.

    Args:
        data: The text and how it is cut into windows.
    """
    data.prepare_data()
    data.setup()
    baselines = ngram_baselines(data)
    for name in ("unigram", "bigram", "trigram"):
        nats = getattr(baselines, name)
        print(f"{name:8} {nats:.4f} nats per token, {baselines.bits_per_byte(nats):.4f} bits per byte")


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(main, as_positional=False)
