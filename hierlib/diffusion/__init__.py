"""Diffusion models: noise schedules, Gaussian diffusion with its exact denoisers, discrete diffusion of strings."""

from hierlib.diffusion import discrete, gaussian, ideal, levels, schedule

__all__ = ["discrete", "gaussian", "ideal", "levels", "schedule"]
