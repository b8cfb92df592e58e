"""The config-first front door: Runner, its builders, its checks and its log line."""

from trainwright.runner.log_processor import LogProcessor
from trainwright.runner.runner import Runner

__all__ = ["LogProcessor", "Runner"]
