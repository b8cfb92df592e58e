"""Defaults of the whole process. A face changes some of them while it is installed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Defaults:
    """What holds where neither a config nor a call says otherwise.

    `keyed`: ``randomness.keyed`` of a run. `trusts_pickles`: loading a pickle file by `trainwright.io` warns, once a
    file, in place of refusing. Checkpoints are read safely either way.
    """

    keyed: bool = True
    trusts_pickles: bool = False


defaults = Defaults()
