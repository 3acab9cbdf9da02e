"""Diffusion models: noise schedules."""

from hierlib.diffusion import schedule

__all__ = ["schedule"]
