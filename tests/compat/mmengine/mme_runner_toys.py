"""Toys for the tests of MMEngine's Runner, made of whichever mmengine there is, and a config that trains them."""

import contextlib
import copy
import functools

import torch
from torch import nn
from torch.utils.data import Dataset


class Rows(Dataset):
    """Twelve rows of two numbers, and ones."""

    metainfo = {"classes": ("one",)}

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"inputs": torch.full((2,), index / 12), "data_sample": torch.ones(1)}


class BareRows(Dataset):
    """As above, without metainfo."""

    __len__ = Rows.__len__
    __getitem__ = Rows.__getitem__


class Bare(nn.Module):
    """A module with the steps that ``steps`` names, and nothing of mmengine."""

    def __init__(self, steps=("train", "val", "test")):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        for name in steps:
            setattr(self, f"{name}_step", functools.partial(self._step, name))

    def _step(self, name, data, optim_wrapper=None):
        return {"loss": torch.tensor(1.0)} if name == "train" else [torch.tensor(1)]


def collate_padded(batch, pad_value):
    from mmengine.dataset import pseudo_collate

    return pseudo_collate(batch)


def seed_worker(worker_id):
    torch.manual_seed(worker_id)


def stacked(values):
    return torch.stack(values) if isinstance(values, list) else values


def models():
    """A model with one optimizer, and one with two."""
    from mmengine.model import BaseModel

    class Line(BaseModel):
        def __init__(self, data_preprocessor=None):
            super().__init__(data_preprocessor=data_preprocessor)
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 1)

        def forward(self, inputs, data_sample, mode="tensor"):
            outputs = self.second(self.first(stacked(inputs)))
            return {"loss": (stacked(data_sample) - outputs).sum()} if mode == "loss" else outputs

    class Pair(BaseModel):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 1), nn.Linear(2, 1)

        def forward(self, inputs, data_sample, mode="tensor"):
            outputs = {name: getattr(self, name)(stacked(inputs)) for name in ("first", "second")}
            wanted = stacked(data_sample)
            if mode == "loss":
                return {name: (wanted - value).sum() for name, value in outputs.items()}
            return list(outputs["first"])

        def train_step(self, data, optim_wrapper):
            losses = self(**self.data_preprocessor(data), mode="loss")
            for name, loss in losses.items():
                optim_wrapper[name].update_params(loss)
            return losses

    return [Line, Pair, Bare]


def classes():
    """The classes by the registry that they go into."""
    from mmengine.evaluator import BaseMetric, Evaluator
    from mmengine.hooks import Hook
    from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
    from mmengine.runner import LogProcessor, Runner

    class PairConstructor:
        def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
            self.parts = {name: DefaultOptimWrapperConstructor(dict(cfg)) for name, cfg in optim_wrapper_cfg.items()}

        def __call__(self, model):
            return OptimWrapperDict(**{name: part(getattr(model, name)) for name, part in self.parts.items()})

    class Ones(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results.append(1)

        def compute_metrics(self, results):
            return {"acc": 1}

    class OwnEvaluator(Evaluator):
        pass

    class OwnWrapper(OptimWrapper):
        pass

    class OwnLogProcessor(LogProcessor):
        pass

    class OwnRunner(Runner):
        pass

    class Quiet(Hook):
        priority = "LOWEST"

    return {
        "MODELS": models(),
        "DATASETS": [Rows, BareRows],
        "METRICS": [Ones],
        "EVALUATOR": [OwnEvaluator],
        "OPTIM_WRAPPERS": [OwnWrapper],
        "OPTIM_WRAPPER_CONSTRUCTORS": [PairConstructor],
        "LOG_PROCESSORS": [OwnLogProcessor],
        "RUNNERS": [OwnRunner],
        "HOOKS": [Quiet],
        "FUNCTIONS": [collate_padded, seed_worker],
    }


@contextlib.contextmanager
def registered(**more):
    """The toys in the registries, by name, and ``more`` by the registry; taken out afterwards."""
    from mmengine import registry

    made, found = classes(), {}
    for name, kinds in more.items():
        made.setdefault(name, []).extend(kinds)
    try:
        for name, kinds in made.items():
            for kind in kinds:
                getattr(registry, name).register_module(module=kind)
                found[kind.__name__] = kind
        yield found
    finally:
        for name, kinds in made.items():
            for kind in kinds:
                getattr(registry, name).module_dict.pop(kind.__name__, None)


def loader(shuffle=False, **changes):
    sampler = {"type": "DefaultSampler", "shuffle": shuffle}
    return {"dataset": {"type": "Rows"}, "sampler": sampler, "batch_size": 3, "num_workers": 0, **changes}


TRAINING = ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler")


def config(work_dir, name, without=(), **changes):
    """A whole config: three epochs of four iterations, a validation after each; a test."""
    from mmengine.config import Config

    settings = {
        "model": {"type": "Line"},
        "work_dir": str(work_dir),
        "experiment_name": name,
        "train_dataloader": loader(shuffle=True),
        "val_dataloader": loader(),
        "test_dataloader": loader(),
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01}},
        "param_scheduler": {"type": "MultiStepLR", "milestones": [1, 2]},
        "val_evaluator": {"type": "Ones"},
        "test_evaluator": {"type": "Ones"},
        "train_cfg": {"by_epoch": True, "max_epochs": 3},
        "val_cfg": {},
        "test_cfg": {},
        "log_level": "WARNING",
        **copy.deepcopy(changes),
    }
    return Config({key: value for key, value in settings.items() if key not in without})


def by_iterations(work_dir, name, **changes):
    """Twelve iterations, saved one by one."""
    settings = {
        "train_dataloader": loader() | {"sampler": {"type": "InfiniteSampler", "shuffle": True}},
        "log_processor": {"by_epoch": False},
        "train_cfg": {"by_epoch": False, "max_iters": 12},
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}},
        **changes,
    }
    return config(work_dir, name, **settings)


PAIR = {
    "model": {"type": "Pair"},
    "optim_wrapper": {
        "first": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01}},
        "second": {"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 0.02}},
        "constructor": "PairConstructor",
    },
}
