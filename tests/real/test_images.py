import hashlib
import importlib.util
import pickle
import re
import socket
import struct
import sys
import types
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from scipy import stats
from torch.nn.functional import unfold

from hierlib.lab import generator
from hierlib.real import images
from hierlib.real.images import _patches


def numbered(*shapes: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    """Images whose pixels, in all of them together, are numbered from 0, so that every pixel tells where it was."""
    numbers = torch.arange(sum(c * h * w for c, h, w in shapes)).float()
    parts = numbers.split([c * h * w for c, h, w in shapes])
    return {f"i{k}": part.view(shape) for k, (part, shape) in enumerate(zip(parts, shapes))}


def test_photographs_are_the_files_of_the_packages(photographs):
    assert tuple(photographs) == images.NAMES and len(images.NAMES) == 8
    assert {x.shape[1:] for x in photographs.values()} == {
        (256, 256), (150, 225), (200, 300), (213, 320), (250, 370)}
    assert all(x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1 for x in photographs.values())
    folder = importlib.util.find_spec("skimage").submodule_search_locations[0]
    pixels = imread(f"{folder}/data/chelsea.png").astype(np.float64)[:, :, :3]           # matplotlib's own reader
    pooled = pixels[:300, :450].reshape(150, 2, 225, 2, 3).mean((1, 3))
    np.testing.assert_allclose(photographs["chelsea"][0], pooled @ [.299, .587, .114], atol=1e-6)
    assert list(images.photographs(["rocket", "camera"])) == ["rocket", "camera"]


def test_photographs_need_neither_network_nor_import(photographs, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = set(sys.modules)
    again = images.photographs()
    assert all(torch.equal(again[name], x) for name, x in photographs.items())
    assert not {m.split(".")[0] for m in set(sys.modules) - before} & {"skimage", "sklearn", "pooch", "urllib"}


def test_photographs_say_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"'astronaut'.*skimage.*pip install scikit-image scikit-learn"):
        images.photographs()


def radial_slope(x: torch.Tensor) -> float:
    """Slope of the power spectrum in log-log, mean over rings between .02 and .4 cycles per pixel, Hann window."""
    height, width = x.shape
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)
    power = torch.fft.fft2((x - x.mean()) * window).abs().square()
    f = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None])
    rings = [(lo, hi) for lo, hi in zip(np.geomspace(.02, .4, 16)[:-1], np.geomspace(.02, .4, 16)[1:])]
    inside = [(f >= lo) & (f < hi) for lo, hi in rings]
    return stats.linregress([f[i].log().mean() for i in inside], [power[i].mean().log() for i in inside]).slope


def test_power_spectrum_of_natural_scenes(photographs):
    slopes = {name: radial_slope(x[0]) for name, x in photographs.items()}
    assert all(-3.3 < slope < -1.7 for slope in slopes.values()), slopes      # measured -2.95 … -2.17
    assert -2.9 < np.median(list(slopes.values())) < -2.2                     # measured -2.6; 1/f² is -2
    noise = torch.randn(200, 300, generator=generator(0, "test"))
    assert abs(radial_slope(noise)) < .2, "white noise is flat"


def everywhere(whole, size):
    """All patches of all images, by torch's own unfold; at every place one."""
    return torch.cat([unfold(x[None], size)[0].T.view(-1, len(x), size, size) for x in whole.values()])


def excess_kurtosis(x: torch.Tensor) -> torch.Tensor:
    """Excess kurtosis of the principal components."""
    x = x.flatten(1).double() - x.flatten(1).double().mean(0)
    s = x @ torch.linalg.eigh(x.T @ x).eigenvectors
    return torch.from_numpy(stats.kurtosis(s.numpy()))


