"""One line out of the parser's account of what it could not accept."""

import inspect
import re
from abc import ABC
from collections.abc import Iterable, Iterator

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sup_lightning.errors import UserError, did_you_mean
from sup_lightning.nn.toy import ToyNetwork

_NOISE = re.compile(
    r"Does not validate|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value|Problem with given class_path|^$"
)
_KEY = re.compile(r'Parser key "([^"]+)":\s*(.*)')
_NOT_ACCEPTED = re.compile(r"Option '([^']+)' is not accepted")
_NO_CLASS = re.compile(r"Expected a (?:dot import path string: (\S+)|path but (\S+) either not accessible or invalid)")
_WRONG_TYPE = re.compile(r"Expected an? (.+?)\. Got value: (.*)")
_PLAIN_TYPE = re.compile(r"Expected an? <class '(float|int|bool|str)'>$", re.MULTILINE)
_UNRECOGNISED = re.compile(r"unrecognized arguments: --([\w.]+)")


def explain(message: str, options: Iterable[str] = ()) -> str:
    """The cause of a parser's error: option, value, what is allowed, and the nearest name where one is misspelt.

    Args:
        message: What jsonargparse says, up to some twenty lines.
        options: Names of the options that the parser knows.
    """
    if match := _UNRECOGNISED.search(message):
        return f"--{match[1]} is not an option{did_you_mean(match[1], options)}"
    keys: list[str] = []
    reasons: list[str] = []
    for line in message.splitlines():
        text = line.strip().removeprefix("- ").strip()
        if key := _KEY.match(text):
            keys.append(key[1])
            text = key[2].strip()
        if not _NOISE.search(text) and text not in reasons:
            reasons.append(text)
    where = ".".join(keys)
    if plain := _PLAIN_TYPE.findall(message):
        given = re.search(r"Given value: (.*)", message)
        if given and "NestedArg" not in given[1]:
            return f"{where} is {given[1]!r}; allowed: {', '.join(dict.fromkeys(plain))}"
    for reason in reasons:
        if match := _NOT_ACCEPTED.search(reason):
            name = match[1]
            return f"{_joined(where, name)} is not an option{did_you_mean(name, _known_arguments())}"
        if match := _NO_CLASS.search(reason):
            name = match[1] or match[2]
            return f"{where} is {name!r}, which is no class that is known{did_you_mean(name, _known_classes())}"
        if match := _WRONG_TYPE.search(reason):
            return f"{where} is {match[2]!r}; allowed: {_readable(match[1])}"
    rest = "; ".join(reasons) or message.strip()
    if not where:
        return rest
    return f"{where}.{rest}" if re.match(r"[\w.]+ is ", rest) else f"{where}: {rest}"  # a part has explained itself


def cause(error: BaseException) -> BaseException:
    """The user's mistake that an error was raised from, if there is one; else the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, UserError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _readable(type_text: str) -> str:
    """`typing.Literal['relu', 'linear']` as `relu, linear`; `<class 'int'>` as `int`."""
    if match := re.fullmatch(r"(?:typing\.)?Literal\[(.*)\]", type_text):
        return match[1].replace("'", "")
    return re.sub(r"<class '([\w.]+)'>", r"\1", type_text)


def _subclasses(base: type) -> Iterator[type]:
    subclass: type
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _selectable() -> set[type]:
    """Classes that a config can name: Lightning's kinds, and ours with all that is chosen by class path."""
    bases = (LightningModule, LightningDataModule, Callback, ToyNetwork, Optimizer, LRScheduler)
    found = {each for base in bases for each in _subclasses(base)}
    return found | {each for each in _subclasses(ABC) if each.__module__.startswith("sup_lightning.")}


def _known_classes() -> set[str]:
    return {each.__name__ for each in _selectable() if not each.__name__.startswith("_")}


def _known_arguments() -> set[str]:
    """Constructor arguments of our classes and of the trainer."""
    ours = [each for each in _selectable() if each.__module__.startswith("sup_lightning.")]
    names: set[str] = set()
    for each in [*ours, Trainer]:
        names.update(inspect.signature(each.__init__).parameters)  # type: ignore[misc]
    return names - {"self", "args", "kwargs"}
