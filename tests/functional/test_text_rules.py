"""Rules of text against the same rules written for strings."""

import re

import pytest
import torch

from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.functional.text_rules import RUN_LENGTH, UNKNOWN, since_last, text_rules

TEXTS = [*'ab"#. ', "\n", "\n\n", '""', " 12", "3", "Q7f", " zz", "x/+", "\n  "]


@pytest.fixture(scope="module")
def windows() -> torch.Tensor:
    draws = keyed_uniform("windows", [0], 0, (60, 40))[0]
    return (draws * len(TEXTS)).long()


def texts_up_to(window: list[int], place: int) -> list[str]:
    return [TEXTS[token] for token in window[: place + 1]]


def expected(rule: str, seen: list[str]) -> int:
    text, last, previous = "".join(seen), seen[-1], seen[-2] if len(seen) > 1 else None
    if rule == "number":
        return int(bool(re.search(r"\d", last)))
    if rule.startswith("after") or rule == "first on its line":
        kinds = {"after a number": r"\d", "after punctuation": r'^["#.]+$', "first on its line": r"\n"}
        return UNKNOWN if previous is None else int(bool(re.search(kinds[rule], previous)))
    if rule == "in a comment":
        return int("#" in text.rpartition("\n")[2]) if "\n" in text else UNKNOWN
    if rule == "base64":
        run = re.search(r"[A-Za-z0-9+/=]*$", text)[0]
        mixed = all(re.search(kind, run) for kind in ("[A-Z]", "[a-z]", "[0-9]"))
        return int(mixed and len(run) >= RUN_LENGTH)
    assert rule == "inside quotes"
    # A paragraph starts at a token with two line ends, or with one after a token with one.
    starts = [
        place
        for place, token in enumerate(seen)
        if token.count("\n") > 1 or ("\n" in token and place > 0 and "\n" in seen[place - 1])
    ]
    return "".join(seen[starts[-1] :]).count('"') % 2 if starts else UNKNOWN


def test_rules_say_what_the_text_says(windows: torch.Tensor) -> None:
    found = text_rules(TEXTS, windows)
    for rule, labels in found.items():
        assert labels.shape == windows.shape
        assert all(
            int(labels[row, place]) == expected(rule, texts_up_to(window, place))
            for row, window in enumerate(windows.tolist())
            for place in range(len(window))
        ), rule
        if rule != "base64":
            assert 0 < int((labels == 1).sum()) < int((labels >= 0).sum())


def test_a_long_mixed_run_is_base64() -> None:
    token = {text: number for number, text in enumerate(TEXTS)}
    pieces = [" zz", *["Q7f"] * 6, "x/+", ".", "Q7f", *["a"] * 20, *["b"] * 30]
    labels = text_rules(TEXTS, torch.tensor([[token[piece] for piece in pieces]]))["base64"][0].tolist()
    #  2 + 18 characters are reached by the sixth piece; then ".", and 3 + 17 characters by the 17th "a".
    assert labels == [0] * 6 + [1, 1] + [0] * 18 + [1] * 34


def test_no_rule_reads_ahead(windows: torch.Tensor) -> None:
    whole, part = text_rules(TEXTS, windows), text_rules(TEXTS, windows[:, :20])
    assert all(torch.equal(whole[rule][:, :20], part[rule]) for rule in whole)


def test_sums_since_a_reset() -> None:
    reset = keyed_uniform("reset", [0], 0, (20, 15))[0] < 0.2
    values = (keyed_uniform("values", [0], 0, (20, 15))[0] * 5).long()
    for row in range(20):
        total = UNKNOWN
        for place in range(15):
            value = int(values[row, place])
            total = value if reset[row, place] else total + value if total != UNKNOWN else UNKNOWN
            assert int(since_last(reset, values)[row, place]) == total
