"""`python -m sup_lightning` is `sup`."""

from sup_lightning.cli import main

if __name__ == "__main__":
    main()
