"""`data` and `evaluation` of MMCV 1.x as loaders and evaluators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainwright.config.migration.job import Job, Tree, copied, moved, short

_LOADER_OPTIONS = {
    "samples_per_gpu": "batch_size",
    "videos_per_gpu": "batch_size",
    "imgs_per_gpu": "batch_size",
    "workers_per_gpu": "num_workers",
    "persistent_workers": "persistent_workers",
    "pin_memory": "pin_memory",
    "prefetch_factor": "prefetch_factor",
    "drop_last": "drop_last",
}
_WRAPPERS = ("dataset", "datasets")  # a dataset with one of these wraps others, which take test_mode themselves
# Transforms whose work has moved to the model's data preprocessor, or under another name.
_MOVED_TRANSFORMS = (
    "Collect",
    "Collect3D",
    "DefaultFormatBundle",
    "DefaultFormatBundle3D",
    "FormatShape",
    "ImageToTensor",
    "MultiScaleFlipAug",
    "MultiScaleFlipAug3D",
    "Normalize",
    "Pad",
    "ToTensor",
    "VideoNormalize",
)
_COCO_METRICS = ("bbox", "segm", "proposal", "proposal_fast", "keypoints")
_SEGMENTATION_METRICS = ("mIoU", "mDice", "mFscore")


def convert_data(job: Job) -> None:
    """Take `data` and `evaluation`; put the three loaders, their loops and evaluators.

    The validation schedule goes into `train_cfg`, and what to keep of it into the checkpoint hook.
    """
    data = job.take_dict("data")
    evaluation = job.take_dict("evaluation")
    if data is None:
        if evaluation:
            _schedule(job, evaluation)
            job.leftovers("evaluation", evaluation, "has no data beside it to evaluate.", "Left out.")
        return
    common = moved(data, _LOADER_OPTIONS)
    own = {part: data.pop(f"{part}_dataloader", None) or {} for part in ("train", "val", "test")}
    datasets = {part: data.pop(part, None) for part in ("train", "val", "test")}
    for part, dataset in datasets.items():
        if dataset is not None:
            job.new[f"{part}_dataloader"] = _loader(job, part, dataset, common, dict(own[part]))
    if evaluation is not None or datasets["val"] is not None:
        _schedule(job, evaluation or {})
    if datasets["val"] is not None:
        job.new["val_cfg"] = {"type": "ValLoop"}
        job.new["val_evaluator"] = _evaluator(job, evaluation or {}, _first(datasets["val"]))
    if datasets["test"] is not None:
        _test_part(job, datasets)
    job.leftovers("data", data, "is no part of data that is known here.", "Left out.")
    _note_transforms(job)


def _loader(job: Job, part: str, dataset: Any, common: Tree, own: Tree) -> Tree:
    training = part == "train"
    shuffle = own.pop("shuffle", training)
    loader = {"batch_size": 1, "num_workers": 0, **common}
    if not training:
        loader["batch_size"] = _evaluation_batch_size(job, part, dataset, own, common)
    loader |= moved(own, _LOADER_OPTIONS)
    if loader.get("num_workers") == 0:
        for name in ("persistent_workers", "prefetch_factor"):  # torch refuses them without workers
            loader.pop(name, None)
    loader["sampler"] = _sampler(job, part, own.pop("sampler", None), shuffle)
    loader["dataset"] = _dataset(dataset, test_mode=not training)
    job.leftovers(f"data.{part}_dataloader", own, "is no option of a loader that is known here.", "Left out.")
    return loader


def _evaluation_batch_size(job: Job, part: str, dataset: Any, own: Tree, common: Tree) -> int:
    """What the dataset said, else 1 as in most training programs."""
    size = dataset.pop("samples_per_gpu", None) if isinstance(dataset, dict) else None
    if size is not None:
        return int(size)
    if not any(name in own for name, now in _LOADER_OPTIONS.items() if now == "batch_size"):
        job.note(
            f"data.{part}",
            "its batch size is not said; most programs took 1, some that of training "
            f"({common.get('batch_size', 'not said either')}).",
            f"It is 1; raise {part}_dataloader.batch_size if the metric does not depend on it.",
        )
    return 1


def _sampler(job: Job, part: str, old: Any, shuffle: bool) -> Tree:
    if old is not None:
        job.note(f"data.{part}_dataloader.sampler", f"{short(old)} is a sampler of the config's own project.", "Kept.")
        return old if isinstance(old, dict) else {"type": "DefaultSampler", "shuffle": shuffle}
    infinite = part == "train" and not job.by_epoch
    return {"type": "InfiniteSampler" if infinite else "DefaultSampler", "shuffle": shuffle}


def _dataset(dataset: Any, test_mode: bool) -> Any:
    """A list of datasets was concatenated; datasets for evaluation were told test_mode=True by the programs."""
    if isinstance(dataset, (list, tuple)):
        return {"type": "ConcatDataset", "datasets": [_dataset(item, test_mode) for item in dataset]}
    if test_mode and isinstance(dataset, dict):
        inner = next((name for name in _WRAPPERS if name in dataset), None)
        if inner is None:
            return {**dataset, "test_mode": dataset.get("test_mode", True)}
        parts = dataset[inner]
        told = [_dataset(item, True) for item in parts] if isinstance(parts, (list, tuple)) else _dataset(parts, True)
        return {**dataset, inner: told}
    return dataset


def _test_part(job: Job, datasets: Tree) -> None:
    job.new["test_cfg"] = {"type": "TestLoop"}
    evaluator = copied(job.new.get("val_evaluator", {}))
    test = _first(datasets["test"])
    if isinstance(evaluator, dict) and "ann_file" in evaluator and "ann_file" in test:
        evaluator["ann_file"] = test["ann_file"]
    job.new["test_evaluator"] = evaluator


def _first(dataset: Any) -> Tree:
    """The dict that describes a dataset; of several, the first; of a wrapper, what it wraps."""
    while True:
        if isinstance(dataset, (list, tuple)) and dataset:
            dataset = dataset[0]
        elif isinstance(dataset, dict) and any(name in dataset for name in _WRAPPERS):
            dataset = dataset[next(name for name in _WRAPPERS if name in dataset)]
        else:
            return dataset if isinstance(dataset, dict) else {}


# -- when to validate, and what to keep --------------------------------------------------------------------------------
def _schedule(job: Job, evaluation: Tree) -> None:
    interval, start = evaluation.pop("interval", 1), evaluation.pop("start", None)
    by_epoch = evaluation.pop("by_epoch", job.by_epoch)
    if by_epoch != job.by_epoch:
        job.note(
            "evaluation.by_epoch",
            f"validation was due every {interval} {'epochs' if by_epoch else 'iterations'}, while training counts "
            f"{job.unit}; it is due in the unit of the training today.",
            "val_interval is left at its default.",
        )
    elif "train_cfg" in job.new or interval != 1 or start:
        train_cfg = job.section("train_cfg")
        train_cfg["val_interval"] = interval
        if start is not None:
            train_cfg["val_begin"] = start
            _note_start(job, start, interval)
    if "dynamic_intervals" in evaluation:
        job.section("train_cfg")["dynamic_intervals"] = evaluation.pop("dynamic_intervals")
    best = moved(evaluation, ("save_best", "rule", "greater_keys", "less_keys"))
    best = {name: value for name, value in best.items() if value is not None}
    if "save_best" in best:
        job.section("default_hooks", "checkpoint").setdefault("type", "CheckpointHook")
        job.section("default_hooks", "checkpoint").update(best)
        if best["save_best"] != "auto":
            job.note(
                "evaluation.save_best",
                f"metrics have the prefix of their class today, so {best['save_best']!r} may be called otherwise, such "
                "as 'coco/bbox_mAP' or 'accuracy/top1'.",
                "Give the full name in default_hooks.checkpoint.save_best.",
            )


def _note_start(job: Job, start: int, interval: int) -> None:
    if start == 0:
        job.note("evaluation.start", "0 also validated once before training.", "Call runner.val() for that.")
    elif start % interval:
        job.note(
            "evaluation.start",
            f"validation was counted from {start}; today it is due at multiples of val_interval={interval} from "
            "val_begin on, and after the last.",
        )


# -- metrics -----------------------------------------------------------------------------------------------------------
def _evaluator(job: Job, evaluation: Tree, dataset: Tree) -> Any:
    """The metric that the name in `evaluation.metric` most likely stands for."""
    for name in ("pre_eval", "efficient_test", "test_fn", "priority", "broadcast_bn_buffer", "out_dir", "tmpdir"):
        evaluation.pop(name, None)  # how results were gathered; metrics gather their own today
    device = {"collect_device": "gpu"} if evaluation.pop("gpu_collect", False) else {}
    names = evaluation.get("metric", evaluation.get("metrics"))
    listed = list(names) if isinstance(names, (list, tuple)) else [names]
    kind = str(dataset.get("type", ""))
    metric: Tree
    if "accuracy" in listed:
        evaluation.pop("metric", None)
        metric = {"type": "Accuracy", **_topk(evaluation)}
        rest = [name for name in listed if name != "accuracy"]
        if rest:
            job.note("evaluation.metric", f"{rest!r} are metrics of their own today.", "Add them to val_evaluator.")
    elif any(name in _SEGMENTATION_METRICS for name in listed):
        evaluation.pop("metric", None)
        metric = {"type": "IoUMetric", "iou_metrics": listed}
    elif "Coco" in kind and all(name in (*_COCO_METRICS, None) for name in listed):
        evaluation.pop("metric", None)
        named = {} if names is None else {"metric": names}
        metric = {"type": "CocoMetric", **named, **moved(evaluation, ("classwise", "format_only", "proposal_nums"))}
        if "ann_file" in dataset:
            metric["ann_file"] = dataset["ann_file"]
    else:
        job.note(
            "evaluation.metric",
            f"which class computes {'the metrics' if names is None else repr(names)} of {kind or 'the dataset'} today, "
            "only its project knows.",
            "Add the metric's type to val_evaluator and test_evaluator.",
        )
        return {**moved(evaluation, tuple(evaluation)), **device}
    job.note(
        "evaluation.metric",
        f"metrics are classes of their own; {names!r} is taken to be {metric['type']!r}.",
        "Compare its arguments with the project that has it.",
    )
    job.leftovers("evaluation", evaluation, f"is no known option of {metric['type']}.", "Left out.")
    return {**metric, **device}


def _topk(evaluation: Tree) -> Tree:
    options = evaluation.get("metric_options") or {}
    topk = options.pop("topk", None) if isinstance(options, dict) else None
    if not options:
        evaluation.pop("metric_options", None)
    return {} if topk is None else {"topk": topk}


def _note_transforms(job: Job) -> None:
    found = sorted({kind for part in ("train", "val", "test") for kind in _types(job.new.get(f"{part}_dataloader"))})
    moved_away = [kind for kind in found if kind in _MOVED_TRANSFORMS]
    job.note(
        "data",
        "the arguments of datasets and transforms belong to the project that has them; they are kept as written.",
        "Compare them with its newer version.",
    )
    job.note(
        "data.collate",
        "samples of a batch were stacked by the loader; today they stay a list, which the model's data_preprocessor "
        "stacks.",
        "For a model that takes stacked tensors set collate_fn=dict(type='default_collate') in each loader.",
    )
    if moved_away:
        job.note(
            "data.pipeline",
            f"{', '.join(moved_away)}: normalising, padding and stacking belong to the model's data_preprocessor "
            "today, and packing to one Pack... transform.",
            "Move them there.",
        )


def _types(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield value["type"]
        for item in value.values():
            yield from _types(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _types(item)
