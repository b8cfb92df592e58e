"""One engine, one process: `engines.py NAME ITERATIONS` trains the tiny task and prints a line of JSON.

Every row has the same model, data, optimizer and number of threads, and reports the loss every 50 iterations in the way
its engine does that. Engines run with what they switch on by themselves, except for saving checkpoints, progress bars
(none has a terminal here) and reports to trackers.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", CUDA_VISIBLE_DEVICES="")

import torch
from torch.nn import functional as F

from common import LOG_EVERY, WARMUP, Batches, make_model, make_optimizer

# The package whose presence says whether a row can run.
PACKAGES = {
    "bare": "torch",
    "trainwright": "trainwright",
    "trainwright-trainer": "trainwright",
    "trainwright-fused": "trainwright",
    "bare-accumulating": "torch",
    "trainwright-accumulating": "trainwright",
    "ignite": "ignite",
    "fabric": "lightning",
    "accelerate": "accelerate",
    "trainwright-mmcv1": "trainwright",
    "trainwright-mmengine": "trainwright",
    "mmcv": "mmcv",
    "mmengine": "mmengine",
    "hf-trainer": "transformers",
    "lightning": "lightning",
}


def bare(iterations: int, folder: str) -> Batches:
    """A loop written by hand."""
    model, loader = make_model(), Batches(iterations)
    optimizer = make_optimizer(model)
    for index, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if (index + 1) % LOG_EVERY == 0:
            logging.info("%d %f", index + 1, loss.item())
    return loader


def bare_accumulating(iterations: int, folder: str) -> Batches:
    """A loop written by hand that steps once in four batches, and clips."""
    model, loader = make_model(), Batches(iterations)
    optimizer = make_optimizer(model)
    for index, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        (loss / 4).backward()
        if (index + 1) % 4 == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        if (index + 1) % LOG_EVERY == 0:
            logging.info("%d %f", index + 1, loss.item())
    return loader


def config_first(
    package: str, iterations: int, folder: str, hooks: list[dict[str, Any]] | None = None, **optim_wrapper: Any
) -> Batches:
    """Trainwright and MMEngine: the same call, all six default hooks, and `hooks` besides."""
    base = importlib.import_module(f"{package}.model").BaseModel
    runner_class = importlib.import_module(f"{package}.runner").Runner

    class Net(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str = "tensor") -> Any:
            scores = self.net(inputs)
            return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else scores

    model, loader = Net(), Batches(iterations)
    runner = runner_class(
        model=model,
        work_dir=folder,
        train_dataloader=loader,
        train_cfg={"by_epoch": False, "max_iters": iterations},
        optim_wrapper={"optimizer": make_optimizer(model), **optim_wrapper},
        default_hooks={
            "logger": {"type": "LoggerHook", "interval": LOG_EVERY},
            "checkpoint": {"type": "CheckpointHook", "interval": 10**9, "by_epoch": False},
        },
        custom_hooks=hooks,
        log_processor={"by_epoch": False},
        experiment_name="overhead",
    )
    runner.train()
    return loader


def trainwright(iterations: int, folder: str) -> Batches:
    """This engine."""
    return config_first("trainwright", iterations, folder)


def trainwright_trainer(iterations: int, folder: str) -> Batches:
    """This engine's code-first trainer, with a timer, a learning rate scheduler and a writer."""
    from trainwright.trainer import CommonMetricPrinter, IterationTimer, LRScheduler, PeriodicWriter, SimpleTrainer

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def forward(self, batch: Any) -> dict[str, torch.Tensor]:
            x, y = batch
            return {"loss": F.cross_entropy(self.net(x), y)}

    model, loader = Net(), Batches(iterations)
    optimizer = make_optimizer(model)
    trainer = SimpleTrainer(model, loader, optimizer)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda iteration: 1.0)
    writer = PeriodicWriter([CommonMetricPrinter(iterations)], LOG_EVERY)
    trainer.register_hooks([IterationTimer(), LRScheduler(scheduler=scheduler), writer])
    trainer.train(0, iterations)
    return loader


def with_runner_hooks(engine: Any, iterations: int, folder: str) -> Batches:
    """An EpochBasedRunner: learning rate with a warm-up, optimizer, checkpoints, timer, text log, samplers' seeds."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def train_step(self, data: Any, optimizer: Any) -> dict[str, Any]:
            x, y = data
            loss = F.cross_entropy(self.net(x), y)
            return {"loss": loss, "log_vars": {"loss": loss.item()}, "num_samples": len(x)}

    model, loader = Net(), Batches(iterations)
    loader.sampler = SimpleNamespace(set_epoch=lambda epoch: None)  # type: ignore[attr-defined]
    logger = logging.getLogger("overhead")
    settings = {"optimizer": make_optimizer(model), "work_dir": folder, "logger": logger, "max_epochs": 1}
    runner = engine.EpochBasedRunner(model, **settings)
    runner.register_training_hooks(
        {"policy": "poly", "power": 0.9, "by_epoch": False, "warmup": "linear", "warmup_iters": 500},
        {"grad_clip": None},
        {"interval": 10**9, "save_last": False},
        {"interval": LOG_EVERY, "hooks": [{"type": "TextLoggerHook"}]},
        custom_hooks_config=[{"type": "DistSamplerSeedHook"}],
    )
    runner.run([loader], [("train", 1)])
    return loader


def trainwright_mmcv1(iterations: int, folder: str) -> Batches:
    """This engine under the names of MMCV 1.x."""
    from trainwright.compat.mmcv1 import runner

    return with_runner_hooks(runner, iterations, folder)


def mmcv(iterations: int, folder: str) -> Batches:
    """MMCV 1.x's EpochBasedRunner, without its pauses between epochs."""
    import time

    if importlib.util.find_spec("torchvision") is None:
        sys.modules["torchvision"] = ModuleType("torchvision")  # imported, and not used here
    from mmcv import runner

    time.sleep = lambda seconds: None  # type: ignore[assignment]
    return with_runner_hooks(runner, iterations, folder)


