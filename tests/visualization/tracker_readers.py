"""Reads back what the trackers' own packages have stored: {name: [(step, value), ...]} in the order of writing."""

import csv
import json
import struct
from pathlib import Path

BLOCK = 32768


def is_number(value):
    """Pictures are there too, with the names of their files; NaN and infinities are there as texts."""
    return isinstance(value, (int, float)) or value in ("NaN", "Infinity", "-Infinity")


def collect(points):
    found = {}
    for name, step, value in points:
        found.setdefault(name, []).append((step, value))
    return found


def tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def mlflow_run(folder):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{Path(folder).absolute() / 'mlflow.db'}")
    (run,) = client.search_runs([it.experiment_id for it in client.search_experiments()])
    return client, run


def mlflow(folder):
    client, run = mlflow_run(folder)
    return {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def wandb_records(file):
    """The records of one .wandb file: LevelDB's log format, with a header of its own."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = Path(file).read_bytes(), 7, []
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts.append(data[at + 7 : at + 7 + size])
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


def wandb_files(folder):
    return sorted(Path(folder).glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)


def wandb(folder):
    points = []
    for file in wandb_files(folder):
        for record in wandb_records(file):
            if record.WhichOneof("record_type") == "history":
                items = [(it.key or it.nested_key[0], it) for it in record.history.item if len(it.nested_key) < 2]
                row = {name: json.loads(item.value_json) for name, item in items}  # a picture has names below its own
                points += [(k, row["step"], v) for k, v in row.items() if k != "step" and not k.startswith("_")]
    return collect((name, step, float(value)) for name, step, value in points if is_number(value))


def dvclive(folder):
    points = []
    top = Path(folder) / "plots" / "metrics"
    for file in sorted(top.rglob("*.tsv")):
        name = file.relative_to(top).with_suffix("").as_posix()
        with file.open() as lines:
            points += [(name, int(row["step"]), float(row[file.stem])) for row in csv.DictReader(lines, delimiter="\t")]
    return collect(points)


def aim_run(folder):
    """The only run. Aim's readers know what is in its index, which neither a run nor the repository writes but the
    ``RepoIndexManager`` of ``aim up``."""
    from aim import Repo
    from aim.sdk.index_manager import RepoIndexManager

    repository = Repo(str(folder))
    (only,) = repository.list_all_runs()
    RepoIndexManager(repository).index(only)
    repository.container_pool.clear()  # else what was opened before the indexing is read
    return repository.get_run(only)


def aim(folder):
    points = []
    for metric in aim_run(folder).metrics():
        steps, (values, *_) = metric.data.items_list()
        if not metric.name.startswith("__"):
            points += [(metric.name, step, value) for step, value in zip(steps, values, strict=True)]
    return collect(points)


def swanlab(folder):
    from swanlab.proto.swanlab.record.v1 import record_pb2
    from swanlab.sdk.internal.core_python.store import DataStoreReader

    points = []
    for file in sorted(Path(folder).glob("run-*/*.swanlab")):
        reader = DataStoreReader()
        reader.open(file)
        for data in reader:
            record = record_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("scalar") and not record.scalar.key.startswith("__"):
                points.append((record.scalar.key, record.scalar.step, record.scalar.value.number))
        reader.close()
    return collect(points)


def clearml(cache):
    lines = [line for file in Path(cache).glob("offline/*/metrics.jsonl") for line in file.read_text().splitlines()]
    events = [event for line in lines for event in json.loads(line) if event["type"] == "training_stats_scalar"]
    return collect((it["metric"], it["iter"], it["value"]) for it in events if not it["metric"].startswith(":monitor"))


def neptune(folder):
    """The operations of the runs, in the order of time, carried out."""
    operations = []
    for file in Path(folder).glob(".neptune/offline/*/data-*.log"):
        operations += [json.loads(line) for line in file.read_text().replace("\0", "").splitlines()]
    found = {}
    for operation in sorted(operations, key=lambda it: it["at"]):
        obj = operation["obj"]
        name = "/".join(obj["path"])
        if obj["type"] == "ClearFloatLog":
            found.pop(name, None)
        elif obj["type"] == "LogFloats" and obj["path"][0] != "monitoring":
            found.setdefault(name, []).extend((int(it["step"]), it["value"]) for it in obj["values"])
    return found
