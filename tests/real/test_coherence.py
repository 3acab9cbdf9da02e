import pytest
import torch

from hierlib.real.coherence import _crossing, at_distance, coherence, correlation
from tests.lab.test_correlation import chain

V, D = 4, 32
STAY = 0.9
T = torch.full((V, V), (1 - STAY) / (V - 1), dtype=torch.float64).fill_diagonal_(STAY)
P = torch.full((V,), 1 / V, dtype=torch.float64)


def text(n, seed):
    return chain(n, D, seed, T, P)


def pieces(n, length, seed):
    """Independent pieces of the chain from a random first border on: C_gen(r) = C(r) max(0, 1 − r/length)."""
    gen = torch.Generator().manual_seed(seed)
    count = D // length + 2
    row = chain(n * count, length, seed + 1, T, P).view(n, -1)
    return row.gather(1, torch.randint(length, (n, 1), generator=gen) + torch.arange(D))


def test_pairs_at_a_distance():
    assert at_distance(5, 3).tolist() == [[0, 3], [1, 4]]


def test_correlation_of_a_chain_at_every_distance():
    got = correlation(text(2000, 0), V, [1, 2, 5, 10])
    decay = (STAY - (1 - STAY) / (V - 1)) ** torch.tensor([1.0, 2.0, 5.0, 10.0]).double()
    exact = (V - 1) / V**2 * decay.square()              # C = λ^r (1/v) (δ − 1/v)
    assert ((got.square - exact).abs() < 4 * got.error).all() and (got.error < 0.1 * exact + 1e-4).all()
    assert correlation(text(100, 0), V).square.shape == (D // 2,)


@pytest.mark.parametrize("length", [5, 9, 15])
def test_coherence_length_of_pieces_is_half_their_length(length):
    got = coherence(pieces(4000, length, 0), text(4000, 1), V)
    assert not got.censored and got.length == pytest.approx(length / 2, abs=4 * got.error) and got.error < 0.4
    rho = (1 - got.distances / length).clamp_min(0)[: got.resolved]
    assert ((got.overlap.value[: got.resolved] - rho).abs() < 4.5 * got.overlap.error[: got.resolved]).all()


def test_threshold_and_error():
    quarter = coherence(pieces(4000, 12, 0), text(4000, 1), V, threshold=0.25)
    assert quarter.length == pytest.approx(9, abs=4 * quarter.error)
    runs = [coherence(pieces(250, 9, 100 * s), text(500, 100 * s + 7), V, range(1, 10)) for s in range(50)]
    length = torch.tensor([r.length for r in runs])
    stated = torch.tensor([r.error for r in runs]).square().mean().sqrt()
    assert 0.7 < stated / length.std() < 1.5
    assert length.mean() == pytest.approx(4.5, abs=4 * float(length.std()) / 50**0.5 + 0.1)


def test_first_crossing_of_a_bent_curve():
    curve = torch.tensor([[0.8, 0.4, 0.4], [0.5, 0.9, 0.9], [0.3, 0.9, 0.9], [0.2, 0.9, 0.1]], dtype=torch.float64)
    for threshold, want in ((0.25, (6.0, 8.0, 7.25)), (0.6, (5 / 3, 2 / 3, 2 / 3)), (0.1, (8.0, 8.0, 8.0))):
        place, never = _crossing(torch.tensor([1, 2, 4, 8]), curve, threshold)
        assert place.tolist() == pytest.approx(want) and never.tolist() == [threshold < k for k in (0.2, 0.4, 0.1)]


def test_between_zero_and_one_when_even_neighbours_are_wrong():
    got = coherence(torch.randint(V, (2000, D), generator=torch.Generator().manual_seed(0)), text(2000, 1), V)
    assert got.length == pytest.approx(0.5, abs=0.05)    # ρ(0) = 1, ρ(1) = 0


def test_the_data_themselves_are_coherent_as_far_as_they_are_resolved():
    got = coherence(text(1500, 0), text(3000, 1), V, [1, 2, 4, 8])
    assert got.censored and got.length == 8 and got.resolved == 4
    far = coherence(text(1500, 0), text(300, 1), V, range(1, D))
    assert far.resolved < D - 1 and far.length <= far.resolved


def test_few_generated_strings_are_not_taken_for_incoherent_ones():
    data, runs = text(3000, 1), [text(30, 10 + seed) for seed in range(12)]
    for got in (coherence(x, data, V, range(1, 25)) for x in runs):
        assert got.resolved < 24 and (2 * got.overlap.error[:got.resolved] <= 0.5).all()
        assert got.censored or got.length > 0.6 * got.resolved


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: at_distance(5, 5), "r = 5"),
    (lambda: at_distance(5, 0), "r = 0"),
    (lambda: correlation(text(20, 0), V, [2, 1]), "distances"),
    (lambda: correlation(text(20, 0), V, []), "distances"),
    (lambda: correlation(text(20, 0), V, [D]), f"r = {D}"),
    (lambda: coherence(text(20, 0), text(20, 1), V, threshold=1.0), "threshold = 1.0"),
    (lambda: coherence(text(20, 0), torch.randint(V, (20, D), generator=torch.Generator().manual_seed(1)), V),
     "20 and 20 strings"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
