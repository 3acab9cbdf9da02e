"""Pictures of the Random Hierarchy Model against enumeration: all images of a small grammar are a finite data set."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib import diffusion, rhm
from hierlib.rhm.pictures import Pictures, gabor, places


def pictures(L=1, v=3, m=2, s=4, pixels=3, channels=1, seed=0):
    return Pictures(rhm.Grammar.random(v=v, m=m, s=s, L=L, seed=seed), gabor(v, pixels, channels))


@given(v=st.integers(2, 9), pixels=st.integers(3, 9), channels=st.integers(1, 3))
def test_gabor_patches_are_standardised_and_different(v, pixels, channels):
    tiles = gabor(v, pixels, channels).double()
    assert tiles.shape == (v, channels, pixels, pixels)
    assert tiles.mean((1, 2, 3)).abs().max() < 1e-5 and (tiles.square().mean((1, 2, 3)) - 1).abs().max() < 1e-5
    flat = tiles.flatten(1)
    assert torch.cdist(flat, flat)[~torch.eye(v, dtype=torch.bool)].min() > 0.05 * (channels * pixels**2) ** 0.5


@pytest.mark.parametrize("b", [2, 3])
def test_symbols_stand_in_blocks(b):
    # oracle: the image of a derivation written out by recursion
    s = b * b
    p = Pictures(rhm.Grammar.random(v=4, m=2, s=s, L=2, seed=1), gabor(4, 3))
    trees = p.g.sample(3, seed=2)

    def block(level, k, node):                                  # the square of tokens below a node
        if level == 0:
            return trees[0][k, node].view(1, 1)
        parts = [block(level - 1, k, node * s + j) for j in range(s)]
        return torch.cat([torch.cat(parts[b * r:b * r + b], 1) for r in range(b)])

    images = p.draw(trees[0])
    for k in range(3):
        tokens = block(2, k, 0)
        written = torch.cat([torch.cat([p.tiles[int(c), 0] for c in row], 1) for row in tokens])
        assert torch.equal(images[k, 0], written)


def test_places_are_in_blocks():
    assert places(0).tolist() == [0]
    assert places(2).tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    assert places(2, 3).sort().values.tolist() == list(range(81))


@given(L=st.integers(1, 2), s=st.sampled_from([4, 9]), channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_cut_and_read_undo_draw(L, s, channels, seed):
    p = pictures(L, v=4, s=s, channels=channels, seed=seed)
    x = p.g.sample(4, seed=seed)[0]
    images = p.draw(x)
    assert images.shape[1:] == p.shape and torch.equal(p.read(images), x)
    assert torch.equal(p._join(p.cut(images)), images)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(p._join(p.cut(noise)), noise)            # for any image, not only for drawn ones


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("L", "v", "m", "s", "channels"), [(1, 3, 2, 4, 1), (1, 4, 3, 4, 3), (1, 3, 3, 9, 1)])
def test_exact_denoiser_is_the_posterior_mean_over_all_images(dtype, L, v, m, s, channels):
    p = pictures(L, v=v, m=m, s=s, channels=channels)
    everything = p.draw(p.g.enumerate()).to(dtype)
    empirical = diffusion.ideal.Empirical(everything)
    gen = torch.Generator().manual_seed(3)
    x0 = everything[torch.randint(len(everything), (16,), generator=gen)]
    noise = torch.randn(x0.shape, generator=gen, dtype=dtype)
    for alpha_bar in (0.0, 0.05, 0.3, 0.9, torch.linspace(0.01, 0.99, 16, dtype=dtype)):
        y = diffusion.gaussian.noised(x0, alpha_bar, noise)
        rtol = 1e-9 if dtype == torch.float64 else 1e-3         # of exponents of some tens
        assert torch.allclose(p(y, alpha_bar), empirical(y, alpha_bar), rtol=rtol, atol=rtol)


def test_deep_grammar_against_enumeration():
    # two levels: 2 · 2^5 strings of 16 tokens, few enough to be written out
    p = pictures(L=2, v=2, m=2)
    everything = p.draw(p.g.enumerate()).double()
    empirical = diffusion.ideal.Empirical(everything)
    y = torch.randn(8, *p.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for alpha_bar in (0.02, 0.2):
        assert torch.allclose(p(y, alpha_bar), empirical(y, alpha_bar), rtol=1e-9, atol=1e-9)


def test_the_exact_denoiser_is_better_than_any_other():
    # the posterior mean has the least squared error: less than the Wiener filter's, and than tiles taken one by one
    p = pictures(L=2, v=8, m=3)
    x = p.g.sample(500, seed=5)[0]
    x0 = p.draw(x)
    y = diffusion.gaussian.noised(x0, 0.2, torch.randn(x0.shape, generator=torch.Generator().manual_seed(1)))
    alone = p._join(torch.nn.functional.normalize(p.likelihood(y, 0.2), p=1, dim=-1) @ p.tiles.flatten(1))
    error = {"exact": p(y, 0.2), "alone": alone, "wiener": diffusion.ideal.Wiener.fit(x0)(y, 0.2)}
    error = {name: float((mean - x0).square().mean()) for name, mean in error.items()}
    assert error["exact"] < 0.8 * min(error["alone"], error["wiener"])


def test_channel_is_the_same_noise_as_on_images():
    p = pictures(L=1, v=4)
    x = p.g.sample(4000, seed=1)[0]
    channel = p.channel(x, 0.3, 4, seed=1)
    x0 = p.draw(x)
    y = diffusion.gaussian.noised(x0, 0.3, torch.randn(x0.shape, generator=torch.Generator().manual_seed(9)))
    other = p.likelihood(y, 0.3)
    assert channel.shape == other.shape and channel.dtype == other.dtype
    truth = [torch.nn.functional.normalize(nu, p=1, dim=-1).gather(-1, x[..., None]) for nu in (channel, other)]
    spread = torch.cat(truth).std() * (2 / truth[0].numel()) ** 0.5
    assert abs(truth[0].mean() - truth[1].mean()) < 4.5 * spread
    pools = list(rhm.population.upward_pools(p.g, p.channel, 0.3, size=16))
    assert len(pools) == p.g.L + 1 and pools[0].shape == (4, 16, 4)


def u_turn(p, x, alpha_bar, seed):
    gen = torch.Generator().manual_seed(seed)
    y = diffusion.gaussian.noised(p.draw(x), alpha_bar, torch.randn(len(x), *p.shape, generator=gen))
    return y, rhm.sample_posterior(p.g, p.likelihood(y, alpha_bar), seed=gen)[0]


def test_u_turns_keep_as_much_as_the_posterior_says():
    # averaged over noise a token is kept as often as its posterior weighs the truth
    p = pictures(L=1, v=4, m=2)
    x = p.g.sample(1, seed=3)[0].expand(20_000, -1)
    y, back = u_turn(p, x, 0.1, seed=5)
    post = rhm.marginals(p.g, p.likelihood(y, 0.1))[0].gather(-1, x[..., None])[..., 0]
    kept = (back == x).double()
    assert (kept.mean(0) - post.double().mean(0)).abs().max() < 4.5 * (0.25 / len(x)) ** 0.5


def test_steps_with_the_exact_denoiser_end_where_one_posterior_sample_does():
    p = pictures(L=1, v=4, m=2)
    x = p.g.sample(3000, seed=6)[0]
    back = diffusion.gaussian.forward_backward(p, p.draw(x), 0.1, 60, schedule="log_snr", seed=1)
    stepwise = (p.read(back) == x).double().mean(1)
    once = (u_turn(p, x, 0.1, seed=2)[1] == x).double().mean(1)
    error = ((stepwise.var() + once.var()) / len(x)) ** 0.5
    assert abs(stepwise.mean() - once.mean()) < 4 * error + 0.01      # the steps are of first order
    assert p.g.is_valid(p.read(back)).double().mean() > 0.99


def test_inference_that_is_cut_off():
    # level 0: each tile alone; level L: exact; the error falls with the level
    p = pictures(L=2, v=8, m=3)
    x0 = p.draw(p.g.sample(400, seed=5)[0])
    y = diffusion.gaussian.noised(x0, 0.2, torch.randn(x0.shape, generator=torch.Generator().manual_seed(1)))
    means = [p(y, 0.2, level) for level in range(3)]
    assert torch.allclose(means[2], p(y, 0.2), atol=1e-5)
    errors = torch.stack([(mean - x0).square().mean() for mean in means])
    assert (errors.diff() < 0).all()


def test_images_that_no_string_has_are_denoised_too():
    p = pictures(L=2, v=8, m=2)
    y = torch.randn(4, *p.shape, generator=torch.Generator().manual_seed(1))
    for alpha_bar in (0.999, 1.0):
        assert p(y, alpha_bar).isfinite().all() and p.likelihood(y, alpha_bar).amin() > 0


@pytest.mark.parametrize(("call", "said"), [
    (lambda: Pictures(rhm.Grammar.random(v=4, m=2, s=2, L=2), gabor(4, 3)), "s is a square"),
    (lambda: Pictures(rhm.Grammar.random(v=4, m=2, s=4, L=1), gabor(5, 3)), "tiles"),
    (lambda: Pictures(rhm.Grammar.random(v=4, m=2, s=4, L=1), gabor(4, 3)[..., :2]), "square tile"),
    (lambda: Pictures(rhm.Grammar.random(v=4, m=2, s=4, L=1), gabor(4, 3)[[0, 1, 2, 0]]), "equal ones"),
    (lambda: Pictures(rhm.Grammar.random(v=4, m=2, s=4, L=1), gabor(4, 3) * float("nan")), "NaN"),
    (lambda: pictures().draw(torch.full((1, 4), 3)), "x"),
    (lambda: pictures().draw(torch.zeros(1, 5, dtype=torch.int64)), "x"),
    (lambda: pictures().read(torch.zeros(1, 1, 5, 6)), "images"),
    (lambda: pictures()(torch.zeros(1, 1, 6, 6), 1.5), "alpha_bar"),
    (lambda: pictures()(torch.zeros(1, 1, 6, 6), float("nan")), "alpha_bar"),
    (lambda: pictures().channel(torch.zeros(1, 4, dtype=torch.int64), 0.5, 4), "v"),
    (lambda: places(-1), "levels"),
    (lambda: places(1, 1), "b"),
    (lambda: gabor(1, 4), "v"),
    (lambda: gabor(4, 2), "pixels"),
    (lambda: gabor(4, 4, 0), "channels"),
])
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()
