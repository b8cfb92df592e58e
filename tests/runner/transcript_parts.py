"""The parts of the runs that are written down, on the base classes of an engine, as downstream projects write them."""

import torch
from torch.utils.data import Dataset
from transcripts import STAGES, argument, kind, seen, write

SCRIPT = [0.5, 0.75, 0.625, 0.5, 0.25, 0.875, 0.75, 0.5, 1.0, 0.5]


class TranscriptData(Dataset):
    """``{"inputs": (2,), "target": (1,)}``, numbers that are exact in binary."""

    metainfo = {"classes": ("a", "b")}

    def __init__(self, size=8):
        numbers = torch.arange(2.0 * size).reshape(size, 2) / 16
        self.inputs, self.targets = numbers, numbers.sum(1, keepdim=True) - 1

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return {"inputs": self.inputs[index], "target": self.targets[index]}


def constant_layer():
    """A layer that begins with numbers that are exact in binary."""
    layer = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(layer.weight, 0.25)
    torch.nn.init.constant_(layer.bias, 0.5)
    return layer


def model_class(engine):
    class TranscriptModel(engine.BaseModel):
        def __init__(self, n_terms=1, data_preprocessor=None):
            super().__init__(data_preprocessor)
            self.layer, self.n_terms = constant_layer(), n_terms

        def forward(self, inputs, target=None, mode="tensor"):
            values = self.layer(inputs)
            if mode == "loss":
                loss = (values - target).square().mean()
                if self.n_terms == 1:
                    return {"loss": loss}
                return {"loss_fit": loss, "loss_size": values.abs().mean(), "off": values.max()}
            return [{"value": value} for value in values] if mode == "predict" else values

    return TranscriptModel


def pair_classes(engine):
    """A model of two parts, and an optimizer for each."""

    class TranscriptPair(engine.BaseModel):
        def __init__(self, data_preprocessor=None):
            super().__init__(data_preprocessor)
            self.one, self.other = constant_layer(), constant_layer()

        def forward(self, inputs, target=None, mode="tensor"):
            values = self.one(inputs) + self.other(inputs)
            return [{"value": value} for value in values] if mode == "predict" else values

        def train_step(self, data, optim_wrapper):
            data = self.data_preprocessor(data, True)
            losses = {}
            for name in ("one", "other"):
                loss = (getattr(self, name)(data["inputs"]) - data["target"]).square().mean()
                optim_wrapper[name].update_params(loss)
                losses[f"loss_{name}"] = loss.detach()
            return losses

    class TranscriptPairWrappers:
        def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
            self.rates = optim_wrapper_cfg["rates"]

        def __call__(self, model):
            made = {
                name: engine.OptimWrapper(torch.optim.SGD(getattr(model, name).parameters(), lr=rate, momentum=0.5))
                for name, rate in self.rates.items()
            }
            return engine.OptimWrapperDict(**made)

    return TranscriptPair, TranscriptPairWrappers


def metric_class(engine):
    class TranscriptMetric(engine.BaseMetric):
        """Gives the values of the script in turn."""

        default_prefix = "toy"

        def __init__(self, names=("acc",), extra=False, prefix=None):
            super().__init__(prefix=prefix)
            self.names, self.extra, self.values = names, extra, iter(SCRIPT)

        def process(self, data_batch, data_samples):
            self.results.extend(data_samples)

        def compute_metrics(self, results):
            value = next(self.values)
            found = {name: value + n for n, name in enumerate(self.names)}
            return {**found, "table": ["a", value]} if self.extra else found

    return TranscriptMetric


def probe_class(engine):
    """A hook that overrides every hook point and writes down what it gets."""

    def point(event):
        def method(self, runner, **values):
            arguments = {name: argument(name, value) for name, value in sorted(values.items())}
            write(event=event, at=self.at, arguments=arguments, **seen(engine, runner))

        return method

    def __init__(self, at):
        self.at = at

    return type("TranscriptProbe", (engine.Hook,), {"__init__": __init__, **{name: point(name) for name in STAGES}})


def acting_classes(engine):
    """Hooks that do something."""

    class TranscriptStop(engine.Hook):
        """Ends the training at an event."""

        priority = "NORMAL"

        def __init__(self, event, nth):
            self.event, self.nth, self.count = event, nth, 0
            setattr(self, event, self.stop)

        def stop(self, runner, **values):
            self.count += 1
            if self.count == self.nth:
                runner.train_loop.stop_training = True

    class TranscriptScalars(engine.Hook):
        """Logs scalars of its own."""

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.message_hub.update_scalar("train/mine", 2.0 * batch_idx)
            runner.message_hub.update_scalar("train/grad_norm_like", 1.5 * batch_idx, count=2)
            runner.message_hub.update_info("mine", batch_idx)

        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.message_hub.update_scalar("val/loss", 1.0 + batch_idx)

    return TranscriptStop, TranscriptScalars


