import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from hierlib.sim.flow import field
from hierlib.sim.phase import boundary
from hierlib.sim.two_concepts import Entries, critical, entries, loss_rise, minor_peak

float64 = torch.float64


def exact_pair(rho: float, omega: float, a1: float, a2: float, t: torch.Tensor) -> Entries:
    """The two-layer flow of two concepts by scipy."""
    def slope(_, y):
        W = torch.tensor([[y[0], y[2]], [y[2], y[1]]], dtype=float64)
        return field(W, torch.tensor([a1, a2], dtype=float64)).flatten()[[0, 3, 1]].numpy()
    start = [omega, omega, rho * omega]
    result = solve_ivp(slope, (0, float(t[-1])), start, method="LSODA", rtol=1e-9, atol=omega * 1e-9, t_eval=t.numpy())
    return Entries(*torch.from_numpy(result.y))


def rise(loss: torch.Tensor) -> torch.Tensor:
    return (loss - loss.cummin(0).values).amax(0)


@pytest.mark.parametrize(("omega", "tolerance"), [(0.02, 0.034), (0.001, 0.006)])
def test_two_concepts_against_the_flow(omega, tolerance):
    # loss, presence of an ascent (threshold 1e-3 of L(0)) and its height, on a grid of r and ρ with σ = 0
    seen = []
    for r in (0.2, 0.4):
        for rho in (0.1, 0.6, 0.95):
            mu1, mu2 = 2 * math.sqrt(r), 2.0
            t = torch.linspace(0, 1.5 * math.log(1 / omega / (1 - rho**2)) / (2 * r) / 2, 600, dtype=float64)
            exact = exact_pair(rho, omega, 2 * r, 2.0, t).loss(mu1, mu2)
            mine = entries(t, rho, omega, 2 * r, 2.0).loss(mu1, mu2)
            L0 = exact[0]
            assert (mine - exact).abs().max() / L0 < tolerance
            assert abs(rise(mine) - rise(exact)) / L0 < 0.016
            assert (rise(mine) > 1e-3 * L0) == (rise(exact) > 1e-3 * L0)
            seen.append(bool(rise(exact) > 1e-3 * L0))
    assert seen == [False, True, True, False, False, True]


def test_two_concepts_to_leading_order():
    # relative error of each entry while it counts: of order ω for W12 up to its peak
    worst = []
    for omega in (1e-3, 1e-5):
        t_peak, _ = minor_peak(0.8, omega, 0.25, 1.0)
        t = torch.linspace(0, float(t_peak), 100, dtype=float64)
        exact, mine = exact_pair(0.8, omega, 0.25, 1.0, t), entries(t, 0.8, omega, 0.25, 1.0)
        worst.append(float((mine.W12 / exact.W12 - 1).abs().max()))
    assert worst[0] < 0.01 and worst[1] < worst[0] / 10


@given(rho=st.floats(-1, 1), omega=st.floats(1e-6, 0.3), r=st.floats(0.05, 0.95))
def test_two_concepts_identities(rho, omega, r):
    t = torch.linspace(0, 300, 50, dtype=float64)
    W = entries(t, rho, omega, r, 1.0)
    early = torch.linspace(0, 5, 20, dtype=float64)
    odds = (lambda w: w / (1 - w))(entries(early, rho, omega, r, 1.0).W22)
    assert torch.allclose(odds, omega / (1 - omega) * torch.exp(2 * early), rtol=1e-6)
    start = Entries(*(x[0] for x in W))
    weak = omega / (1 + (1 - rho**2) * omega)
    assert (float(start.W11), float(start.W22)) == pytest.approx((weak, omega), rel=1e-9)
    assert float(start.W12) == pytest.approx(rho * omega / math.sqrt(1 + (1 - rho**2) * omega), rel=1e-9)
    assert all(torch.isfinite(x).all() for x in W)
    assert torch.allclose(W.W12, -entries(t, -rho, omega, r, 1.0).W12)
    fast = entries(t / 7, rho, omega, 7 * r, 7.0)                              # only a·t and a₁/a₂ matter
    assert all(torch.allclose(x, y, rtol=1e-8) for x, y in zip(W, fast, strict=True))
    assert entries(1e4, 0.5, omega, r, 1.0).loss(1.0, 2.0) < 1e-12


def test_two_concepts_minor_entry_obeys_growth_minus_suppression():
    # at ρ = 1 concept 1 never grows of its own: d ln m/dt = (a₁ + a₂) − ½(3a₂ + a₁)W₂₂ exactly
    t = torch.linspace(0, 9, 40, dtype=float64, requires_grad=True)
    W = entries(t, 1.0, 0.01, 0.3, 1.0)
    slope, = torch.autograd.grad(W.W12.log().sum(), t)
    assert torch.allclose(slope, 1.3 - 0.5 * 3.3 * W.W22)
    assert torch.allclose(W.W11, W.W12**2 / W.W22)                                  # W stays of rank one


def test_two_concepts_broadcasts():
    rho, r = torch.tensor([0.1, 0.5, 0.9], dtype=float64), torch.tensor([[0.2], [0.6]], dtype=float64)
    t = torch.linspace(0, 10, 5, dtype=float64).view(-1, 1, 1)
    W = entries(t, rho, 0.01, r, 1.0)
    assert all(x.shape == (5, 2, 3) for x in W)
    assert torch.allclose(W.W11[3, 1, 2], entries(t[3, 0, 0], 0.9, 0.01, 0.6, 1.0).W11)
    time, height = minor_peak(rho, 0.01, r, 1.0)
    assert time.shape == height.shape == (2, 3)