def test_principal_components_have_heavy_tails(photographs):
    for part, expected in zip(images.split(photographs), (12.9, 15.7)):
        kurtosis = excess_kurtosis(torch.cat([unfold(x[None], 8, stride=2)[0].T for x in part.values()]))
        assert kurtosis.median() == pytest.approx(expected, rel=.1)           # no sampling: decoders of JPEG may differ
    assert excess_kurtosis(torch.randn(30000, 64, generator=generator(0, "test"))).abs().max() < .2


def test_split_shares_no_pixel():
    whole = numbered((1, 5, 40), (1, 7, 21))
    train, test = images.split(whole)
    assert [x.shape for x in train.values()] == [(1, 5, 30), (1, 7, 16)]
    seen = torch.cat([x.flatten() for part in (train, test) for x in part.values()]).sort().values
    assert torch.equal(seen, torch.arange(5 * 40 + 7 * 21).float())
    for name, x in whole.items():
        assert torch.equal(torch.cat([train[name], test[name]], -1), x), "training left, test right"


def patches(whole, size, n, seed):
    return _patches([x[None] for x in whole.values()], size, n, generator(seed, "test"))


def test_patches_are_uniform_over_the_places_of_all_images():
    whole = numbered((2, 6, 9), (2, 4, 5))
    drawn, _ = patches(whole, 3, 20000, seed=1)
    possible = everywhere(whole, 3)
    first = {int(x[0, 0, 0]): k for k, x in enumerate(possible)}
    where = torch.tensor([first[int(x[0, 0, 0])] for x in drawn])
    assert torch.equal(possible[where], drawn)
    assert len(possible) == 4 * 7 + 2 * 3
    assert stats.chisquare(torch.bincount(where, minlength=len(possible))).pvalue > .001
    assert torch.equal(patches(whole, 3, 50, seed=1)[0], drawn[:50]), "nested in n"
    assert not torch.equal(patches(whole, 3, 50, seed=2)[0], drawn[:50])


def test_groups_are_blocks_of_about_64_pixels_around_the_centre():
    whole = numbered((1, 128, 200), (1, 20, 64))              # 2 × 3 blocks of 64 × 66.7 pixels, and 1 × 1
    x, groups = patches(whole, 16, 3000, seed=3)
    assert groups.dtype == torch.int64
    corner = x[:, 0, 0, 0].long()
    row, column = corner // 200 + 8, corner % 200 + 8
    expected = (row >= 64) * 3 + (column >= 200 / 3).long() + (column >= 400 / 3)
    assert torch.equal(groups, torch.where(corner < 128 * 200, expected, 6))
    assert groups.unique().tolist() == list(range(7))


def test_standardise():
    x = torch.randn(500, 1, 4, 4, generator=generator(0, "test")) * 0.3 + 7
    scale = images.Standardise.fit(x)
    assert scale.mean == pytest.approx(float(x.double().mean()), abs=1e-6)
    assert scale.std == pytest.approx(float(x.numpy().astype(np.float64).std()), rel=1e-6)
    z = scale.apply(x)
    assert abs(float(z.mean())) < 1e-4 and float(z.std(correction=0)) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(scale.invert(z), x, rtol=1e-5, atol=1e-5)
    assert scale.apply(torch.tensor([7.])) != 0, "only what it was fitted on gets mean 0"


def batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A file of CIFAR-10 byte by byte as Python 2 wrote it: protocol 2, str where Python 3 has bytes."""
    def string(s: bytes) -> bytes:
        return b"U" + bytes([len(s)]) + s if len(s) < 256 else b"T" + struct.pack("<i", len(s)) + s

    def number(k: int) -> bytes:
        return b"K" + bytes([k]) if 0 <= k < 256 else b"J" + struct.pack("<i", k)

    dtype = (b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|") + b"NNN" + number(-1)
             + number(-1) + b"K\x00tb")
    array = (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R(K\x01"
             + number(len(pixels)) + number(3072) + b"\x86" + dtype + b"\x89" + string(pixels.tobytes()) + b"tb")
    return (b"\x80\x02}q\x01(" + string(b"batch_label") + string(b"training batch 1 of 5")
            + string(b"labels") + b"](" + b"".join(map(number, labels)) + b"e" + string(b"data") + array
            + string(b"filenames") + b"](" + b"".join(string(b"cat_%d.png" % k) for k in labels) + b"eu.")


def made(seed: int, n: int = 4) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3072), dtype=np.uint8), rng.integers(0, 10, n).tolist()


class Stand:
    """What hierlib uses of CIFAR10 in torchvision 0.28: it reads all files or none, by their checksums `sums`."""

    fetch = staticmethod(lambda root: None)

    def __init__(self, root: str, train: bool = True, download: bool = False):
        folder = Path(root) / "cifar-10-batches-py"
        def good():
            return all((folder / name).is_file() and hashlib.md5((folder / name).read_bytes()).hexdigest() == md5
                       for name, md5 in self.sums.items())
        if download and not good():
            self.fetch(root)
        if not good():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        parts = [pickle.loads((folder / name).read_bytes(), encoding="latin1")
                 for name in self.sums if name.startswith("data" if train else "test")]
        self.data = np.vstack([part["data"] for part in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        self.targets = [label for part in parts for label in part["labels"]]


def genuine():
    """Return torchvision's own class, or None where there is none that this torch can import."""
    try:
        from torchvision.datasets import CIFAR10
        return CIFAR10
    except Exception:
        return None


@pytest.fixture(params=["stand-in"] + ["torchvision"] * (genuine() is not None))
def cifar(request, tmp_path, monkeypatch):
    """A small CIFAR-10: five training batches of 4 images, seeds 1 … 5, and a test batch, seed 6."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for k in range(1, 6):
        (folder / f"data_batch_{k}").write_bytes(batch(*made(k)))
    (folder / "test_batch").write_bytes(batch(*made(6)))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    if request.param == "stand-in":
        kind = type("CIFAR10", (Stand,), {"sums": sums})
    else:
        meta = folder / "batches.meta"
        meta.write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, 2))
        sums["batches.meta"] = hashlib.md5(meta.read_bytes()).hexdigest()
        kind = type("CIFAR10", (genuine(),), {
            "train_list": [[name, sums[name]] for name in sums if name.startswith("data")],
            "test_list": [["test_batch", sums["test_batch"]]],
            "meta": {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]},
            "download": lambda self: self._check_integrity() or self.fetch(self.root)})
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", types.SimpleNamespace(CIFAR10=kind))
    return tmp_path


def fetching(monkeypatch, fetch):
    monkeypatch.setattr(sys.modules["torchvision.datasets"].CIFAR10, "fetch", staticmethod(fetch), raising=False)


def test_the_made_file_is_a_pickle():
    content = pickle.loads(batch(*made(6)), encoding="bytes")
    assert np.array_equal(content[b"data"], made(6)[0]) and content[b"labels"] == made(6)[1]


def test_cifar10(cifar):
    x, labels = images.cifar10(cifar)
    assert x.shape == (20, 1, 32, 32) and x.dtype == torch.float32
    assert labels.tolist() == [label for k in range(1, 6) for label in made(k)[1]]
    third = made(3)[0][1].reshape(3, 32, 32)             # image 1 of batch 3: red rows first, then green, then blue
    np.testing.assert_allclose(x[9, 0], np.tensordot([.299, .587, .114], third / 255, 1), atol=1e-6)
    assert images.cifar10(str(cifar / "cifar-10-batches-py"), train=False)[0].shape == (4, 1, 32, 32)


def test_cifar10_says_what_is_missing(cifar, monkeypatch):
    (cifar / "cifar-10-batches-py/data_batch_4").unlink()
    with pytest.raises(FileNotFoundError, match=r"the undamaged folder cifar-10-batches-py .*download=True"):
        images.cifar10(cifar)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    for download in (False, True):
        with pytest.raises(FileNotFoundError, match="pip install torchvision"):
            images.cifar10(cifar, download=download)


def test_a_torchvision_for_another_torch_is_as_none(cifar, photographs, tmp_path, monkeypatch):
    """Its import fails with torch's RuntimeError, not with an ImportError."""
    (tmp_path / "broken/torchvision").mkdir(parents=True)
    (tmp_path / "broken/torchvision/__init__.py").write_text("raise RuntimeError('operator nms does not exist')\n")
    monkeypatch.delitem(sys.modules, "torchvision")
    monkeypatch.delitem(sys.modules, "torchvision.datasets")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    with pytest.raises(FileNotFoundError, match=r"\(RuntimeError: operator nms.*pip install torchvision`"):
        images.cifar10(cifar)
    assert re.search("; CIFAR-10 is not in .*RuntimeError", images.natural(8, 9, n_test=5, root=cifar).source)


