"""From a file and its bases to one tree: the two Python syntaxes, YAML and JSON."""

from trainwright.config.reading.files import ALL_SUFFIXES, ReadOptions, ReadResult, read_file, read_string

__all__ = ["ALL_SUFFIXES", "ReadOptions", "ReadResult", "read_file", "read_string"]
