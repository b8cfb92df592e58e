"""Runs that write down everything a hook can see, in the dialect of either engine.

A transcript is a list of records: what an event gave to a hook of one priority and what the run looked like then, and
the log lines in between.
"""

import copy
import json
import logging
import os
import re
from pathlib import Path
from types import SimpleNamespace

import torch

PRIORITIES = ("HIGHEST", "VERY_HIGH", "HIGH", "ABOVE_NORMAL", "NORMAL", "BELOW_NORMAL", "LOW", "VERY_LOW", "LOWEST")
# Where something may have changed: custom hooks are called behind the default ones of the same priority.
BESIDE_DEFAULT_HOOKS = ("HIGHEST", "VERY_HIGH", "NORMAL", "BELOW_NORMAL", "LOW", "VERY_LOW")
STAGES = (
    *("before_run", "after_load_checkpoint", "before_train", "before_train_epoch", "before_train_iter"),
    *("after_train_iter", "after_train_epoch", "before_val", "before_val_epoch", "before_val_iter", "after_val_iter"),
    *("after_val_epoch", "after_val", "before_save_checkpoint", "after_train", "before_test", "before_test_epoch"),
    *("before_test_iter", "after_test_iter", "after_test_epoch", "after_test", "after_run"),
)
MEASURED = ("time", "data_time", "memory", "eta")  # compared by name only
OWN_INFOS = ("cfg", "eta", "mmengine_version", "trainwright_version", "experiment_name", "last_ckpt", "keep_ckpt_ids")


class Transcript(logging.Handler):
    """The records of one run; also the log handler that takes its lines."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.records = []
        self.folder = None

    def emit(self, record):
        text = record.getMessage()
        if text.startswith(("Epoch(", "Iter(", "Exp name", "Saving checkpoint at")):
            self.records.append({"log": parsed_line(text)})


CURRENT = Transcript()  # of the run that is under way


def start(folder):
    """A new transcript, for the run in that folder."""
    global CURRENT
    CURRENT = Transcript()
    CURRENT.folder = Path(folder)
    return CURRENT


def write(**record):
    """Add a record to the transcript of the run that is under way."""
    CURRENT.records.append(record)


def parsed_line(text):
    """The place, and the names with their values; a measured value is left out."""
    found = re.fullmatch(r"(Epoch|Iter)\((\w+)\)\s*((?:\[[^\]]*\])+)\s*(.*)", text, re.DOTALL)
    if found is None:
        return {"text": re.sub(r"^Exp name: .*", "Exp name", text)}
    unit, mode, place, rest = found.groups()
    items = re.findall(r"([\w/.]+): (\S+)", rest)
    shown = {name: None if name.rpartition("/")[-1] in MEASURED else value for name, value in items}
    return {"text": f"{unit}({mode}) {re.sub(chr(32), '', place)}", "names": list(shown), "items": shown}


def kind(value):
    """What a value is, without a tensor's numbers."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, dict):
        return {key: kind(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [kind(item) for item in value]
    return type(value).__name__


def plain(value):
    """A number of whatever kind."""
    return value.item() if hasattr(value, "item") else value


def argument(name, value):
    """What is written down of an argument of an event."""
    if name == "checkpoint":
        meta = value.get("meta", {})
        return {"keys": sorted(value), "epoch": meta.get("epoch"), "iter": meta.get("iter")}
    if name == "metrics":
        return {key: plain(item) for key, item in value.items()}
    return value if name == "batch_idx" else kind(value)


def seen(engine, runner):
    """What a hook can see of the run."""
    loop, wrapper, hub = engine.train_loop(runner), engine.optim_wrapper(runner), runner.message_hub
    state = {name: getattr(runner, name) for name in ("iter", "epoch", "max_iters", "max_epochs")}
    state["mode"] = "train" if runner.model.training else "eval"
    state["weights"] = [p.detach().sum().item() for p in runner.model.parameters()]
    if loop is not None:
        names = ("iter", "epoch", "max_iters", "max_epochs", "val_begin", "val_interval", "stop_training")
        state["loop"] = {name: getattr(loop, name) for name in names if hasattr(loop, name)}
    if wrapper is not None:
        state["rates"] = {"lr": wrapper.get_lr(), "momentum": wrapper.get_momentum()}
    infos = {name: value for name, value in hub.runtime_info.items() if name not in OWN_INFOS}
    state["infos"] = {
        name: Path(value).name if name.startswith("best_ckpt") and value else plain(value)
        for name, value in infos.items()
    }
    state["has"] = sorted(set(hub.runtime_info) & {"cfg", "eta", "experiment_name"})
    state["scalars"] = {
        name: [n_values, None if name.rpartition("/")[-1] in MEASURED else float(history.current())]
        for name, history in hub.log_scalars.items()
        if (n_values := len(history.data[0]))
    }
    state["files"] = files(CURRENT.folder)
    return state


def files(folder):
    """Checkpoints in the folder, and what the hint says; published ones without their checksum."""
    names = [name for name in os.listdir(folder) if name.endswith(".pth")]
    elsewhere = os.path.join(folder, "out", os.path.basename(folder))
    if os.path.isdir(elsewhere):
        names += [f"out/{name}" for name in os.listdir(elsewhere) if name != ".lock"]
    found = {"checkpoints": sorted(re.sub(r"-[0-9a-f]{8}\.pth", "-SHA.pth", name) for name in names)}
    hint = os.path.join(folder, "last_checkpoint")
    if os.path.isfile(hint):
        with open(hint, encoding="utf-8") as file:
            found["last"] = os.path.basename(file.read().strip())
    return found


def loader(size=8, batch_size=4, shuffle=True, sampler="DefaultSampler", **settings):
    """The config of a loader."""
    return {
        "dataset": {"type": "TranscriptData", "size": size},
        "sampler": {"type": sampler, "shuffle": shuffle},
        "batch_size": batch_size,
        "num_workers": 0,
        "collate_fn": {"type": "default_collate"},
        **settings,
    }


def config(folder, priorities=BESIDE_DEFAULT_HOOKS, **changes):
    """A run of 2 epochs of 2 iterations, each epoch validated; a None drops a key."""
    by_epoch = (changes.get("train_cfg") or {}).get("by_epoch", True)
    hooks = [{"type": "TranscriptProbe", "at": name, "priority": name} for name in priorities]
    default_hooks = {"logger": {"type": "LoggerHook", "interval": 1}, **changes.pop("default_hooks", {})}
    saving = default_hooks.get("checkpoint") or {}
    if "out_dir" in saving:
        default_hooks["checkpoint"] = {**saving, "out_dir": str(folder / saving["out_dir"])}
    made = {
        "model": {"type": "TranscriptModel"},
        "work_dir": str(folder),
        "train_dataloader": loader(),
        "train_cfg": {"by_epoch": True, "max_epochs": 2},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.125, "momentum": 0.5}},
        "val_dataloader": loader(6, shuffle=False),
        "val_cfg": {},
        "val_evaluator": {"type": "TranscriptMetric"},
        "randomness": {"seed": 3},
        "log_level": "INFO",
        **changes,
        "log_processor": {"by_epoch": by_epoch, **changes.get("log_processor", {})},
        "default_hooks": default_hooks,
        "custom_hooks": [*changes.get("custom_hooks", []), *hooks],
    }
    return copy.deepcopy({key: value for key, value in made.items() if value is not None})


