"""Whole configs for MMCV 1.x with today's keys."""

import pytest

from trainwright.base.errors import ConfigError
from trainwright.config import Config
from trainwright.config.migration import migrate

DETECTION = """
model = dict(type="FasterRCNN", backbone=dict(type="ResNet", depth=50), train_cfg=dict(rpn=dict(pos=0.7)))
data_root = "data/coco/"
pipeline = [dict(type="LoadImageFromFile"), dict(type="Normalize", mean=[1.0]), dict(type="Collect", keys=["img"])]
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=3,
    persistent_workers=True,
    train=dict(type="CocoDataset", ann_file=data_root + "train.json", pipeline=pipeline),
    val=dict(type="CocoDataset", ann_file=data_root + "val.json", pipeline=pipeline),
    test=dict(type="CocoDataset", ann_file=data_root + "test.json", pipeline=pipeline, samples_per_gpu=8),
)
evaluation = dict(interval=2, start=4, metric=["bbox", "segm"], save_best="bbox_mAP", rule="greater", classwise=True)
optimizer = dict(type="SGD", lr=0.02, momentum=0.9, paramwise_cfg=dict(norm_decay_mult=0.0))
optimizer_config = dict(grad_clip=dict(max_norm=35, norm_type=2))
lr_config = dict(policy="step", warmup="linear", warmup_iters=500, warmup_ratio=0.001, step=[8, 11])
runner = dict(type="EpochBasedRunner", max_epochs=12)
checkpoint_config = dict(interval=2, max_keep_ckpts=3, create_symlink=False)
log_config = dict(interval=50, hooks=[dict(type="TextLoggerHook"), dict(type="TensorboardLoggerHook", log_dir="tb")])
custom_hooks = [dict(type="NumClassCheckHook")]
dist_params = dict(backend="nccl")
log_level = "INFO"
load_from = None
resume_from = None
workflow = [("train", 1)]
opencv_num_threads = 0
mp_start_method = "fork"
find_unused_parameters = True
auto_scale_lr = dict(enable=False, base_batch_size=16)
cudnn_benchmark = True
seed = 7
deterministic = False
gpu_ids = range(1)
"""
SEGMENTATION = """
model = dict(type="EncoderDecoder")
train_cfg = dict()
test_cfg = dict(mode="whole")
data = dict(samples_per_gpu=4, workers_per_gpu=0, persistent_workers=True, train=[dict(type="A"), dict(type="B")],
            val=dict(type="ADE20KDataset"),
            test=dict(type="RepeatDataset", times=2, dataset=dict(type="ADE20KDataset")))
optimizer = dict(type="AdamW", lr=6e-5, betas=(0.9, 0.999))
optimizer_config = dict(type="GradientCumulativeFp16OptimizerHook", cumulative_iters=4, loss_scale="dynamic")
lr_config = dict(policy="poly", power=1.0, min_lr=0.0, by_epoch=False)
runner = dict(type="IterBasedRunner", max_iters=160000)
checkpoint_config = dict(by_epoch=False, interval=16000)
evaluation = dict(interval=16000, metric="mIoU", pre_eval=True)
resume_from = "iter_100.pth"
"""


def old(text):
    return Config.fromstring(text, ".py")._to_lazy_dict()


def migrated(text):
    result = migrate(old(text))
    assert result.changed
    written = Config(result.tree).pretty_text
    assert Config.fromstring(written, ".py").to_dict() == result.tree
    return result.tree, {note.key: str(note) for note in result.notes}


def minimal(**settings):
    """A tree with an optimizer and a length, and what the test is about."""
    runner = {"type": "EpochBasedRunner", "max_epochs": 3}
    tree = {"optimizer": {"type": "SGD", "lr": 0.1}, "runner": runner, "default_scope": "mmengine", **settings}
    result = migrate(tree)
    return result.tree, {note.key: str(note) for note in result.notes}


PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "Normalize", "mean": [1.0]},
    {"type": "Collect", "keys": ["img"]},
]


def detection_loader(part, batch_size, **more):
    dataset = {"type": "CocoDataset", "ann_file": f"data/coco/{part}.json", "pipeline": PIPELINE, **more}
    return {
        "batch_size": batch_size,
        "num_workers": 3,
        "persistent_workers": True,
        "sampler": {"type": "DefaultSampler", "shuffle": part == "train"},
        "dataset": dataset,
    }


COCO = {"type": "CocoMetric", "metric": ["bbox", "segm"], "classwise": True, "ann_file": "data/coco/val.json"}
MIGRATED_DETECTION = {
    "model": {
        "type": "FasterRCNN",
        "backbone": {"type": "ResNet", "depth": 50},
        "train_cfg": {"rpn": {"pos": 0.7}},
    },
    "data_root": "data/coco/",
    "pipeline": PIPELINE,
    "log_level": "INFO",
    "train_dataloader": detection_loader("train", 2),
    "val_dataloader": detection_loader("val", 1, test_mode=True),
    "test_dataloader": detection_loader("test", 8, test_mode=True),
    "val_evaluator": COCO,
    "test_evaluator": {**COCO, "ann_file": "data/coco/test.json"},
    "train_cfg": {"by_epoch": True, "max_epochs": 12, "val_interval": 2, "val_begin": 4},
    "val_cfg": {"type": "ValLoop"},
    "test_cfg": {"type": "TestLoop"},
    "optim_wrapper": {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 0.02, "momentum": 0.9},
        "clip_grad": {"max_norm": 35, "norm_type": 2},
        "paramwise_cfg": {"norm_decay_mult": 0.0},
    },
    "param_scheduler": [
        {"type": "LinearLR", "by_epoch": False, "start_factor": 0.001, "begin": 0, "end": 501},
        {"type": "MultiStepLR", "by_epoch": True, "milestones": [8, 11], "gamma": 0.1},
    ],
    "auto_scale_lr": {"enable": False, "base_batch_size": 16},
    "default_hooks": {
        "checkpoint": {
            "type": "CheckpointHook",
            "interval": 2,
            "max_keep_ckpts": 3,
            "save_best": "bbox_mAP",
            "rule": "greater",
        },
        "logger": {"type": "LoggerHook", "interval": 50},
    },
    "custom_hooks": [{"type": "NumClassCheckHook"}],
    "log_processor": {"type": "LogProcessor", "window_size": 50, "by_epoch": True},
    "visualizer": {
        "type": "Visualizer",
        "vis_backends": [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend", "save_dir": "tb"}],
        "name": "visualizer",
    },
    "model_wrapper_cfg": {"type": "MMDistributedDataParallel", "find_unused_parameters": True},
    "env_cfg": {
        "cudnn_benchmark": True,
        "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
        "dist_cfg": {"backend": "nccl"},
    },
    "randomness": {"seed": 7, "deterministic": False},
    "load_from": None,
    "resume": False,
}


def test_a_detection_config():
    tree, notes = migrated(DETECTION)
    assert tree == MIGRATED_DETECTION
    assert set(notes) == {
        *("data", "data.val", "data.collate", "data.pipeline", "default_scope"),
        *("evaluation.save_best", "evaluation.metric"),
    }
    assert "'bbox_mAP' may be called otherwise, such as 'coco/bbox_mAP'" in notes["evaluation.save_best"]
    assert "Collect, Normalize: normalising" in notes["data.pipeline"]
    assert "collate_fn=dict(type='default_collate')" in notes["data.collate"]
    assert "such as 'mmdet'" in notes["default_scope"]


