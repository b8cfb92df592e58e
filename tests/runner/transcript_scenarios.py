"""The runs whose transcripts are compared: for each the changes to the config, and what is called."""

from transcripts import PRIORITIES, loader

TEST = {"test_dataloader": loader(5, shuffle=False), "test_cfg": {}, "test_evaluator": {"type": "TranscriptMetric"}}
NO_VAL = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}
VAL_ONLY = {"train_dataloader": None, "train_cfg": None, "optim_wrapper": None}
MONITOR = "toy/acc"


def epochs(n=2, **settings):
    """The config of epoch-based training."""
    return {"train_cfg": {"by_epoch": True, "max_epochs": n, **settings}}


def iters(n=5, **settings):
    """The config of iteration-based training; an endless sampler, because MMEngine sleeps where a loader is over."""
    return {
        "train_cfg": {"by_epoch": False, "max_iters": n, **settings},
        "train_dataloader": loader(sampler="InfiniteSampler"),
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 2}},
    }


def hooks(*custom, **default):
    """Custom hooks, and changes to default hooks."""
    return {"custom_hooks": list(custom), "default_hooks": default}


def saving(**settings):
    """The config of CheckpointHook."""
    return {"checkpoint": {"type": "CheckpointHook", **settings}}


def early(**settings):
    """The config of EarlyStoppingHook; at the priority that it has here."""
    return {"type": "EarlyStoppingHook", "monitor": MONITOR, "priority": "LOW", **settings}


def stop(event, nth):
    """A hook that sets stop_training."""
    return {"type": "TranscriptStop", "event": event, "nth": nth}


def logging(**settings):
    """The config of LoggerHook."""
    return {"logger": {"type": "LoggerHook", **settings}}


def optim(**settings):
    """The config of the optimizer wrapper."""
    return {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.125, "momentum": 0.5}, **settings}}


def schedules(*items):
    """The config of the schedulers."""
    return {"param_scheduler": list(items)}


LOOPS = {
    "epochs": {**epochs(), "priorities": PRIORITIES},
    "epochs without validation": NO_VAL,
    "epochs, val_begin": epochs(4, val_begin=3),
    "epochs, val_interval": epochs(5, val_interval=2),
    "epochs, val_begin and val_interval": epochs(5, val_begin=3, val_interval=2),
    "epochs, dynamic_intervals": epochs(6, val_interval=3, dynamic_intervals=[(4, 1), (6, 2)]),
    "epochs, last batch incomplete": {"train_dataloader": loader(7)},
    "epochs, drop_last": {"train_dataloader": loader(7, drop_last=True)},
    "iterations": {**iters(), "priorities": PRIORITIES},
    "iterations, several passes": {**iters(7), "train_dataloader": loader(7)},
    "iterations without validation": {**iters(), **NO_VAL},
    "iterations, val_begin": iters(7, val_begin=4, val_interval=2),
    "iterations, val_interval": iters(7, val_interval=3),
    "iterations, dynamic_intervals": iters(8, val_interval=4, dynamic_intervals=[(5, 1), (7, 2)]),
    "iterations, last batch incomplete": {**iters(2), "train_dataloader": loader(7)},
    "test": {**VAL_ONLY, **TEST, **NO_VAL, "calls": ("test",)},
    "val": {**VAL_ONLY, "calls": ("val",)},
    "train, then test": {**TEST, "calls": ("train", "test")},
    "train, then val": {"calls": ("train", "val")},
    "iterations, train, then test": {**iters(3), **TEST, "calls": ("train", "test")},
    "test, then train": {**TEST, "calls": ("test", "train")},
    "a loop on BaseLoop": {"train_cfg": {"type": "TranscriptLoop", "rounds": 2}},
    "run_epoch and run_iter overridden": {"train_cfg": {"type": "TranscriptEpochs", "max_epochs": 2}},
    "run_iter overridden": {**iters(3, val_interval=2), "train_cfg": {"type": "TranscriptIters", "max_iters": 3}},
    "run_iter of validation overridden": {"val_cfg": {"type": "TranscriptVal"}},
    "generic methods and events of one's own": {
        **TEST,
        **hooks({"type": "TranscriptGeneric"}),
        "calls": ("train", "test"),
    },
}

STOPS = {
    "early stopping": {**epochs(6), **hooks(early(patience=2))},
    "early stopping, threshold": {**epochs(6), **hooks(early(stopping_threshold=0.7))},
    "early stopping, iterations": {**iters(9, val_interval=2), "custom_hooks": [early(patience=2)]},
    "stop_training in an iteration": {**epochs(4), **hooks(stop("after_train_iter", 3))},
    "stop_training before an epoch": {**epochs(4), **hooks(stop("before_train_epoch", 2))},
    "stop_training after an epoch": {**epochs(4, val_interval=3), **hooks(stop("after_train_epoch", 2))},
    "stop_training in a validation": {**epochs(4), **hooks(stop("after_val_iter", 3))},
    "stop_training, iterations": {**iters(9, val_interval=2), "custom_hooks": [stop("after_train_iter", 3)]},
    "stop_training, iterations, where it validates": {
        **iters(9, val_interval=2),
        "custom_hooks": [stop("after_train_iter", 4)],
    },
}

