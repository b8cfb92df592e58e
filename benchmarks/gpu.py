"""Throughput and peak memory of Trainwright's Runner over a loop written by hand, on one CUDA device.

Two tasks with data made here: a byte GPT as large as GPT-2 small, and a CNN with the layers of a ResNet-50;
autocast in bfloat16, torch.compile, AdamW. Each measurement is a process of its own; the engines take turns, round
after round, and a figure is the median of the ratios to the loop by hand of the same round. A further run lets every
wait for the device between two reports be an error. Exits 1 when Trainwright has less than 0.99 of the throughput,
more than 1.01 of the memory, or waits. `--device cpu --tiny` tries the program itself, and has no limits.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from common import print_table
from models import ByteGPT, ResNet
from trainwright.engine import Hook
from trainwright.runner import Runner

THROUGHPUT, MEMORY = 0.99, 1.01
PACKAGES = {
    "by-hand": "torch",
    "trainwright": "trainwright",
    "lightning": "lightning",
    "hf-trainer": "transformers",
    "accelerate": "accelerate",
}


@dataclass(frozen=True)
class Settings:
    """One measurement."""

    task: str
    device: str
    tiny: bool
    compiled: bool
    batch_size: int
    n_layers: int
    warmup: int
    iterations: int
    log_every: int

    @property
    def total(self) -> int:
        """Iterations in all: one more, so that the last one that counts ends with the pulling of a batch."""
        return self.warmup + self.iterations + 1


def make_model(settings: Settings) -> Any:
    """The model of the task; one seed."""
    torch.manual_seed(0)
    if settings.task == "gpt" and settings.tiny:
        return ByteGPT(block=32, width=32, n_layers=2, n_heads=4)
    if settings.task == "gpt":
        return ByteGPT(block=1024, width=768, n_layers=settings.n_layers, n_heads=12)
    return ResNet((1, 1), 8, 10) if settings.tiny else ResNet()


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW, in its fused form on a GPU."""
    return torch.optim.AdamW(model.parameters(), lr=1e-4, fused=settings.device == "cuda")


def make_batch(settings: Settings, seed: int) -> dict[str, torch.Tensor]:
    """A batch on the host, in pinned memory where there is a GPU."""
    generator = torch.Generator().manual_seed(seed)
    size = settings.batch_size
    if settings.task == "gpt":
        block = 32 if settings.tiny else 1024
        batch = {"inputs": torch.randint(256, (size, block + 1), generator=generator)}
    else:
        side, n_classes = (32, 10) if settings.tiny else (224, 1000)
        batch = {
            "inputs": torch.randn(size, 3, side, side, generator=generator),
            "labels": torch.randint(n_classes, (size,), generator=generator),
        }
    return {name: value.pin_memory() for name, value in batch.items()} if settings.device == "cuda" else batch


class Batches:
    """Hands out batches that lie ready, and looks at the clock twice: behind the warm-up and at the end."""

    num_workers = 0
    drop_last = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.batch_size = settings.batch_size
        self.pin_memory = settings.device == "cuda"
        self.dataset = range(settings.total * settings.batch_size)
        self.batches = [make_batch(settings, seed) for seed in range(8)]
        self.stamps: list[float] = []
        self.peak_bytes = 0

    def __len__(self) -> int:
        return self.settings.total

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for index in range(len(self)):
            if index in (self.settings.warmup, len(self) - 1):
                self._look()
            yield self.batches[index % len(self.batches)]

    def _look(self) -> None:
        if self.pin_memory:
            torch.cuda.synchronize()
            if self.stamps:
                self.peak_bytes = torch.cuda.max_memory_allocated()
            else:
                torch.cuda.reset_peak_memory_stats()
        self.stamps.append(time.perf_counter())

    def result(self) -> dict[str, float]:
        """Samples a second, and the peak of the iterations that count."""
        begin, end = self.stamps
        return {"rate": self.settings.iterations * self.batch_size / (end - begin), "peak": float(self.peak_bytes)}


