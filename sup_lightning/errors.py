"""The one exception that a user is meant to read."""

import difflib
from collections.abc import Iterable
from typing import Any, NoReturn


class UserError(ValueError):
    """A setting, file or state that the user can put right.

    The message is one line: the option, the value it has, and what is allowed. The command line prints it without a
    traceback and exits with status 2.
    """


def reject(option: str, value: Any, allowed: str) -> NoReturn:
    """Raise the standard message for a bad setting.

    >>> reject("feature_probability", 1.5, "a number in (0, 1]")
    Traceback (most recent call last):
    ...
    sup_lightning.errors.UserError: feature_probability is 1.5; allowed: a number in (0, 1]
    """
    raise UserError(f"{option} is {value!r}; allowed: {allowed}")


def require_positive(**sizes: int) -> None:
    """Reject the first of the named sizes that is not a positive integer."""
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            reject(name, value, "a positive integer")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the known name nearest to a misspelt one, or nothing.

    >>> did_you_mean("n_featres", ["n_features", "n_hidden"])
    ' (did you mean n_features?)'
    """
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {nearest[0]}?)" if nearest else ""
