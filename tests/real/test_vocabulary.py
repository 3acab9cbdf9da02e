import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.real import Vocabulary

LINES = ("to be, or not to be, that is the question:\nwhether 'tis nobler in the mind to suffer\n"
         "the slings and arrows of outrageous fortune,\nor to take arms against a sea of troubles\n")


@given(st.text(max_size=80))
def test_round_trip_is_exact(text):
    if len(set(text.lower())) < 2:
        text += "ab"
    vocabulary = Vocabulary.characters(text)
    tokens = vocabulary.encode(text)
    assert vocabulary.decode(tokens) == text.lower()
    assert tokens.dtype == torch.int64 and int(tokens.min()) >= 0 and int(tokens.max()) < vocabulary.v
    assert len(tokens) == len(text.lower())


@given(st.text(alphabet="".join(sorted(set(LINES))), max_size=80))
def test_round_trip_of_other_text_over_the_alphabet(text):
    vocabulary = Vocabulary.characters(LINES)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_characters_are_sorted_and_rare_ones_share_a_symbol():
    vocabulary = Vocabulary.characters(["aab", "BBc7é"], min_count=2)
    assert vocabulary.symbols == ("a", "b", "�") and vocabulary.rare == "7cé" and vocabulary.v == 3
    assert vocabulary.encode("ABCé").tolist() == [0, 1, 2, 2]
    assert vocabulary.decode(vocabulary.encode("ABCé")) == "ab��"
    with pytest.raises(ValueError, match=re.escape("'z' (U+007A) at character 1")):
        Vocabulary.characters("ab").encode("azzy")


@pytest.mark.parametrize(("text", "message"), [
    ("to z", "'z' .U\\+007A. at character 3"), ("\ufffd", "U\\+FFFD"), ("to \U0001f600", "U\\+1F600"),
    ("ą", "U\\+0105"),
])
def test_symbols_outside_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.characters(LINES).encode(text)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: Vocabulary.characters(""), "at least two"),
    (lambda: Vocabulary.characters("aaaa"), "at least two"),
    (lambda: Vocabulary.characters("abc", min_count=2), "at least two"),
    (lambda: Vocabulary.characters("abc", min_count=0), "min_count = 0"),
    (lambda: Vocabulary.characters("abc").decode(torch.tensor([0, 3])), "tokens = \\(0, 3\\)"),
    (lambda: Vocabulary.characters("abc").decode(torch.tensor([-1])), "tokens"),
    (lambda: Vocabulary.characters("abc").decode(torch.tensor([[0]])), "tokens"),
    (lambda: Vocabulary.characters("abc").decode(torch.tensor([0.0])), "tokens"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_empty_text_is_text_and_equal_alphabets_are_equal():
    vocabulary = Vocabulary.characters("abc")
    assert vocabulary.decode(vocabulary.encode("")) == ""
    assert hash(vocabulary) == hash(Vocabulary.characters("cba")) and vocabulary == Vocabulary.characters("cba")