def scalar_files(folder):
    """The lines of every scalar file of the run, by its name; measured values are left out."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        name = re.sub(r"\d{8}_\d{6}(_\d+)?", "TIME", str(path.relative_to(folder)))
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        found.setdefault(name, []).extend(
            {key: None if key.rpartition("/")[-1] in MEASURED else value for key, value in line.items()}
            for line in lines
        )
    return found


def run(engine, folder, calls=("train",), **changes):
    """Run a config in an engine: the records, what the calls returned (but the model), and the scalar files."""
    transcript = start(folder)
    runner = engine.make(config(folder, **changes))
    runner.logger.handlers[:] = [transcript]
    returned = []
    for call in calls:
        with engine.calling():
            result = getattr(runner, call)()
        returned.append(None if call == "train" else {key: plain(value) for key, value in result.items()})
    weights = {name: value.clone() for name, value in runner.model.state_dict().items()}
    loop = engine.train_loop(runner)
    return SimpleNamespace(
        records=transcript.records,
        returned=returned,
        scalars=scalar_files(folder),
        weights=weights,
        hooks=[type(hook).__name__ for hook in runner.hooks],
        end={"iter": runner.iter, "epoch": runner.epoch},
        counts_iterations=isinstance(loop, engine.IterBasedTrainLoop),
        n_batches=None if loop is None else len(loop.dataloader),
    )


def rendered(records):
    """A transcript as text: each event once, and below it what had changed when a hook of a priority was called."""
    lines, before, event = [], {}, None
    for record in records:
        if "log" in record:
            items = [f"{name}: {_text(value)}" for name, value in record["log"].get("items", {}).items()]
            items = [item.partition(":")[0] if item.endswith(": None") else item for item in items]
            lines.append("  ".join(["    log", record["log"]["text"], *items]))
            continue
        if "mode" not in record:  # what a hook or a loop says of itself
            lines.append(f"    {record['at']}: {record['event']}, {_text({k: record[k] for k in list(record)[2:]})}")
            continue
        if (record["event"], record["at"] == PRIORITIES[0]) != (event, False):
            lines.append(f"{record['event']}({_text(record.get('arguments', {}))})")
        event = record["event"]
        now = dict(_leaves({key: record[key] for key in record if key not in ("event", "at", "arguments")}))
        changes = [f"{key} = {_text(now[key])}" for key in now if key not in before or now[key] != before[key]]
        changes += [f"{key} is gone" for key in before if key not in now]
        lines += [f"    {record['at']}: {change}" for change in changes]
        before = now
    return "\n".join(lines) + "\n"


def _leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif key != "weights":
            yield prefix + str(key), value


def _text(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)