@pytest.mark.parametrize(("omega", "tolerance"), [(1e-2, 0.12), (1e-3, 0.03), (1e-4, 0.01)])
def test_minor_peak_against_the_flow(omega, tolerance):
    for r, rho in ((0.45, 0.5), (0.45, 0.9), (0.2, 0.5), (0.2, 0.9)):
        time, height = minor_peak(rho, omega, r, 1.0)
        t = torch.linspace(0, 2 * float(time), 2001, dtype=float64)
        exact = exact_pair(rho, omega, r, 1.0, t).W12
        assert abs(float(height / exact.max()) - 1) < tolerance
        assert abs(float(time / t[exact.argmax()]) - 1) < tolerance
        peak = entries(time, rho, omega, r, 1.0)                                # the closed form at that time
        assert (float(peak.W12), float(peak.W22)) == pytest.approx((float(height), 2 * (1 + r) / (3 + r)), rel=1e-9)


@pytest.mark.parametrize("r", [0.1, 0.2, 0.3])
def test_laws_of_the_rise(r):
    # the minor entry falls as ω^{(1−r)/2}; the rise of the loss as ω^{4(1−r)/(7+r)}, and loss_rise is its limit
    omega = torch.tensor([1e-16, 1e-18], dtype=float64)
    _, height = minor_peak(0.9, omega, r, 1.0)
    assert float((height[0] / height[1]).log() / math.log(100)) == pytest.approx((1 - r) / 2, abs=1e-5)
    mu1, mu2 = math.sqrt(r), 1.0
    time = -omega.log() / (2 * r)
    t = torch.linspace(0, 1.2, 40_001, dtype=float64)[:, None] * time
    found = rise(entries(t, 0.9, omega, r, 1.0).loss(mu1, mu2))
    law = loss_rise(0.9, omega, r, 1.0, mu1, mu2)
    exponent = (law[0] / law[1]).log() / math.log(100)
    assert float(exponent) == pytest.approx(4 * (1 - r) / (7 + r), abs=1e-9)
    assert float((found[0] / found[1]).log() / math.log(100)) == pytest.approx(float(exponent), abs=0.004)
    assert ((found / law > 0.96) & (found < law)).all()


def test_law_of_the_critical_correlation():
    # against the flow: from above, the better the smaller ω; any power of it but (1 − r)(3 − r)/4(2 + r) would be off
    r, omega = torch.tensor([0.2, 0.25, 0.3], dtype=float64), torch.tensor([1e-7, 1e-5, 1e-3], dtype=float64)
    law = critical(omega[:, None], r, 1.0, r.sqrt(), 1.0)
    found = boundary(r.repeat(3), omega.repeat_interleave(3), step=0.05).view(3, 3)
    off = law / found - 1
    assert (off[0].abs() < 0.004).all() and (off[1].abs() < 0.02).all() and (off[2] > 0.02).all() and (off < 0.08).all()
    far = critical(torch.tensor([1e-20, 1e-22], dtype=float64), 0.3, 1.0, 0.4, 1.0)
    assert float((far[0] / far[1]).log() / math.log(100)) == pytest.approx(0.7 * 2.7 / 4 / 2.3, abs=1e-6)


def test_signals_count_in_full_precision_however_they_are_given():
    # as numbers, as tensors, on another scale
    given = [critical(1e-4, 0.3, 1.0, mu1, mu2) for mu1, mu2 in
             ((0.3, 0.7), (torch.tensor(0.3, dtype=float64), 0.7), (3, 7))]
    assert all(x.dtype == float64 for x in given)
    torch.testing.assert_close(given[1:], [given[0]] * 2, rtol=1e-13, atol=0)


@pytest.mark.parametrize("ratio", [0.2, 0.9])
def test_critical_correlation_from_its_three_terms(ratio):
    # at ρ_c the largest value over y of the three terms is 0
    r, omega = 0.25, 1e-4
    rho, k = float(critical(omega, r, 1.0, ratio, 1.0)), (1 - r) / 4
    y = torch.logspace(1, 4, 200_001, dtype=float64)
    loan = k * rho * omega ** (2 * k) * ratio * y**-k
    terms = loan - (1 - rho**2) * r * omega ** (4 * k) * ratio**2 * y**r - y**-2
    assert abs(float(terms.max() / loan[terms.argmax()])) < 1e-7


@pytest.mark.parametrize(("call", "name"), [
    (lambda: critical(0.1, 1.0, 2.0, -1.0, 1.0), "mu1 = "), (lambda: critical(0.1, 1.0, 2.0, 1.0, 0.0), "mu2 = "),
    (lambda: loss_rise(0.5, 0.1, 1.0, 2.0, 0.0, 1.0), "mu1 = "),
    (lambda: critical(0.0, 1.0, 2.0, 1.0, 1.0), "omega = "), (lambda: critical(0.1, 2.0, 2.0, 1.0, 1.0), "a2 = "),
    (lambda: entries(-1.0, 0.5, 0.1, 1.0, 2.0), "t = "),
    (lambda: entries(1.0, 1.5, 0.1, 1.0, 2.0), "rho = "),
    (lambda: entries(1.0, 0.5, 1.0, 1.0, 2.0), "omega = "),
    (lambda: entries(1.0, 0.5, 0.1, 0.0, 2.0), "a1 = "),
    (lambda: minor_peak(0.5, 0.1, 2.0, 2.0), "a2 = "),
    (lambda: loss_rise(-0.5, 0.1, 1.0, 2.0, 1.0, 1.0), "rho = "),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