def trainwright_fused(iterations: int, folder: str) -> Batches:
    """This engine with the fused form of the optimizer's step."""
    return config_first("trainwright", iterations, folder, fused="auto")


def trainwright_accumulating(iterations: int, folder: str) -> Batches:
    """This engine with four batches a step, and clipping."""
    return config_first("trainwright", iterations, folder, accumulative_counts=4, clip_grad={"max_norm": 1.0})


def trainwright_mmengine(iterations: int, folder: str) -> Batches:
    """This engine under the names of MMEngine."""
    import trainwright.compat.mmengine as face

    face.install()
    return config_first("mmengine", iterations, folder)


def mmengine(iterations: int, folder: str) -> Batches:
    """MMEngine's Runner."""
    return config_first("mmengine", iterations, folder)


def ignite(iterations: int, folder: str) -> Batches:
    """PyTorch-Ignite's Engine with its supervised trainer."""
    from ignite.engine import Events, create_supervised_trainer

    model, loader = make_model(), Batches(iterations)
    trainer = create_supervised_trainer(model, make_optimizer(model), F.cross_entropy)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(every=LOG_EVERY),
        lambda engine: logging.info("%d %f", engine.state.iteration, engine.state.output),
    )
    trainer.run(loader, max_epochs=1)
    return loader


def fabric(iterations: int, folder: str) -> Batches:
    """Lightning Fabric: a loop written by hand with its backward and its wrappers."""
    from lightning.fabric import Fabric

    engine = Fabric(accelerator="cpu", devices=1)
    loader, plain = Batches(iterations), make_model()
    model, optimizer = engine.setup(plain, make_optimizer(plain))
    for index, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y)
        engine.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if (index + 1) % LOG_EVERY == 0:
            engine.log("loss", loss.item(), step=index + 1)
    return loader


def accelerate(iterations: int, folder: str) -> Batches:
    """Accelerate: a loop written by hand around `accumulate`, as its documentation shows it."""
    from accelerate import Accelerator

    engine = Accelerator(cpu=True)
    loader, plain = Batches(iterations), make_model()
    model, optimizer = engine.prepare(plain, make_optimizer(plain))
    for index, (x, y) in enumerate(loader):
        with engine.accumulate(model):
            loss = F.cross_entropy(model(x), y)
            engine.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        if (index + 1) % LOG_EVERY == 0:
            engine.log({"loss": loss.item()}, step=index + 1)
    return loader


def hf_trainer(iterations: int, folder: str) -> Batches:
    """Hugging Face's Trainer."""
    from transformers import Trainer, TrainingArguments

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            scores = self.net(x)
            return {"loss": F.cross_entropy(scores, labels), "logits": scores}

    loader, model = Batches(iterations, as_dict=True), Net()

    class Prebatched(Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            return loader

    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=iterations,
        per_device_train_batch_size=32,
        logging_steps=LOG_EVERY,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
    )
    optimizer = make_optimizer(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    Prebatched(model=model, args=arguments, train_dataset=loader.dataset, optimizers=(optimizer, schedule)).train()
    return loader


def lightning(iterations: int, folder: str) -> Batches:
    """Lightning's Trainer with its CSV logger."""
    import lightning as L
    from lightning.pytorch.loggers import CSVLogger

    class Net(L.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            x, y = batch
            loss = F.cross_entropy(self.net(x), y)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self)

    loader = Batches(iterations)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=iterations,
        logger=CSVLogger(folder),
        log_every_n_steps=LOG_EVERY,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Net(), loader)
    return loader


ENGINES: dict[str, Callable[[int, str], Batches]] = {
    "bare": bare,
    "trainwright": trainwright,
    "trainwright-trainer": trainwright_trainer,
    "trainwright-fused": trainwright_fused,
    "bare-accumulating": bare_accumulating,
    "trainwright-accumulating": trainwright_accumulating,
    "ignite": ignite,
    "fabric": fabric,
    "accelerate": accelerate,
    "trainwright-mmcv1": trainwright_mmcv1,
    "trainwright-mmengine": trainwright_mmengine,
    "mmcv": mmcv,
    "mmengine": mmengine,
    "hf-trainer": hf_trainer,
    "lightning": lightning,
}


def main(name: str, iterations: int) -> None:
    """Run one engine and print its result."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loader = ENGINES[name](iterations + WARMUP + 1, folder)
    version = getattr(importlib.import_module(PACKAGES[name]), "__version__", "?")
    print(json.dumps({"engine": name, "version": version, "us": loader.microseconds()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