def generic_class(engine):
    class TranscriptGeneric(engine.Hook):
        """Takes part through the generic methods, and at points of its own."""

        extra_points = ("before_anything",)

        def note(self, runner, what):
            write(event=what, at="generic", iter=runner.iter, epoch=runner.epoch)

        def _before_epoch(self, runner, mode="train"):
            self.note(runner, f"_before_epoch({mode})")

        def _after_epoch(self, runner, mode="train"):
            self.note(runner, f"_after_epoch({mode})")

        def _before_iter(self, runner, batch_idx, data_batch=None, mode="train"):
            self.note(runner, f"_before_iter({mode}, {batch_idx}, {kind(data_batch)})")
            runner.call_hook("before_anything", number=batch_idx)

        def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
            self.note(runner, f"_after_iter({mode}, {batch_idx}, {kind(data_batch)}, {kind(outputs)})")

        def before_anything(self, runner, number):
            self.note(runner, f"before_anything({number})")

        def after_train_epoch(self, runner):
            self.note(runner, "before super().after_train_epoch")
            super().after_train_epoch(runner)
            for n in (1, 2, 3):
                self.note(runner, f"every {n}: {self.every_n_epochs(runner, n)} {self.is_last_train_epoch(runner)}")

    return TranscriptGeneric


def own_loop_class(engine):
    class TranscriptLoop(engine.BaseLoop):
        """A training loop that owes the engine nothing but the base class."""

        def __init__(self, runner, dataloader, rounds):
            super().__init__(runner, dataloader)
            self._max_epochs = self.max_epochs = rounds
            self._max_iters = self.max_iters = rounds * len(self.dataloader)
            self._epoch = self._iter = 0
            self.stop_training = False

        epoch = property(lambda self: self._epoch)
        iter = property(lambda self: self._iter)

        def run(self):
            self.runner.call_hook("before_train")
            while self._epoch < self._max_epochs:
                self.run_epoch()
                self.runner.val_loop.run()
            self.runner.call_hook("after_train")
            return self.runner.model

        def run_epoch(self):
            self.runner.call_hook("before_train_epoch")
            self.runner.model.train()
            for idx, batch in enumerate(self.dataloader):
                self.runner.call_hook("before_train_iter", batch_idx=idx, data_batch=batch)
                outputs = self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
                self.runner.call_hook("after_train_iter", batch_idx=idx, data_batch=batch, outputs=outputs)
                self._iter += 1
            self.runner.call_hook("after_train_epoch")
            self._epoch += 1

    return TranscriptLoop


def loop_classes(engine):
    """Loops that override single methods."""

    class TranscriptEpochs(engine.EpochBasedTrainLoop):
        def run_epoch(self):
            write(event="run_epoch", at="loop", epoch=self.epoch, iter=self.iter)
            self.runner.call_hook("before_train_epoch")
            self.runner.model.train()
            for idx, batch in enumerate(self.dataloader):
                self.run_iter(idx, batch)
            self.runner.call_hook("after_train_epoch")
            self._epoch += 1

        def run_iter(self, idx, data_batch):
            write(event=f"run_iter({idx})", at="loop", epoch=self.epoch, iter=self.iter)
            super().run_iter(idx, data_batch)

    class TranscriptIters(engine.IterBasedTrainLoop):
        def run_iter(self, data_batch):
            write(event="run_iter", at="loop", epoch=self.epoch, iter=self.iter)
            super().run_iter(data_batch)

    class TranscriptVal(engine.ValLoop):
        def run_iter(self, idx, data_batch):
            write(event=f"val run_iter({idx})", at="loop")
            super().run_iter(idx, data_batch)

    return TranscriptEpochs, TranscriptIters, TranscriptVal


def register(engine):
    """Make the parts known to an engine's registries."""
    pair, pair_wrappers = pair_classes(engine)
    parts = {
        "MODELS": [model_class(engine), pair],
        "OPTIM_WRAPPER_CONSTRUCTORS": [pair_wrappers],
        "METRICS": [metric_class(engine)],
        "HOOKS": [probe_class(engine), generic_class(engine), *acting_classes(engine)],
        "DATASETS": [TranscriptData],
        "LOOPS": [own_loop_class(engine), *loop_classes(engine)],
    }
    for registry, classes in parts.items():
        for cls in classes:
            getattr(engine.registries, registry).register_module(module=cls)
