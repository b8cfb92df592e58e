"""Weights by URL."""

from trainwright.checkpoint.download import load_url

__all__ = ["load_url"]
