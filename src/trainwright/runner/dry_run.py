"""A training step that is not computed: what a config would cost on so many ranks, found out on one CPU."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import distributed as torch_dist
from torch import nn
from torch.utils._pytree import tree_map

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.config import Config
from trainwright.data import build_dataloader
from trainwright.registry import STRATEGIES, DefaultScope
from trainwright.runner.dry_run_recorder import StandInForDDP, StepRecorder, optimizer_tensors, sizes
from trainwright.runner.strategy_choice import named_by_wrapper, wrapper_settings
from trainwright.state import rng
from trainwright.strategies import BaseStrategy, DDPStrategy, SingleDeviceStrategy, replicas

SHORT = {"single": "SingleDeviceStrategy", "ddp": "DDPStrategy", "fsdp": "FSDPStrategy", "hsdp": "FSDPStrategy",
         "tp": "TensorParallelStrategy"}  # fmt: skip
_TORCH = os.path.dirname(os.path.abspath(str(torch.__file__))) + os.sep
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_MESH_METHODS = ("__init__", "__getitem__", "_flatten", "get_coordinate", "get_local_rank", "get_group")
_MOST_MICRO_BATCHES = 10_000


@dataclass
class DryRun:
    """What one training step would cost, in bytes of one rank (rank 0) where nothing else is said.

    ``activations`` live between forward and backward; ``peak`` is the most that lives at any time of the step, without
    what the libraries take for themselves. None where the step could not be run: ``problem`` says why.
    """

    strategy: str
    world_size: int
    n_params: int
    n_trainable: int
    parameters: int
    buffers: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int | None = None
    peak: int | None = None
    checkpoint_weights: int = 0  # of the whole run
    checkpoint_all: int = 0
    traffic: list[dict[str, Any]] | None = field(default_factory=list)
    batch: str = ""
    notes: list[str] = field(default_factory=list)
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """In plain types."""
        return asdict(self)


def dry_run(
    cfg: Config, world_size: int = 1, strategy: str | None = None, inputs: Mapping[str, str] | None = None
) -> DryRun:
    """Build what ``cfg`` trains, on tensors without memory, as rank 0 of ``world_size`` ranks, and run one step.

    ``strategy``: another one than the config's, see SHORT. ``inputs``: NAME -> '3x224x224:float32', in place of a batch
    of the training set. Nothing is written to work_dir, and no connection is made.
    """
    if dist.is_distributed():
        raise ConfigError("a dry run makes a process group of its own, and this process is in one: start it outside.")
    spec = _strategy_spec(cfg, world_size, strategy)
    for name in ("model", "optim_wrapper", "train_dataloader"):
        if cfg.get(name) is None and not (name == "train_dataloader" and inputs):
            raise ConfigError(f"a dry run runs one training step, and the config has no {name}.")
    streams = rng.capture()
    folder = tempfile.mkdtemp(prefix="trainwright_dry_run_")
    try:
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
            stack.enter_context(_offline())
            stack.enter_context(_replaced(nn.Module, "_apply", _converted))
            stack.enter_context(_replaced(replicas, "check_replicas", lambda *_: None))  # it reads numbers
            stack.enter_context(DefaultScope.overwrite_default_scope(str(cfg.get("default_scope") or "mmengine")))
            if world_size > 1 or spec["type"] != "SingleDeviceStrategy":
                stack.enter_context(_fake_group(world_size))
                stack.enter_context(_real_meshes())
            return _Trial(cfg, spec, folder, inputs).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        rng.restore(streams)


def _strategy_spec(cfg: Config, world_size: int, name: str | None) -> dict[str, Any]:
    if isinstance(world_size, bool) or not isinstance(world_size, int) or world_size < 1:
        raise ConfigError(f"world size must be a whole number of at least 1, but got {world_size!r}.")
    own = dict(cfg.get("strategy") or {})
    own.setdefault("type", named_by_wrapper(cfg, "SingleDeviceStrategy" if world_size == 1 else "DDPStrategy"))
    if name is None or own["type"] == SHORT.get(name, name):
        own = {**wrapper_settings(cfg, own["type"]), **own}
    if name is None:
        return own
    known = [*SHORT, *STRATEGIES.module_dict]
    kind = SHORT.get(name, name)
    if kind not in STRATEGIES.module_dict:
        raise ConfigError(f"there is no strategy {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}")
    spec = own if own["type"] == kind else {"type": kind}
    if kind == "SingleDeviceStrategy" and world_size > 1:
        raise ConfigError(f"SingleDeviceStrategy is for one process, and --world-size says {world_size}.")
    if name == "hsdp" and spec.get("replicate", 1) == 1:
        raise ConfigError(
            "hsdp needs to know how many copies there are: --cfg-options strategy.type=FSDPStrategy "
            "strategy.replicate=8, for instance."
        )
    return spec


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another attribute for a while."""
    is_own, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if is_own:
            setattr(owner, name, before)
        else:  # it was that of a base class
            delattr(owner, name)


