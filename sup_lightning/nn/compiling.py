"""Whether models can be compiled here."""

import importlib.util
import os
import shutil


def missing_toolchain(device: str) -> str | None:
    """What `torch.compile` lacks on a type of device, or None if nothing is missing.

    On a CPU it writes C++, on other devices it goes through Triton.
    """
    if device == "cpu":
        named = os.environ.get("CXX")
        found = shutil.which(named) if named else next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
        return None if found else "a C++ compiler"
    return None if importlib.util.find_spec("triton") else "Triton"
