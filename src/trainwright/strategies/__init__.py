"""Strategies: the only code that knows how parameters are placed."""

from trainwright.strategies.base import BaseStrategy
from trainwright.strategies.environment import Environment, Randomness, check_launcher
from trainwright.strategies.single import SingleDeviceStrategy

__all__ = ["BaseStrategy", "Environment", "Randomness", "SingleDeviceStrategy", "check_launcher"]