CHECKPOINTS = {
    "interval": {**epochs(5), **hooks(**saving(interval=2))},
    "save_begin": {**epochs(6), **hooks(**saving(interval=2, save_begin=3))},
    "no save_last": {**epochs(3), **hooks(**saving(interval=2, save_last=False))},
    "max_keep_ckpts": {**epochs(4), **hooks(**saving(interval=1, max_keep_ckpts=2))},
    "by iteration in epochs": {**epochs(3), **hooks(**saving(interval=2, by_epoch=False, max_keep_ckpts=2))},
    "by epoch in iterations": {**iters(4), **hooks(**saving(interval=1))},
    "iterations": {**iters(7, val_interval=2), **hooks(**saving(by_epoch=False, interval=2, max_keep_ckpts=2))},
    "iterations, save_begin": {**iters(7), **hooks(**saving(by_epoch=False, interval=2, save_begin=3))},
    "save_best auto": {**epochs(4), **hooks(**saving(interval=1, save_best="auto"))},
    "save_best less": {**epochs(4), **hooks(**saving(interval=1, save_best=MONITOR, rule="less"))},
    "save_best of two": {
        **epochs(5),
        **hooks(**saving(interval=1, save_best=["toy/acc", "toy/loss"])),
        "val_evaluator": {"type": "TranscriptMetric", "names": ["acc", "loss"]},
    },
    "save_best in iterations": {
        **iters(8, val_interval=2),
        **hooks(**saving(by_epoch=False, interval=2, save_best="auto", max_keep_ckpts=1)),
    },
    "published_keys": {
        **epochs(3),
        **hooks(**saving(interval=1, save_best="auto", published_keys=["meta", "state_dict"])),
    },
    "filename_tmpl": {**epochs(3), **hooks(**saving(interval=1, filename_tmpl="my_{:03d}.pth", save_best="auto"))},
    "out_dir": {**hooks(**saving(interval=1, out_dir="out", save_best="auto"))},
    "no optimizer": {**hooks(**saving(interval=1, save_optimizer=False, save_param_scheduler=False))},
    "no checkpoints": {**hooks(checkpoint=None)},
}

LINEAR = {"type": "LinearLR", "start_factor": 0.25, "begin": 0, "end": 3, "by_epoch": False}
PLATEAU = {"type": "ReduceOnPlateauLR", "monitor": MONITOR, "rule": "greater", "factor": 0.5, "patience": 0}

SCHEDULES = {
    "by epoch": {**epochs(4), **schedules({"type": "MultiStepLR", "milestones": [1, 3], "gamma": 0.5})},
    "by iteration": {
        **epochs(3),
        **schedules(LINEAR, {"type": "CosineAnnealingLR", "T_max": 3, "begin": 3, "end": 6, "by_epoch": False}),
    },
    "both": {
        **epochs(4),
        **schedules(LINEAR, {"type": "StepLR", "step_size": 1, "gamma": 0.5, "begin": 2, "by_epoch": True}),
    },
    "converted": {
        **epochs(3),
        **schedules({"type": "PolyLR", "eta_min": 0.0, "begin": 0, "end": 3, "convert_to_iter_based": True}),
    },
    "momentum": {
        **epochs(3),
        **schedules(
            {"type": "ExponentialLR", "gamma": 0.5, "by_epoch": True},
            {"type": "LinearMomentum", "start_factor": 0.5, "end": 4, "by_epoch": False},
        ),
    },
    "one cycle": {
        **epochs(3),
        **schedules({"type": "OneCycleLR", "eta_max": 0.25, "total_steps": 6, "by_epoch": False}),
    },
    "plateau": {**epochs(6), **schedules(PLATEAU)},
    "iterations": {**iters(6), **schedules(LINEAR, {"type": "StepLR", "step_size": 2, "begin": 3, "by_epoch": False})},
    "iterations, plateau": {**iters(8, val_interval=2), **schedules({**PLATEAU, "by_epoch": True})},
    "early stopping with plateau": {**epochs(6), **schedules(PLATEAU), **hooks(early(patience=3))},
}

