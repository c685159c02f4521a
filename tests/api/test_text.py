"""Text of others as it is printed: nothing left that a terminal obeys or a reader cannot see."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.api.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with ümläuts and 日本", "plain, with ümläuts and 日本"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("one\nline\r", r"one\nline\r"),
        ("\x9b31m", r"\x9b31m"),  # CSI in one character
        ("abc\u202ecba", r"abc\u202ecba"),
        ("\u2028\u2029\u200b\ufeff", r"\u2028\u2029\u200b\ufeff"),
        ("\ud800\U000e0001", r"\ud800\U000e0001"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_unsafe_is_left(text: str) -> None:
    shown = printable(text)
    shown.encode()  # no surrogate is left
    assert not {unicodedata.category(character)[0] for character in shown} & {"C"}
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