def by_hand(settings: Settings, folder: str) -> Batches:
    """A loop written by hand."""
    model = make_model(settings).to(settings.device)
    optimizer, loader = make_optimizer(model, settings), Batches(settings)
    forward = torch.compile(model) if settings.compiled else model
    for index, batch in enumerate(loader):
        batch = {name: value.to(settings.device, non_blocking=True) for name, value in batch.items()}
        with torch.autocast(settings.device, torch.bfloat16):
            loss = forward(**batch, mode="loss")["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if (index + 1) % settings.log_every == 0:
            print(index + 1, loss.item(), flush=True)
    return loader


class NoWaiting(Hook):
    """Makes a wait for the device an error, but for iterations with a report and the first ones."""

    priority = "VERY_HIGH"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Say what a wait is in the iteration that begins."""
        reports = (batch_idx + 1) % self.settings.log_every == 0 or batch_idx + 1 >= self.settings.total - 1
        if self.settings.device == "cuda":
            strict = batch_idx > self.settings.warmup and not reports
            torch.cuda.set_sync_debug_mode("error" if strict else "default")


def trainwright(settings: Settings, folder: str, hooks: list[Hook] | None = None) -> Batches:
    """This engine, with its six default hooks."""
    model, loader = make_model(settings), Batches(settings)
    fused = {"fused": True} if settings.device == "cuda" else {}
    Runner(
        model=model,
        work_dir=folder,
        train_dataloader=loader,
        train_cfg={"by_epoch": False, "max_iters": settings.total},
        optim_wrapper={
            "type": "AmpOptimWrapper",
            "dtype": "bfloat16",
            "optimizer": {"type": "AdamW", "lr": 1e-4, **fused},
        },
        default_hooks={
            "logger": {"type": "LoggerHook", "interval": settings.log_every},
            "checkpoint": {"type": "CheckpointHook", "interval": 10**9, "by_epoch": False, "save_last": False},
        },
        custom_hooks=hooks,
        log_processor={"by_epoch": False},
        experiment_name="gpu",
        cfg={"compile": settings.compiled},
    ).train()
    return loader


def without_waiting(settings: Settings, folder: str) -> Batches:
    """This engine, where waiting is an error."""
    return trainwright(settings, folder, [NoWaiting(settings)])


def lightning(settings: Settings, folder: str) -> Batches:
    """Lightning's Trainer."""
    import lightning as L

    class Net(L.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            model = make_model(settings)
            self.net = torch.compile(model) if settings.compiled else model

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = self.net(**batch, mode="loss")["loss"]
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self, settings)

    loader = Batches(settings)
    L.Trainer(
        accelerator="gpu" if settings.device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed",
        max_steps=settings.total,
        log_every_n_steps=settings.log_every,
        logger=L.pytorch.loggers.CSVLogger(folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Net(), loader)
    return loader


def hf_trainer(settings: Settings, folder: str) -> Batches:
    """Hugging Face's Trainer."""
    from transformers import Trainer, TrainingArguments

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model(settings)

        def forward(self, inputs: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
            batch = {"inputs": inputs} if labels is None else {"inputs": inputs, "labels": labels}
            return {"loss": self.net(**batch, mode="loss")["loss"]}

    model, loader = Net(), Batches(settings)

    class Prebatched(Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            return loader

    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=settings.total,
        per_device_train_batch_size=settings.batch_size,
        logging_steps=settings.log_every,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=settings.device == "cpu",
        bf16=True,
        torch_compile=settings.compiled,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
    )
    optimizer = make_optimizer(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    Prebatched(model=model, args=arguments, train_dataset=loader.dataset, optimizers=(optimizer, schedule)).train()
    return loader


def accelerate(settings: Settings, folder: str) -> Batches:
    """Accelerate: a loop as its documentation shows it."""
    from accelerate import Accelerator

    engine = Accelerator(mixed_precision="bf16", cpu=settings.device == "cpu")
    plain, loader = make_model(settings), Batches(settings)
    model, optimizer = engine.prepare(plain, make_optimizer(plain, settings))
    forward = torch.compile(model) if settings.compiled else model
    for index, batch in enumerate(loader):
        batch = {name: value.to(engine.device, non_blocking=True) for name, value in batch.items()}
        with engine.accumulate(model):
            loss = forward(**batch, mode="loss")["loss"]
            engine.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        if (index + 1) % settings.log_every == 0:
            print(index + 1, loss.item(), flush=True)
    return loader


ENGINES: dict[str, Callable[[Settings, str], Batches]] = {
    "by-hand": by_hand,
    "trainwright": trainwright,
    "trainwright-no-waiting": without_waiting,
    "lightning": lightning,
    "hf-trainer": hf_trainer,
    "accelerate": accelerate,
}


def measure(engine: str, settings: Settings) -> dict[str, float] | None:
    """One measurement in a process of its own; None, with the end of its output, where it failed."""
    order = json.dumps({"engine": engine, "settings": asdict(settings)})
    command = [sys.executable, os.path.abspath(__file__), "--one", order]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"{engine} failed:\n{(done.stdout + done.stderr)[-3000:]}", file=sys.stderr)
        return None
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def one(order: str) -> None:
    """Run the engine that the order names, and print its result."""
    told = json.loads(order)
    settings = Settings(**told["settings"])
    with tempfile.TemporaryDirectory() as folder:
        loader = ENGINES[told["engine"]](settings, folder)
    print(json.dumps(loader.result()), flush=True)


def compare(settings: Settings, repeats: int) -> bool:
    """Print the table of a task; whether the limits are kept."""
    names = [name for name, package in PACKAGES.items() if importlib.util.find_spec(package)]
    missing = [name for name in PACKAGES if name not in names]
    if missing:
        print(f"not installed, so not in the table: {', '.join(missing)}")
    n_params = sum(parameter.numel() for parameter in make_model(settings).parameters())
    print(
        f"{settings.task}: {n_params:,} parameters, batches of {settings.batch_size}, {settings.iterations} iterations"
    )
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in list(found):
            result = measure(name, settings)
            if result is None:
                del found[name]
            else:
                found[name].append(result)
    if not {"by-hand", "trainwright"} <= found.keys():
        return False
    ratios: dict[str, dict[str, float]] = {}
    for name, results in found.items():
        pairs = list(zip(results, found["by-hand"], strict=True))
        ratios[name] = {key: statistics.median(a[key] / (b[key] or 1) for a, b in pairs) for key in ("rate", "peak")}
    rows = [
        [name, *(f"{statistics.median(r[key] for r in found[name]) / unit:.1f}" for key, unit in UNITS), *shown(ratio)]
        for name, ratio in ratios.items()
    ]
    print_table(["engine", "samples/s", "peak MB", "throughput", "memory"], rows)
    waits = measure("trainwright-no-waiting", settings) is None
    print(f"waits for the device between reports: {'yes, see above' if waits else 'none'}\n", flush=True)
    own = ratios["trainwright"]
    kept = own["rate"] >= THROUGHPUT and own["peak"] <= MEMORY
    return not waits and (kept or settings.tiny)


UNITS = (("rate", 1.0), ("peak", 2.0**20))


def shown(ratio: dict[str, float]) -> list[str]:
    """The ratios to the loop by hand; there is no peak on a CPU."""
    return [f"{ratio['rate']:.3f}", f"{ratio['peak']:.3f}" if ratio["peak"] else "-"]


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="models and batches of the smallest size, not compiled")
    parser.add_argument("--tasks", default="gpt,cnn")
    parser.add_argument("--layers", type=int, default=17, help="of the GPT: 17 are 121 M parameters, 12 are 86 M")
    parser.add_argument("--gpt-batch", type=int, default=16)
    parser.add_argument("--cnn-batch", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --device cpu --tiny tries the program itself")
    kept = True
    for task in options.tasks.split(","):
        size = 2 if options.tiny else options.gpt_batch if task == "gpt" else options.cnn_batch
        counts = (2, 4, 3) if options.tiny else (30, options.iterations, 50)
        settings = Settings(
            task, options.device, options.tiny, not options.tiny, size, options.layers, counts[0], counts[1], counts[2]
        )
        kept = compare(settings, 1 if options.tiny else options.repeats) and kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