STEPS = {
    "accumulation": {**epochs(2), "train_dataloader": loader(20), **optim(accumulative_counts=2)},
    "accumulation, iterations": {**iters(6), **optim(accumulative_counts=3)},
    "clipping": {**optim(clip_grad={"max_norm": 0.5})},
    "clipping by value, accumulated": {
        "train_dataloader": loader(16),
        **optim(clip_grad={"type": "value", "clip_value": 0.25}, accumulative_counts=2),
    },
    "several losses": {"model": {"type": "TranscriptModel", "n_terms": 3}},
    "several optimizers": {
        "model": {"type": "TranscriptPair"},
        "optim_wrapper": {"constructor": "TranscriptPairWrappers", "rates": {"one": 0.125, "other": 0.0625}},
    },
    "EMA": {**epochs(3), **hooks({"type": "EMAHook", "momentum": 0.25})},
    "EMA, best": {**epochs(3), **hooks({"type": "EMAHook", "momentum": 0.25}, **saving(interval=1, save_best="auto"))},
    "EMA, iterations": {**iters(6, val_interval=3), "custom_hooks": [{"type": "EMAHook", "momentum": 0.25}]},
}

LOGGING = {
    "interval": {**epochs(3), "train_dataloader": loader(20), **hooks(**logging(interval=2))},
    "interval, the rest of an epoch too": {
        **epochs(3),
        "train_dataloader": loader(20),
        **hooks(**logging(interval=2, ignore_last=False)),
    },
    "interval longer than an epoch": {**epochs(3), **hooks(**logging(interval=10))},
    "interval, iterations": {
        **iters(7, val_interval=3),
        **hooks(**saving(by_epoch=False, interval=4), **logging(interval=2)),
    },
    "interval longer than the training, iterations": {
        **iters(4),
        **hooks(**saving(by_epoch=False), **logging(interval=10)),
    },
    "the name of the experiment": {**epochs(3), **hooks(**logging(interval=1, interval_exp_name=3))},
    "log_metric_by_epoch": {**epochs(3), **hooks(**logging(interval=1, log_metric_by_epoch=False))},
    "with hierarchy": {**TEST, "log_processor": {"log_with_hierarchy": True}, "calls": ("train", "test")},
    "window and digits": {**epochs(3), "log_processor": {"window_size": 3, "num_digits": 2}},
    "mean_pattern": {
        **hooks({"type": "TranscriptScalars"}),
        "log_processor": {"mean_pattern": ".*(mine|time).*"},
    },
    "custom_cfg": {
        **epochs(3),
        **hooks({"type": "TranscriptScalars"}),
        "log_processor": {
            "custom_cfg": [
                {"data_src": "loss", "log_name": "loss_max", "method_name": "max", "window_size": "epoch"},
                {"data_src": "loss", "log_name": "loss_all", "method_name": "mean", "window_size": "global"},
                {"data_src": "mine", "method_name": "min", "window_size": 2},
                {"data_src": "lr", "log_name": "first_lr", "method_name": "current"},
            ]
        },
    },
    "scalars of a hook's own": {**epochs(2), **hooks({"type": "TranscriptScalars"})},
    "results that are no numbers": {
        **TEST,
        "test_evaluator": {"type": "TranscriptMetric", "extra": True},
        "val_evaluator": {"type": "TranscriptMetric", "extra": True},
        "calls": ("train", "test"),
    },
    "iterations in epochs": {**epochs(2), "log_processor": {"by_epoch": False}},
    "epochs in iterations": {**iters(4, val_interval=2), "log_processor": {"by_epoch": True}},
}

SCENARIOS = {
    f"{group}: {name}": changes
    for group, named in (
        ("loop", LOOPS),
        ("stop", STOPS),
        ("checkpoint", CHECKPOINTS),
        ("schedule", SCHEDULES),
        ("step", STEPS),
        ("log", LOGGING),
    )
    for name, changes in named.items()
}

RESUME = {"resume": True}
# The first run, the checkpoint of it, and what is different in the run that goes on from there.
RESUMES = {
    "epochs": (epochs(4, val_interval=2), "epoch_1.pth", RESUME),
    "epochs, without validation": ({**epochs(4), **NO_VAL}, "epoch_2.pth", RESUME),
    "epochs, the last one": ({**epochs(2), **NO_VAL}, "epoch_2.pth", RESUME),
    "epochs, with schedules": (
        {**epochs(4, val_interval=3), **SCHEDULES["both"], **epochs(4, val_interval=3)},
        "epoch_2.pth",
        RESUME,
    ),
    "epochs, with EMA and a best": (
        {
            **epochs(5, val_interval=2),
            **hooks({"type": "EMAHook", "momentum": 0.25}, **saving(interval=1, save_best="auto")),
        },
        "epoch_3.pth",
        RESUME,
    ),
    "iterations": ({**iters(8), **schedules(LINEAR)}, "iter_4.pth", RESUME),
    "iterations, several passes": ({**iters(9), "train_dataloader": loader(12)}, "iter_4.pth", RESUME),
    "iterations, with validation": (iters(8, val_interval=3), "iter_4.pth", RESUME),
    "a loop on BaseLoop": ({"train_cfg": {"type": "TranscriptLoop", "rounds": 3}}, "epoch_1.pth", RESUME),
    "weights only": (epochs(2), "epoch_2.pth", {}),
    "weights only, to test": ({**epochs(2), **TEST}, "epoch_2.pth", {"calls": ("test",)}),
}