def test_cifar10_downloads_by_torchvision_when_asked(cifar, monkeypatch):
    calls = []

    def fetch(root):
        calls.append(root)
        (cifar / "cifar-10-batches-py/data_batch_4").write_bytes(batch(*made(4)))

    fetching(monkeypatch, fetch)
    images.cifar10(cifar, download=True)
    assert not calls, "all there: nothing to fetch"
    (cifar / "cifar-10-batches-py/data_batch_4").unlink()
    assert len(images.cifar10(cifar, download=True)[0]) == 20
    assert calls == [str(cifar)]


@pytest.mark.parametrize("damage", ["no network", "damaged archive", "half of the files"])
def test_a_failed_download_is_named_and_natural_falls_back(cifar, photographs, monkeypatch, damage):
    def fetch(root):
        if damage == "no network":
            raise urllib.error.URLError("Temporary failure in name resolution")
        if damage == "damaged archive":
            raise RuntimeError("File not found\nor corrupted.")              # torchvision's, on a wrong checksum

    fetching(monkeypatch, fetch)
    (cifar / "cifar-10-batches-py/data_batch_4").unlink()
    why = {"no network": r"cannot be read \(URLError: .*name resol", "damaged archive": "RuntimeError.*corr",
           "half of the files": r"cannot be read \(RuntimeError: Dataset not found or corrupted"}[damage]
    with pytest.raises(FileNotFoundError, match=rf"(?s)CIFAR-10 is not in {str(cifar)!r}.*{why}"):
        images.cifar10(cifar, download=True)
    data, plain = images.natural(8, 9, n_test=5, root=cifar, download=True), images.natural(8, 9, n_test=5)
    assert torch.equal(data.train, plain.train) and data.source.startswith(plain.source + "; CIFAR-10 is not in")
    assert re.search(why, data.source) and "\n" not in data.source


class _Evil:
    def __reduce__(self):
        return exec, ("import sys; sys._hierlib_was_here = True",)


@pytest.mark.parametrize("content", [pickle.dumps({"data": _Evil(), "labels": [1]}), b"", b"not a pickle"], ids=len)
def test_natural_falls_back_from_a_damaged_file_and_runs_nothing(cifar, photographs, content):
    (cifar / "cifar-10-batches-py/test_batch").write_bytes(content)
    with pytest.raises(FileNotFoundError, match=r"\(RuntimeError: Dataset not found or corr.*the undamaged folder"):
        images.cifar10(cifar, train=False)
    data = images.natural(8, 9, n_test=5, root=cifar)
    assert "photographs" in data.source and re.search("the undamaged folder", data.source)
    assert not hasattr(sys, "_hierlib_was_here")


def test_home_folder_is_expanded(cifar, photographs, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(cifar.parent))
    monkeypatch.chdir(tmp_path)
    home, roots = f"~/{cifar.name}", []
    assert torch.equal(images.cifar10(home)[0], images.cifar10(cifar)[0])
    assert images.natural(24, 3, n_test=2, root=home).source.startswith("CIFAR-10")
    fetching(monkeypatch, roots.append)
    with pytest.raises(FileNotFoundError):
        images.cifar10("~/elsewhere", download=True)
    assert roots == [str(cifar.parent / "elsewhere")] and not (tmp_path / "~").exists()


