"""Diffusion models: noise schedules, and discrete diffusion of strings."""

from hierlib.diffusion import discrete, schedule

__all__ = ["discrete", "schedule"]
