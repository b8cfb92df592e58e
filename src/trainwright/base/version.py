"""The versions, on the lowest floor so that every room may read them."""

__version__ = "0.1.0"
MMENGINE_VERSION = "0.10.7"  # whose API this package answers to