def test_natural_from_cifar(cifar):
    data = images.natural(24, 200, n_test=50, root=cifar, seed=2)
    assert data.train.shape == (200, 1, 24, 24) and data.test.shape == (50, 1, 24, 24)
    assert data.source == "CIFAR-10: 24 × 24 crops of 20 training and 4 test images"
    train, test = (images.cifar10(cifar, train=flag)[0] for flag in (True, False))
    assert data.scale == images.Standardise.fit(train)
    for x, groups, whole in ((data.train, data.train_groups, train), (data.test, data.groups, test)):
        assert groups.unique().tolist() == list(range(len(whole))), "one block for each image"
        for patch, group in zip(data.scale.invert(x), groups):
            windows = whole[group, 0].unfold(0, 24, 1).unfold(1, 24, 1)
            assert ((windows - patch[0]).abs().amax((-2, -1)) < 1e-5).any(), "a crop of that very image"


def test_natural_from_photographs(photographs, tmp_path):
    data = images.natural(8, 4000, n_test=1000, seed=5)
    assert data.train.shape == (4000, 1, 8, 8) and data.test.shape == (1000, 1, 8, 8)
    assert data.source.startswith("8 photographs of scikit-image and scikit-learn") and "\n" not in data.source
    train, test = images.split(photographs)
    assert data.scale == images.Standardise.fit(torch.cat([x.flatten() for x in train.values()]))
    for x, part in ((data.train, train), (data.test, test)):
        possible = everywhere(part, 8).flatten(1)
        for patch in data.scale.invert(x[:20]).flatten(1):
            assert (possible - patch).abs().amax(1).min() < 1e-5
    assert abs(float(data.train.mean())) < .1 and abs(float(data.train.std()) - 1) < .1
    assert len(data.groups) == 1000 and len(data.groups.unique()) == 26 and len(data.train_groups.unique()) == 94
    assert not torch.equal(data.train[:1000], data.test)
    other = images.natural(8, 100, n_test=1000, root=tmp_path, seed=5)
    assert f"CIFAR-10 is not in {str(tmp_path)!r}" in other.source, "the fall-back is not silent"
    assert torch.equal(other.train, data.train[:100]) and torch.equal(other.test, data.test)
    assert not torch.equal(images.natural(8, 100, n_test=10, seed=6).train, other.train)


ONE = torch.zeros(1, 8, 8)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "message"), [
    (lambda: images.photographs(["lena"]), "names = 'lena'.*astronaut"),
    (lambda: images.split({}), "images"),
    (lambda: images.split(ONE), "images = 'Tensor'"),
    (lambda: images.split({"a": ONE[0]}), "images"),
    (lambda: images.split({"a": ONE.long()}), "images"),
    (lambda: images.split({"a": ONE[..., :2]}), "images.*at least 3 columns"),
    (lambda: images.split({"a": ONE, "b": torch.zeros(3, 8, 8)}), "images.*same number of channels"),
    (lambda: images.Standardise(0.0, 0.0), "std = 0.0"),
    (lambda: images.Standardise(float("nan"), 1.0), "mean"),
    (lambda: images.Standardise.fit(torch.ones(3, 3)), "std"),
    (lambda: images.natural(99, 10, n_test=5), "size = 99.*5[0-9] pixels"),
    (lambda: images.natural(0, 10, n_test=5), "size = 0"),
    (lambda: images.natural(8, 0, n_test=5), "n = 0"),
    (lambda: images.natural(8, 10, n_test=0), "n_test = 0"),
    (lambda: images.natural(8, 10, n_test=5, download=True), "download = True"),
])
def test_bad_input(photographs, call, message):
    with pytest.raises(ValueError, match=message):
        call()
