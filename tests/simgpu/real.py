"""Images, text and their statistics on the device."""

import torch

from hierlib import real
from hierlib.real import coherence, crops, images, text
from tests.drawn import gen
from tests.simgpu.compare import both

PICTURES = {"a": torch.rand(1, 30, 40, generator=gen()),
            "b": torch.rand(1, 20, 24, generator=gen(1))}
TOKENS = torch.arange(900) % 3 + torch.randint(2, (900,), generator=gen())


def there(d):
    return {name: x.to(d) for name, x in PICTURES.items()}


def check_crops():
    for n in (None, 7):
        # blocks are numbers for a jackknife, made on the CPU
        both(lambda d: crops.patches(there(d), 5, n=n, seed=1))
        x, blocks = crops.patches(there("cuda"), 5, n=n, seed=1, groups=True)
        assert torch.equal(blocks, crops.patches(PICTURES, 5, n=n, seed=1, groups=True)[1])
    both(lambda d: images.split(there(d)))
    scale = both(lambda d: crops.Standardise.fit(there(d)))
    both(lambda d: [scale.apply(x.to(d)), scale.invert(x.to(d))])


def check_text():
    for n in (None, 9):
        both(lambda d: text.windows([TOKENS[:150].to(d), TOKENS[150:].to(d)], 6, n, seed=1))
    vocabulary = real.Vocabulary.characters("abcab")
    assert vocabulary.decode(vocabulary.encode("cab").to("cuda")) == "cab"


def check_correlations():
    x, y = text.windows(TOKENS, 6, 90, seed=1), text.windows(TOKENS.roll(1), 6, 120, seed=2)
    both(lambda d: coherence.correlation(x.to(d), 4))
    both(lambda d: (lambda found: [found.overlap, found.length, found.error])(
        coherence.coherence(x.to(d), y.to(d), 4, [1, 2])))