def test_a_segmentation_config():
    tree, notes = migrated(SEGMENTATION)
    assert tree["model"] == {"type": "EncoderDecoder", "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    assert tree["train_cfg"] == {"by_epoch": False, "max_iters": 160000, "val_interval": 16000}
    assert tree["train_dataloader"] == {
        "batch_size": 4,
        "num_workers": 0,
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
        "dataset": {"type": "ConcatDataset", "datasets": [{"type": "A"}, {"type": "B"}]},
    }
    assert tree["test_dataloader"]["dataset"] == {
        "type": "RepeatDataset",
        "times": 2,
        "dataset": {"type": "ADE20KDataset", "test_mode": True},
    }
    assert tree["val_evaluator"] == tree["test_evaluator"] == {"type": "IoUMetric", "iou_metrics": ["mIoU"]}
    assert tree["optim_wrapper"] == {
        "type": "AmpOptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 6e-5, "betas": (0.9, 0.999)},
        "loss_scale": "dynamic",
        "accumulative_counts": 4,
    }
    scheduler = {"type": "PolyLR", "by_epoch": False, "power": 1.0, "eta_min": 0.0, "begin": 0, "end": 160001}
    assert tree["param_scheduler"] == [scheduler]
    assert tree["default_hooks"]["checkpoint"] == {"type": "CheckpointHook", "by_epoch": False, "interval": 16000}
    assert (tree["load_from"], tree["resume"]) == ("iter_100.pth", True)
    assert "whole forward pass" in notes["optimizer_config.type"]


@pytest.mark.parametrize(
    ("settings", "key", "expected"),
    [
        ({"total_epochs": 9, "runner": None}, "train_cfg", {"by_epoch": True, "max_epochs": 9}),
        ({"fp16": {"loss_scale": 512.0}}, "optim_wrapper.loss_scale", 512.0),
        ({"fp16": {}}, "optim_wrapper.loss_scale", 512.0),
        (
            {"optimizer_config": {"type": "DistOptimizerHook", "update_interval": 4}},
            "optim_wrapper.accumulative_counts",
            4,
        ),
        (
            {"optimizer_config": {"detect_anomalous_params": True}},
            "model_wrapper_cfg",
            {"type": "MMDistributedDataParallel", "detect_anomalous_params": True},
        ),
        ({"checkpoint_config": None}, "default_hooks.checkpoint", None),
        ({"checkpoint_config": {"sync_buffer": True}}, "custom_hooks", [{"type": "SyncBuffersHook"}]),
        ({"auto_resume": True}, "resume", True),
        (
            {"custom_hooks": [{"type": "EMAHook", "momentum": 0.001, "priority": 49}]},
            "custom_hooks",
            [{"type": "EMAHook", "ema_type": "ExponentialMovingAverage", "momentum": 0.001, "priority": 49}],
        ),
        (
            {"custom_hooks": [{"type": "ExpMomentumEMAHook", "momentum": 1e-4, "total_iter": 100}]},
            "custom_hooks",
            [
                {
                    "type": "EMAHook",
                    "ema_type": "ExpMomentumEMA",
                    "momentum": 1e-4,
                    "gamma": 100,
                    "update_buffers": True,
                }
            ],
        ),
        ({"evaluation": {"dynamic_intervals": [(2, 1)], "interval": 2}}, "train_cfg.dynamic_intervals", [(2, 1)]),
        (
            {"momentum_config": {"policy": "step", "step": [2]}},
            "param_scheduler",
            [{"type": "MultiStepMomentum", "by_epoch": True, "milestones": [2], "gamma": 0.5}],
        ),
        (
            {
                "data": {"samples_per_gpu": 2, "val": {"type": "D"}, "val_dataloader": {"samples_per_gpu": 5}},
                "evaluation": {"metric": "accuracy", "metric_options": {"topk": (1, 5)}},
            },
            "val_evaluator",
            {"type": "Accuracy", "topk": (1, 5)},
        ),
        (
            {"data": {"val": {"type": "D"}, "val_dataloader": {"samples_per_gpu": 5}}},
            "val_dataloader.batch_size",
            5,
        ),
    ],
    ids=str,
)
def test_one_setting(settings, key, expected):
    tree, _ = minimal(**settings)
    for part in key.split("."):
        tree = tree[part]
    assert tree == expected


@pytest.mark.parametrize(
    ("settings", "key", "text"),
    [
        ({"workflow": [("train", 1), ("val", 1)]}, "workflow", "losses on the validation data"),
        ({"runner": {"type": "MyRunner", "max_iters": 5}}, "runner.type", "'MyRunner' is a runner of the config's own"),
        ({"runner": {"type": "EpochBasedRunner"}}, "runner", "how long to train is not said"),
        ({"runner": {"max_epochs": 3, "max_iters": 9, "type": "EpochBasedRunner"}}, "runner", "other unit too (9)"),
        ({"runner": {"max_epochs": 3, "meta": 1}}, "runner.meta", "1 is no option of a training loop. Left out."),
        ({"lr_config": {"policy": "inv", "gamma": 0.1}}, "lr_config.policy", "'inv', base / (1 + gamma * step)"),
        ({"lr_config": {"policy": "Odd", "a": 1}}, "lr_config.policy", "Its options were {'a': 1}; write a"),
        ({"lr_config": {"step": [2]}}, "lr_config.policy", "it names no policy"),
        ({"lr_config": {"policy": "fixed", "gama": 1}}, "lr_config.gama", "1 is no option of the policy 'fixed'"),
        (
            {"lr_config": {"policy": "fixed", "warmup": "log", "warmup_iters": 2}},
            "lr_config.warmup",
            "constant, linear",
        ),
        (
            {"momentum_config": {"policy": "fixed", "warmup": "linear", "warmup_iters": 2}},
            "momentum_config.warmup",
            "divided by its factor",
        ),
        (
            {
                "runner": {"type": "IterBasedRunner", "max_iters": 9},
                "lr_config": {"policy": "exp", "gamma": 1, "by_epoch": True},
            },
            "lr_config.by_epoch",
            "counted epochs although the training counts iterations",
        ),
        ({"optimizer": {"a": {"type": "SGD"}, "b": {"type": "Adam"}}}, "optimizer", "several optimizers (a, b)"),
        ({"optimizer": None, "optimizers": {"a": {"type": "SGD"}}}, "optimizer", "several optimizers (a)"),
        ({"optimizer": {"type": "SGD", "constructor": "Mine"}}, "optimizer.constructor", "'Mine' builds an optimizer"),
        ({"optimizer_config": {"type": "MyHook"}}, "optimizer_config.type", "'MyHook' is a hook of the config's own"),
        ({"optimizer_config": {"foo": 1}}, "optimizer_config.foo", "has no counterpart in OptimWrapper"),
        ({"evaluation": {"interval": 10, "by_epoch": False}}, "evaluation.by_epoch", "every 10 iterations, while"),
        ({"evaluation": {"start": 0}}, "evaluation.start", "validated once before training"),
        ({"evaluation": {"start": 3, "interval": 2}}, "evaluation.start", "was counted from 3"),
        (
            {"data": {"val": {"type": "Own"}}, "evaluation": {"metric": "AP"}},
            "evaluation.metric",
            "which class computes 'AP' of Own today",
        ),
        ({"data": {"train": {"type": "D"}, "odd": 1}}, "data.odd", "is no part of data that is known here"),
        (
            {"log_config": {"hooks": [{"type": "PaviLoggerHook"}]}},
            "log_config.hooks",
            "no writer that answers to 'PaviLoggerHook'",
        ),
        ({"checkpoint_config": {"what": 2}}, "checkpoint_config.what", "2 is no option of CheckpointHook"),
        (
            {"custom_hooks": [{"type": "EMAHook", "momentum": 0.5}]},
            "custom_hooks.EMAHook.warm_up",
            "(1 + i) / (100 + i)",
        ),
        ({"custom_hooks": [{"type": "SyncRandomSizeHook"}]}, "custom_hooks.SyncRandomSizeHook", "batch_augments"),
        ({"gpu_ids": [0, 1]}, "gpu_ids", "CUDA_VISIBLE_DEVICES"),
        ({"load_from": "a", "resume_from": "b"}, "load_from", "'a' had no effect beside resume_from"),
        ({"load_from": "a", "auto_resume": True}, "auto_resume", "load_from='a' would be resumed"),
        ({"data": 3}, "data", "it is 3, and a dict is expected. Left out."),
        ({"optim_wrapper": {"type": "Mine"}}, "optim_wrapper", "Its own value is kept"),
    ],
    ids=str,
)
def test_what_is_not_carried_over_is_said(settings, key, text):
    tree, notes = minimal(**settings)
    assert text in notes[key]
    assert set(notes) == {key} | ({"data", "data.val", "data.collate"} & set(notes))
    assert "default_scope" in tree


def test_several_optimizers_take_their_parameter_groups_with_them():
    groups = {"custom_keys": {"flow": {"lr_mult": 0.1}}}
    settings = {"optimizer": None, "optimizers": {"gen": {"type": "Adam", "lr": 1e-4, "paramwise_cfg": groups}}}
    tree, _ = minimal(**settings)
    wrapper = {"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 1e-4}, "paramwise_cfg": groups}
    assert tree["optim_wrapper"] == {"gen": wrapper, "constructor": "MultiOptimWrapperConstructor"}
    assert "optimizers" not in tree


def test_unknown_keys_are_kept_and_the_old_tree_is_not_changed():
    given = {"my_key": {"a": [1]}, "optimizer": {"type": "SGD"}, "total_epochs": 2, "default_scope": "x"}
    before = repr(given)
    result = migrate(given)
    assert repr(given) == before
    assert result.tree["my_key"] == {"a": [1]}
    assert result.tree["my_key"] is not given["my_key"]
    assert result.notes == []


def test_todays_form_is_left_alone():
    tree = {"model": {"type": "M"}, "optim_wrapper": {"optimizer": {"type": "SGD"}}, "train_cfg": {"by_epoch": True}}
    assert migrate(tree) == (tree, [], False)


def test_neither_form_is_refused():
    with pytest.raises(ConfigError) as caught:
        migrate({"model": {}, "img_norm_cfg": {}})
    assert "none of its keys (img_norm_cfg, model) is one of those that are migrated (checkpoint_config," in str(
        caught.value
    )
    assert "migrate the config that inherits from it" in str(caught.value)
    with pytest.raises(ConfigError, match=r"none of its keys \(there are none\)"):
        migrate({})


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lr_config": {"policy": "exp"}}, "lr_config lacks 'gamma', which its policy needs"),
        ({"lr_config": {"policy": "step", "step": ["a", 3]}}, "lr_config and momentum_config: a value has a type"),
        ({"custom_hooks": [{"type": "EMAHook", "momentum": "much"}]}, "custom_hooks: a value has a type"),
    ],
)
def test_an_old_config_that_never_worked(settings, text):
    with pytest.raises(ConfigError) as caught:
        minimal(**settings)
    assert text in str(caught.value)


def test_the_momentum_of_a_one_cycle(tmp_path):
    old = {
        "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9},
        "runner": {"type": "IterBasedRunner", "max_iters": 100},
        "lr_config": {"policy": "OneCycle", "max_lr": 0.4},
        "momentum_config": {"policy": "OneCycle", "base_momentum": 0.8, "pct_start": 0.25},
    }
    schedulers = migrate(old).tree["param_scheduler"]
    assert {
        key: schedulers[1][key] for key in ("type", "eta_max", "eta_min", "total_steps", "pct_start", "by_epoch")
    } == {
        "type": "OneCycleMomentum",
        "eta_max": 0.95,
        "eta_min": 0.8,
        "total_steps": 100,
        "pct_start": 0.25,
        "by_epoch": False,
    }
