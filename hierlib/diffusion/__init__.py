"""Diffusion models: noise schedules, Gaussian diffusion, exact denoisers, many conditional ones, strings of tokens."""

from hierlib.diffusion import conditional, discrete, gaussian, ideal, schedule

__all__ = ["conditional", "discrete", "gaussian", "ideal", "schedule"]
