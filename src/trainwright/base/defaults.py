"""Defaults of the whole process. A face changes some of them while it is installed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Defaults:
    """What holds where neither a config nor a call says otherwise.

    `package`: the name that the engine goes by, that of its loggers and of the scope of its root registries. `keyed`:
    ``randomness.keyed`` of a run. `trusts_pickles`: loading a pickle file by `trainwright.io` warns, once a file, in
    place of refusing. Checkpoints are read safely either way. `refuses_points`: a hook with a method that is named as
    those of events are, and is of none, is an error, in place of a warning. `saved_schedules`: a resumed schedule goes
    on with the settings that were saved, in place of those of the config. `checks_step_order`: a schedule that is
    stepped before its optimizer warns. `logs_host_memory`: without a GPU the log line has the resident size of the
    process. `refuses_idle_params`: a custom key of `paramwise_cfg` that no parameter has, and a model without a
    parameter to train, are errors; in place of a warning, and of nothing. `refuses_other_weights`: a file of which next
    to nothing fits the model is an error, in place of a warning. `trusts_annotations`: an argument that is of another
    type than a user's own class says it takes is an error, as it is with classes of ours; in place of a warning.
    """

    package: str = "trainwright"
    keyed: bool = True
    trusts_pickles: bool = False
    refuses_points: bool = True
    trusts_annotations: bool = True
    saved_schedules: bool = False
    checks_step_order: bool = False
    logs_host_memory: bool = True
    refuses_idle_params: bool = True
    refuses_other_weights: bool = True


defaults = Defaults()
