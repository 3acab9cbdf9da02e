import numpy as np
import pytest
import torch

from hierlib.nets import NoiseLevel


@pytest.mark.parametrize(("clock", "ends"), [("log_snr", (0.05, 1.5)), ("time", (1, 50))])
def test_sines_and_cosines_of_a_clock(clock, ends):
    level = torch.tensor([1e-3, 0.2, 0.5, 0.999], dtype=torch.float64)
    t = {"log_snr": torch.logit(level), "time": 2 / np.pi * level.sqrt().arccos()}[clock]
    phase = t[:, None] * torch.from_numpy(np.geomspace(*ends, 8))
    found = NoiseLevel(clock).double()(level)
    assert found.shape == (4, NoiseLevel.features)
    assert torch.allclose(found, torch.cat([phase.sin(), phase.cos()], 1), atol=1e-5)       # frequencies in float32
    assert torch.isfinite(NoiseLevel(clock)(torch.tensor([0.0, 1.0]))).all()
    assert not list(NoiseLevel(clock).parameters()) and clock in repr(NoiseLevel(clock))
    with pytest.raises(KeyError):
        NoiseLevel("wall")
