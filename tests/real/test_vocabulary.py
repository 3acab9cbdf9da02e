import re
from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.real import Vocabulary
from hierlib.real.vocabulary import _merged

LINES = ("to be, or not to be, that is the question:\nwhether 'tis nobler in the mind to suffer\n"
         "the slings and arrows of outrageous fortune,\nor to take arms against a sea of troubles\n")
WORD = re.compile(r" ?\w+| ?[^\w\s]+|\s")


def slow_bpe(text, size):
    """The definition: count all pairs anew after each merge; the most frequent, then the smallest pair wins."""
    symbols = sorted(set(text))
    words = [[symbols.index(c) for c in word] for word in WORD.findall(text)]
    merges = []
    while len(symbols) < size:
        count = Counter(pair for word in words for pair in pairwise(word))
        if not count or max(count.values()) < 2:
            break
        best = sorted(count, key=lambda pair: (-count[pair], pair))[0]
        words = [slow_merge(word, best, len(symbols)) for word in words]
        symbols.append(symbols[best[0]] + symbols[best[1]])
        merges.append(best)
    return tuple(symbols), tuple(merges), [k for word in words for k in word]


def slow_merge(word, pair, new):
    for k in range(len(word) - 1):
        if (word[k], word[k + 1]) == pair:
            return [*word[:k], new, *slow_merge(word[k + 2:], pair, new)]
    return word


small = st.text(alphabet="ab c,\n", min_size=2, max_size=60).filter(lambda t: len(set(t)) > 1)


@given(small, st.integers(6, 20))
def test_bpe_is_the_slow_definition_in_training_and_encoding(text, size):
    fast = Vocabulary.bpe(text, size=size)
    symbols, merges, coded = slow_bpe(text, size)
    assert (fast.symbols, fast.merges) == (symbols, merges)
    assert fast.encode(text).tolist() == coded                        # the training text, merges in order


def test_bpe_on_english_against_the_definition():
    fast = Vocabulary.bpe(LINES, size=40)
    symbols, merges, coded = slow_bpe(LINES, 40)
    assert (fast.symbols, fast.merges) == (symbols, merges) and fast.v == 40
    assert fast.encode(LINES).tolist() == coded and len(coded) < 0.8 * len(LINES)
    assert "the" in fast.symbols and " to" in fast.symbols
    assert Vocabulary.bpe([LINES], size=40) == fast
    # a word that is cut in two by the end of a document is two words
    assert Vocabulary.bpe(["a", "ba", "ba"]).symbols[-1] == "ba" and Vocabulary.bpe("ababa").symbols[-1] == "ab"


def test_a_run_is_merged_from_the_left_and_ties_go_to_the_smaller_pair():
    assert Vocabulary.bpe("aaa aaa b", size=4).encode("aaaa").tolist() == [3, 3]
    assert Vocabulary.bpe("xy,xy,ab,ab", size=6).symbols[-1] == "ab"
    assert Vocabulary.bpe("abcd", size=99).v == 4                     # no pair occurs twice


@given(st.text(max_size=80), st.booleans(), st.booleans())
def test_round_trip_is_exact(text, lower, bpe):
    if len(set(text.lower() if lower else text)) < 2:
        text += "ab"
    make = Vocabulary.bpe if bpe else Vocabulary.characters
    vocabulary = make(text, size=300, lower=lower) if bpe else make(text, lower=lower)
    tokens = vocabulary.encode(text)
    assert vocabulary.decode(tokens) == (text.lower() if lower else text)
    assert tokens.dtype == torch.int64 and int(tokens.min()) >= 0 and int(tokens.max()) < vocabulary.v
    assert bpe or len(tokens) == len(text.lower() if lower else text)


@given(st.text(alphabet="".join(sorted(set(LINES))), max_size=80))
def test_round_trip_of_other_text_over_the_alphabet(text):
    for vocabulary in (Vocabulary.characters(LINES), Vocabulary.bpe(LINES, size=70)):
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_characters_are_sorted_and_rare_ones_share_a_symbol():
    vocabulary = Vocabulary.characters(["aab", "BBc7é"], min_count=2)
    assert vocabulary.symbols == ("a", "b", "�") and vocabulary.rare == "7cé" and vocabulary.v == 3
    assert vocabulary.decode(vocabulary.encode("ABCé")) == "ab��"
    assert Vocabulary.characters("aB", lower=False).symbols == ("B", "a")
    with pytest.raises(ValueError, match=re.escape("'B' (U+0042) at character 1")):
        Vocabulary.characters("ab", lower=False).encode("aB")
    assert Vocabulary.bpe("abab abab é", size=6, min_count=2).decode(torch.tensor([2, 3])) == "b�"


@pytest.mark.parametrize("make", [Vocabulary.characters, Vocabulary.bpe])
@pytest.mark.parametrize(("text", "message"), [
    ("to z", "'z' .U\\+007A. at character 3"), ("\ufffd", "U\\+FFFD"), ("to \U0001f600", "U\\+1F600"),
    ("ą", "U\\+0105"),
])
def test_symbols_outside_are_named(make, text, message):
    with pytest.raises(ValueError, match=message):
        make(LINES).encode(text)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: Vocabulary.characters(""), "at least two"),
    (lambda: Vocabulary.characters("aaaa"), "at least two"),
    (lambda: Vocabulary.characters("abc", min_count=2), "at least two"),
    (lambda: Vocabulary.characters("abc", min_count=0), "min_count = 0"),
    (lambda: Vocabulary.bpe("abc", size=2), "size = 2"),
    (lambda: Vocabulary.characters("abc").decode(torch.tensor([0, 3])), "tokens = \\(0, 3\\)"),
    (lambda: Vocabulary.characters("abc").decode(torch.tensor([-1])), "tokens"),
    (lambda: Vocabulary.characters("abc").decode(torch.tensor([[0]])), "tokens"),
    (lambda: Vocabulary.characters("abc").decode(torch.tensor([4]), mask="_"), "tokens"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_masks_are_shown_and_empty_text_is_text():
    vocabulary = Vocabulary.characters("abc")
    assert vocabulary.decode(torch.tensor([0, 3, 2]), mask="░") == "a░c"
    assert vocabulary.decode(vocabulary.encode("")) == ""
    assert hash(vocabulary) == hash(Vocabulary.characters("cba")) and vocabulary == Vocabulary.characters("cba")


def test_bpe_of_a_large_text_rewrites_only_words_that_hold_the_pair(monkeypatch):
    gen = torch.Generator().manual_seed(0)
    letters = torch.randint(97, 123, (20000, 8), generator=gen)
    words = ["".join(map(chr, row[: 2 + k % 7])) for k, row in enumerate(letters.tolist())]
    rank = (20000 ** torch.rand(180_000, generator=gen)).long()       # frequencies fall like 1/rank
    text = " ".join(words[k % 20000] for k in rank.tolist())
    assert len(text) > 900_000
    calls = []
    monkeypatch.setattr("hierlib.real.vocabulary._merged", lambda *args: calls.append(1) or _merged(*args))
    assert Vocabulary.bpe(text, size=27 + 256).v == 283
    assert len(calls) < sum(map(len, set(text.split()))), "each rewriting shortens a word"
