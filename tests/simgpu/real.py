"""Images, text and their statistics on the device."""

import torch

from hierlib import real
from hierlib.real import correlation, features, images, text
from tests.drawn import gen
from tests.simgpu.compare import both

PICTURES = {"a": torch.rand(1, 30, 40, generator=gen()),
            "b": torch.rand(1, 20, 24, generator=gen(1))}
TOKENS = torch.arange(900) % 3 + torch.randint(2, (900,), generator=gen())


def check_images():
    both(lambda d: images.split({name: x.to(d) for name, x in PICTURES.items()}))
    scale = images.Standardise.fit(PICTURES["a"].to("cuda"))
    both(lambda d: [scale.apply(PICTURES["a"].to(d)), scale.invert(PICTURES["b"].to(d))])


def check_text():
    for n in (None, 9):
        both(lambda d: text.windows([TOKENS[:150].to(d), TOKENS[150:].to(d)], 6, n, seed=1))
    vocabulary = real.Vocabulary.characters("abcab")
    assert vocabulary.decode(vocabulary.encode("cab").to("cuda")) == "cab"


def check_correlations():
    x, y = torch.randint(3, (60, 4), generator=gen()), torch.randint(3, (80, 4), generator=gen(1))
    x[:, 1], y[:, 1] = x[:, 0], y[:, 0]
    pairs = [torch.tensor([[0, 1]]), torch.tensor([[0, 2], [1, 3]])]
    for pool in (False, True):
        for given in (lambda d: pairs, lambda d: [p.to(d) for p in pairs], lambda d: pairs[0]):
            both(lambda d: correlation.pair_correlation(x.to(d), given(d), 3, pool=pool), tolerance=1e-9)
            both(lambda d: correlation.pair_overlap(x.to(d), y.to(d), given(d), 3, pool=pool), tolerance=1e-9)
    both(lambda d: (lambda found: [found.norm, found.norm_error])(correlation.pair_correlation(x.to(d), pairs, 3)))
    correlation.pair_overlap(x.to("cuda"), y, pairs, 3)
    both(lambda d: correlation.by_distance(x.to(d), 3, [1, 2]), tolerance=1e-9)


def check_features():
    x, y = torch.randn(50, 3, generator=gen()), torch.randn(45, 3, generator=gen(1))
    both(lambda d: list(features.mmd(x.to(d), y.to(d))), tolerance=1e-6)
    parts = [torch.randn(6, 3, 2, 2, generator=gen(2)), torch.randn(6, 5, generator=gen(3))]
    both(lambda d: features.similarity(*([z.to(d) for z in parts] for _ in range(2)), [z.to(d).flip(0) for z in parts]))
    try:
        net = features.Features(32)
    except ModuleNotFoundError:
        return
    both(lambda d: net(PICTURES["a"][None].to(d))[-1], tolerance=1e-3)