@contextmanager
def _offline() -> Iterator[None]:
    """No connection is made: weights that a model would download are not needed for its shapes."""

    def refuse(self: Any, address: Any) -> None:
        raise ConfigError(
            f"a dry run makes no connection, and something in the model or the data wants one to {address!r}: build it "
            "without weights from elsewhere (pretrained=False, or weights=None)."
        )

    with _replaced(socket.socket, "connect", refuse):
        yield


def _converted(module: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
    """``Module._apply`` for fake tensors, which torch's own cannot exchange in place."""
    for child in module.children() if recurse else ():
        child._apply(fn)
    for name, param in module._parameters.items():
        if param is not None:
            made: Any = fn(param)
            if (made.dtype, made.device) != (param.dtype, param.device):
                module._parameters[name] = nn.Parameter(made, param.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = fn(buffer)
    return module


@contextmanager
def _real_meshes() -> Iterator[None]:
    """A mesh holds the numbers of the ranks in a tensor, and reads them: that one must be real."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily
    from torch.distributed import device_mesh

    def really(method: Any) -> Any:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with unset_fake_temporarily():
                return method(*args, **kwargs)

        return call

    with ExitStack() as stack:
        for place, names in ((device_mesh.DeviceMesh, _MESH_METHODS), (device_mesh, ("init_device_mesh",))):
            for name in names:
                stack.enter_context(_replaced(place, name, really(getattr(place, name))))
        yield


@contextmanager
def _fake_group(world_size: int) -> Iterator[None]:
    """A group of which this process is rank 0, and in which no message goes anywhere."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch_dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world_size)
    try:
        yield
    finally:
        dist.cleanup()
        torch_dist.destroy_process_group()
        _forget_meshes()


def _forget_meshes() -> None:
    """Empty what torch remembers of operations on DTensors: with a mesh of this group, in which this process is rank 0,
    which it would take for the equal mesh of a later one, where it may be another."""
    if "torch.distributed.tensor" in sys.modules:
        from torch.distributed.tensor import debug

        debug._clear_sharding_prop_cache()


class _Trial:
    """One dry run: bring-up on fake tensors, then the step."""

    def __init__(self, cfg: Config, spec: dict[str, Any], folder: str, inputs: Mapping[str, str] | None) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self._cfg, self._inputs = cfg, inputs
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        args = {"work_dir": folder, "log_kwargs": {"log_level": "ERROR"}, "env_kwargs": {"randomness": {"seed": 0}}}
        # How weights are initialised does not matter where they have no memory.
        spec = {name: value for name, value in spec.items() if name not in ("init_on", "skip_init_weights")}
        self._strategy: BaseStrategy = STRATEGIES.build(spec, default_args=args)
        self._strategy._device = torch.device("cpu")
        self._strategy.dispatch_kwargs["init_weights_for_test_or_val"] = False  # nothing is read from a file
        self._at_step: list[tuple[int, int]] = []  # bytes of gradients when an optimizer stepped

    def run(self) -> DryRun:
        """Everything."""
        batch = self._batch()
        with self._mode:
            model = self._place()
            found = self._facts(model)
            found.batch = _described(batch)
            wrapper = self._strategy.attach_optim_wrapper(_plain(self._cfg.optim_wrapper))
            optimizers = [one.optimizer for one in self._strategy._wrappers()]
            for optimizer in optimizers:
                optimizer.register_step_pre_hook(self._note_gradients)
            batch = tree_map(lambda x: self._mode.from_tensor(x) if isinstance(x, torch.Tensor) else x, batch)
            try:
                self._step(found, batch, wrapper)
            except Exception as error:  # noqa: BLE001 - whatever a model does that needs real numbers: it is told
                found.problem = _problem(error)
                found.activations = found.peak = found.traffic = None
                self._step_without_forward(optimizers)
            found.gradients = max((own for own, _ in self._at_step), default=0)
            states = [tensor for optimizer in optimizers for tensor in optimizer_tensors(optimizer)]
            found.optimizer, whole = sizes(states)
            found.checkpoint_all = found.checkpoint_weights + whole
        self._add_notes(found)
        return found

    def _place(self) -> nn.Module:
        strategy = self._strategy
        cfg = _plain(self._cfg.model)
        preprocessor = self._cfg.get("data_preprocessor")
        if isinstance(cfg, dict) and preprocessor is not None:
            cfg.setdefault("data_preprocessor", _plain(preprocessor))
        if not isinstance(strategy, DDPStrategy):
            return strategy.place_model(cfg)
        settings = {name: value for name, value in strategy._wrapper_cfg.items() if name == "bucket_cap_mb"}
        strategy.model = StandInForDDP(strategy.build_model(cfg), **settings)
        return strategy.model

    def _facts(self, model: nn.Module) -> DryRun:
        params, buffers = list(model.parameters()), list(model.buffers())
        own, whole = sizes(params)
        own_buffers, whole_buffers = sizes(buffers)
        return DryRun(
            strategy=type(self._strategy).__name__,
            world_size=dist.get_world_size(),
            n_params=sum(p.numel() for p in params),
            n_trainable=sum(p.numel() for p in params if p.requires_grad),
            parameters=own,
            buffers=own_buffers,
            checkpoint_weights=whole + whole_buffers,
        )

    def _batch(self) -> Any:
        """The first batch of the training set, or one of the shapes that were given."""
        loader = _plain(self._cfg.get("train_dataloader") or {})
        if self._inputs:
            return _made(self._inputs, int(loader.get("batch_size", 1) if isinstance(loader, dict) else 1))
        if isinstance(loader, dict):
            loader = {**loader, "num_workers": 0, "persistent_workers": False}
            loader.pop("prefetch_factor", None)
        return next(iter(build_dataloader(loader, 0)))

    def _note_gradients(self, optimizer: Any, *_: Any) -> None:
        params = [param for group in optimizer.param_groups for param in group["params"]]
        self._at_step.append(sizes(param.grad for param in params if param.grad is not None))

    def _step(self, found: DryRun, batch: Any, wrapper: Any) -> None:
        """One update: as many batches as a window of accumulation has."""
        model: Any = self._strategy.model
        before: list[torch.Tensor] = []

        def forward_end(recorder: StepRecorder) -> None:
            # Parameters that are gathered now are no activations; neither is what was there before.
            found.activations = recorder.live_bytes([*before, *model.parameters()])

        recorder = StepRecorder(forward_end)
        before += [*model.parameters(), *model.buffers()]
        before += [x for x in torch.utils._pytree.tree_leaves(batch) if isinstance(x, torch.Tensor)]
        for tensor in before:
            recorder.watch(tensor)
        wrapper.initialize_count_status(self._strategy.unwrapped_model, 0, _MOST_MICRO_BATCHES)
        with recorder:
            for _ in range(_MOST_MICRO_BATCHES):
                self._strategy.train_step(batch)
                if self._at_step:
                    break
        if isinstance(model, StandInForDDP):
            model.exchange(recorder)
        found.peak = recorder.peak_bytes
        found.traffic = [asdict(entry) for entry in recorder.traffic.values()]

    def _step_without_forward(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Gradients and states of the optimizer are as large as they are whatever the forward does."""
        self._at_step.clear()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for param in group["params"]:
                    param.grad = torch.zeros_like(param) if param.requires_grad else None
            optimizer.step()

    def _add_notes(self, found: DryRun) -> None:
        model = self._strategy.model
        if isinstance(model, StandInForDDP) and model.bucket_bytes:
            n_bytes = sum(model.bucket_bytes)
            found.notes.append(f"DistributedDataParallel keeps {n_bytes} bytes of buckets beside the gradients")
        if isinstance(self._strategy, SingleDeviceStrategy):
            found.traffic = [] if found.traffic is not None else None
        hooks = self._cfg.get("custom_hooks") or []
        if any("EMA" in str(dict(hook).get("type") if isinstance(hook, Mapping) else type(hook)) for hook in hooks):
            found.notes.append("hooks are not run: EMAHook keeps one more copy of the weights, also in the checkpoint")


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value


def _made(inputs: Mapping[str, str], batch_size: int) -> dict[str, torch.Tensor]:
    """A batch of zeros of these shapes, behind the dimension of the batch."""
    batch = {}
    for name, text in inputs.items():
        shape, _, kind = text.partition(":")
        dtype = getattr(torch, kind or "float32", None)
        sides = [side for side in shape.split("x") if side]
        if not isinstance(dtype, torch.dtype) or not all(side.isdigit() for side in sides):
            raise ConfigError(
                f"input shape {name}={text!r} is not understood: write {name}=3x224x224, or {name}=128:int64 for "
                f"another type, or {name}=:int64 for one number a sample; the batch size is the config's."
            )
        batch[name] = torch.zeros(batch_size, *map(int, sides), dtype=dtype)
    return batch


def _described(batch: Any) -> str:
    leaves = [x for x in torch.utils._pytree.tree_leaves(batch) if isinstance(x, torch.Tensor)]
    shown = [f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}" for x in leaves[:4]]
    return ", ".join(shown) + (f" and {len(leaves) - 4} more" if len(leaves) > 4 else "")


def _problem(error: Exception) -> str:
    """Which line of the user's needs real numbers, or whatever else went wrong there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((_TORCH, _OWN)) and not f.filename.startswith("<")]
    at = f" at {own[-1].filename}:{own[-1].lineno} ({own[-1].line})" if own else ""
    kind = type(error).__name__
    needs = ("DataDependentOutputException", "DynamicOutputShapeException", "UnsupportedOperatorException")
    what = "needs the numbers in a tensor, which a dry run does not have" if kind in needs else "cannot be run"
    text = str(error).strip().partition("\n")[0]
    return f"the step {what}{at}: {kind}: {text}. Activations and messages are not known; the rest is"
