"""Training, validation and test by MMEngine's Runner: counters, intervals, hooks, loops of one's own, checkpoints."""

import os.path

import pytest
import torch
from mme_runner_toys import PAIR, TRAINING, Bare, by_iterations, config, loader, registered
from torch.optim import SGD
from torch.utils.data import DataLoader

pytestmark = pytest.mark.usefixtures("mmengine")
# Models that update nothing in their train_step are warned of.
UPDATES_NOTHING = pytest.mark.filterwarnings("ignore:.*optimizer.step.*:UserWarning")
STEPS = {"type": "MultiStepLR", "milestones": [1, 2]}


@pytest.fixture
def toys():
    with registered() as found:
        yield found


def trained(cfg, *hooks):
    from mmengine.runner import Runner

    run = Runner.from_cfg(cfg)
    for hook in hooks:
        run.register_hook(hook)
    run.train()
    return run


class Seen(dict):
    """What a hook notes down, by name."""

    def note(self, **values):
        for name, value in values.items():
            self.setdefault(name, []).append(value)


def watcher():
    from mmengine.hooks import Hook

    seen = Seen()

    class Watcher(Hook):
        def before_train_epoch(self, runner):
            seen.note(epochs=runner.epoch, intervals_in_epochs=runner.train_loop.val_interval)

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.note(iters=runner.iter, batches=batch_idx, intervals=runner.train_loop.val_interval)

        def before_val_epoch(self, runner):
            seen.note(validated_epochs=runner.epoch, validated_iters=runner.iter)

    return Watcher(), seen


def test_counters_of_epochs(toys, tmp_path):
    hook, seen = watcher()
    cfg = config(tmp_path, "epochs", train_cfg={"by_epoch": True, "max_epochs": 3, "val_begin": 2})
    run = trained(cfg, hook)
    assert (run.optim_wrapper._inner_count, run.optim_wrapper._max_counts) == (12, 12)
    assert (seen["epochs"], seen["iters"], seen["batches"]) == ([0, 1, 2], list(range(12)), [0, 1, 2, 3] * 3)
    assert seen["validated_epochs"] == [2, 3]


@pytest.mark.parametrize("sampler", ["InfiniteSampler", "DefaultSampler"])
def test_counters_of_iterations(toys, tmp_path, sampler):
    hook, seen = watcher()
    cfg = by_iterations(tmp_path, sampler, train_cfg={"by_epoch": False, "max_iters": 12, "val_interval": 4})
    cfg.train_dataloader.sampler = {"type": sampler, "shuffle": True}
    run = trained(cfg, hook)
    assert (run.optim_wrapper._inner_count, run.optim_wrapper._max_counts) == (12, 12)
    assert (seen["epochs"], seen["iters"], seen["batches"]) == ([0], list(range(12)), list(range(12)))
    assert seen["validated_iters"] == [4, 8, 12]


def test_intervals_that_change(toys, tmp_path):
    changing = {"val_interval": 5, "dynamic_intervals": [(11, 2)]}
    hook, seen = watcher()
    cfg = by_iterations(tmp_path, "iters", train_cfg={"by_epoch": False, "max_iters": 12, **changing})
    trained(cfg, hook)
    assert (seen["validated_iters"], seen["intervals"]) == ([5, 10, 12], [5] * 10 + [2] * 2)
    hook, seen = watcher()
    cfg = config(tmp_path, "epochs", train_cfg={"by_epoch": True, "max_epochs": 12, **changing})
    loop = trained(cfg, hook).train_loop
    assert (seen["validated_epochs"], seen["intervals_in_epochs"]) == ([5, 10, 12], [5] * 10 + [2] * 2)
    assert (loop.dynamic_milestones, loop.dynamic_intervals) == ([0, 11], [5, 2])
    loop._decide_current_val_interval()
    assert loop.val_interval == 2


def test_what_there_is_nothing_for(toys, tmp_path):
    from mmengine.runner import Runner

    parts = [*TRAINING, "val_dataloader", "val_cfg", "val_evaluator", "test_dataloader", "test_cfg", "test_evaluator"]
    run = Runner.from_cfg(config(tmp_path, "nothing", parts))
    for method in (run.train, run.val, run.test):
        with pytest.raises(RuntimeError, match="should not be None"):
            method()


@pytest.mark.parametrize(
    "schedulers", [STEPS, [STEPS, {"type": "StepLR", "step_size": 1}], {"first": STEPS, "second": [STEPS]}]
)
def test_several_optimizers(toys, tmp_path, schedulers):
    run = trained(config(tmp_path, "pair", **PAIR, param_scheduler=schedulers))
    assert run.optim_wrapper["first"].optimizer.param_groups[0]["lr"] < 0.01


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": {"type": "BareRows"}},
        {"collate_fn": {"type": "default_collate"}},
        {"collate_fn": {"type": "collate_padded", "pad_value": 1}},
        {"num_batch_per_epoch": 2},
    ],
)
def test_kinds_of_loaders(toys, tmp_path, changes):
    run = trained(config(tmp_path, "loaders", train_dataloader=loader(**changes)))
    assert run.iter == (6 if "num_batch_per_epoch" in changes else 12)


def test_a_collate_function_that_lacks_an_argument(toys, tmp_path):
    from mmengine.runner import Runner

    with pytest.raises(TypeError):  # noqa: PT012 - at the latest in training
        run = Runner.from_cfg(
            config(tmp_path, "lacking", train_dataloader=loader(collate_fn={"type": "collate_padded"}))
        )
        run.train()


@UPDATES_NOTHING
def test_models_that_are_bare_modules(toys, tmp_path):
    from mmengine.runner import Runner

    assert trained(config(tmp_path, "bare", model={"type": "Bare"})).iter == 12
    for steps, text in (((), "If you want to train"), (("train",), "If you want to validate")):
        run = Runner.from_cfg(config(tmp_path, f"bare{len(steps)}", model={"type": "Bare", "steps": steps}))
        with pytest.raises(AssertionError, match=text):
            run.train()


@UPDATES_NOTHING
def test_weights_are_initialised_once(toys, tmp_path):
    counts = []

    class Counted(Bare):
        def init_weights(self):
            counts.append(1)

    with registered_again(Counted):
        trained(config(tmp_path, "initialised", model={"type": "Counted"}))
    assert counts == [1]


def registered_again(kind):
    import contextlib

    from mmengine.registry import MODELS

    @contextlib.contextmanager
    def during():
        MODELS.register_module(module=kind)
        yield
        MODELS.module_dict.pop(kind.__name__)

    return during()


@pytest.mark.parametrize("part", ["val", "test"])
def test_evaluation_in_half_precision(toys, tmp_path, part):
    from mmengine.runner import Runner

    for number, (cfg, dtypes) in enumerate((({}, {torch.float32}), ({"fp16": True}, {torch.float16, torch.bfloat16}))):
        run = Runner.from_cfg(config(tmp_path, f"half{part}{number}", **{f"{part}_cfg": cfg}))
        seen = []
        run.model.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output.dtype))
        assert getattr(run, part)() == {"acc": 1}
        assert set(seen) <= dtypes
        assert seen
        assert isinstance(run._train_loop, dict)


def test_a_scope_of_one_s_own(toys, tmp_path):
    from mmengine.optim import MultiStepLR
    from mmengine.registry import PARAM_SCHEDULERS, Registry

    own = Registry("parameter scheduler", parent=PARAM_SCHEDULERS, scope=f"toys{id(tmp_path)}")

    class OwnSteps(MultiStepLR):
        pass

    own.register_module(module=OwnSteps)
    schedule = {**STEPS, "type": "OwnSteps"}
    run = trained(config(tmp_path, "scoped", default_scope=own.scope, param_scheduler=schedule))
    assert type(run.param_schedulers[0]) is OwnSteps
    PARAM_SCHEDULERS.children.pop(own.scope)


def test_built_parts(toys, tmp_path):
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import MultiStepLR, OptimWrapper
    from mmengine.runner import Runner

    model = toys["Line"]()
    wrapper = OptimWrapper(SGD(model.parameters(), lr=0.01))

    def made():
        return DataLoader(toys["Rows"](), collate_fn=pseudo_collate)

    run = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        train_dataloader=made(),
        optim_wrapper=wrapper,
        param_scheduler=MultiStepLR(wrapper, milestones=[1]),
        val_cfg={},
        val_dataloader=made(),
        val_evaluator=[toys["Ones"]()],
        test_cfg={},
        test_dataloader=made(),
        test_evaluator=[toys["Ones"]()],
        default_hooks={"param_scheduler": toys["Quiet"]()},
        custom_hooks=[toys["Quiet"]()],
        experiment_name="built",
        log_level="WARNING",
    )
    run.train()
    assert (run.iter, run.test()) == (24, {"acc": 1})


# -- hooks -------------------------------------------------------------------------------------------------------------
def test_registering_hooks(toys, tmp_path):
    from mmengine.hooks import DistSamplerSeedHook, IterTimerHook, ParamSchedulerHook, RuntimeInfoHook
    from mmengine.runner import Runner
    from mmengine.runner.priority import Priority, get_priority

    run = Runner.from_cfg(config(tmp_path, "hooks"))

    def priorities(*hooks):
        run._hooks = []
        for hook, priority in hooks:
            run.register_hook(hook, priority)
        return [get_priority(hook.priority) for hook in run._hooks]

    timer = {"type": "IterTimerHook"}
    low = {"type": "ParamSchedulerHook", "priority": "LOW"}
    assert priorities((timer, None)) == [50]
    assert isinstance(run._hooks[0], IterTimerHook)
    assert priorities(({**timer, "priority": "BELOW_NORMAL"}, None), (DistSamplerSeedHook(), None)) == [50, 60]
    assert priorities((low, "VERY_LOW"), (timer, Priority.VERY_LOW)) == [90, 90]
    with pytest.raises(TypeError, match="hook should be"):
        run.register_hook(["x"])
    run._hooks = []
    run.register_default_hooks()
    assert [type(run._hooks[at]) for at in (0, 2, 4)] == [RuntimeInfoHook, DistSamplerSeedHook, ParamSchedulerHook]
    for changes, count in (({"timer": None}, 5), ({"own": {"type": "Quiet"}}, 7)):
        run._hooks = []
        run.register_default_hooks(changes)
        assert len(run._hooks) == count
    run._hooks = []
    run.register_hooks(custom_hooks=[{"type": "Quiet"}])
    assert (len(run._hooks), type(run._hooks[6])) == (7, toys["Quiet"])
    lines = ["VERY_HIGH   ) RuntimeInfoHook", "NORMAL      ) IterTimerHook", "BELOW_NORMAL) LoggerHook"]
    text = "".join(
        f"({line:<49}\n" for line in [*lines, "LOW         ) ParamSchedulerHook", "VERY_LOW    ) CheckpointHook"]
    )
    assert f"after_train_iter:\n{text}" in run.get_hooks_info()


def test_a_loop_and_events_of_one_s_own(toys, tmp_path):
    from mmengine.hooks import Hook
    from mmengine.registry import LOOPS
    from mmengine.runner import IterBasedTrainLoop

    seen = []

    class WarmingLoop(IterBasedTrainLoop):
        def __init__(self, runner, dataloader, max_iters, warm_up):
            super().__init__(runner=runner, dataloader=dataloader, max_iters=max_iters)
            self.warm_up = self.runner.build_dataloader(warm_up)

        def run(self):
            self.runner.call_hook("before_train")
            for batch in self.warm_up:
                self.runner.call_hook("before_warm_iter", data_batch=batch)
                outputs = self.runner.model.train_step(batch, self.runner.optim_wrapper)
                self.runner.call_hook("after_warm_iter", data_batch=batch, outputs=outputs)
            self.runner.call_hook("before_train_epoch")
            while self.runner.iter < self._max_iters:
                self.run_iter(next(self.dataloader_iterator))
            self.runner.call_hook("after_train_epoch")
            self.runner.call_hook("after_train")

    class WarmingHook(Hook):
        def before_warm_iter(self, runner, data_batch=None):
            seen.append("before")

        def after_warm_iter(self, runner, data_batch=None, outputs=None):
            seen.append(list(outputs))

    LOOPS.register_module(module=WarmingLoop)
    try:
        cfg = by_iterations(tmp_path, "own", train_cfg={"type": "WarmingLoop", "max_iters": 10, "warm_up": loader()})
        run = trained(cfg, WarmingHook())
    finally:
        LOOPS.module_dict.pop("WarmingLoop")
    assert type(run.train_loop) is WarmingLoop
    assert (run.iter, seen) == (10, ["before", ["loss"]] * 4)


# -- checkpoints -------------------------------------------------------------------------------------------------------
FASTER = {
    "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.2}},
    "param_scheduler": {**STEPS, "milestones": [1, 2, 3]},
}


def read(path, is_peer):
    return torch.load(path, weights_only=not is_peer)


@pytest.mark.parametrize("unit", ["epoch", "iter"])
def test_what_a_checkpoint_holds(toys, tmp_path, unit, is_peer):
    from mmengine.logging import MessageHub

    make, last = (config, "epoch_3.pth") if unit == "epoch" else (by_iterations, "iter_12.pth")
    run = trained(make(tmp_path, unit))
    saved = read(tmp_path / last, is_peer)
    meta = saved["meta"]
    assert (meta["epoch"], meta["iter"]) == (3 if unit == "epoch" else 0, 12)
    assert (meta["experiment_name"], meta["seed"]) == (run.experiment_name, run.seed)
    assert not os.path.exists(tmp_path / "epoch_4.pth")
    assert [type(saved[name]) for name in ("optimizer", "param_schedulers", "message_hub")] == [dict, list, dict]
    hub = MessageHub.get_instance(f"read_{unit}")
    hub.load_state_dict(saved["message_hub"])
    assert (hub.get_info("epoch"), hub.get_info("iter")) == (2 if unit == "epoch" else 0, 11)


@pytest.fixture
def safe_torch_load(is_peer, monkeypatch):
    """MMEngine reads its own files with a torch.load that is let run code; ours need none of that."""
    if is_peer:
        load = torch.load
        monkeypatch.setattr(torch, "load", lambda *args, **settings: load(*args, **{**settings, "weights_only": False}))


@pytest.mark.parametrize("unit", ["epoch", "iter"])
@pytest.mark.usefixtures("safe_torch_load")
def test_loading_and_resuming(toys, tmp_path, unit):
    from mmengine.runner import Runner

    make, last = (config, "epoch_3.pth") if unit == "epoch" else (by_iterations, "iter_12.pth")
    trained(make(tmp_path, "first"))
    path, end = str(tmp_path / last), (3 if unit == "epoch" else 0, 12)
    run = Runner.from_cfg(make(tmp_path, "loads", **FASTER))
    run.load_checkpoint(path)
    assert (run.epoch, run.iter, run._has_loaded) == (0, 0, True)
    run = Runner.from_cfg(make(tmp_path, "resumes", **FASTER))
    run.resume(path)
    assert (run.epoch, run.iter, run._has_loaded) == (*end, True)
    assert run.optim_wrapper.param_groups[0]["lr"] == pytest.approx(0.0001 if unit == "epoch" else 0.01)
    assert run.param_schedulers[0].milestones == {1: 1, 2: 1}  # those that were saved
    run = Runner.from_cfg(make(tmp_path, "finds", resume=True))
    run.load_or_resume()
    assert (run.epoch, run.iter) == end
    early = ("epoch_1.pth", (1, 4)) if unit == "epoch" else ("iter_3.pth", (0, 3))
    run = Runner.from_cfg(make(tmp_path, "goes_back", resume=True, load_from=str(tmp_path / early[0])))
    run.load_or_resume()
    assert (run.epoch, run.iter) == early[1]


@pytest.mark.usefixtures("safe_torch_load")
def test_a_checkpoint_of_another_seed_or_set(toys, tmp_path, is_peer):
    from mmengine.runner import Runner

    trained(config(tmp_path, "first", randomness={"seed": 3}))
    saved = read(tmp_path / "epoch_3.pth", is_peer)
    run = Runner.from_cfg(config(tmp_path, "resumes", randomness={"seed": 3}))
    warned = []
    run.logger.handle, handle = lambda record: warned.append(record.levelname), run.logger.handle
    for changes in ({"seed": 123}, {"dataset_meta": {"classes": ["cat"]}}):
        torch.save({**saved, "meta": {**saved["meta"], **changes}}, tmp_path / "changed.pt")
        warned.clear()
        run.resume(str(tmp_path / "changed.pt"))
        assert "WARNING" in warned
    run.logger.handle = handle
    meta = {name: value for name, value in saved["meta"].items() if name not in ("seed", "dataset_meta")}
    torch.save({**saved, "meta": meta}, tmp_path / "changed.pt")
    run.resume(str(tmp_path / "changed.pt"))
    assert run.iter == 12


@pytest.mark.usefixtures("safe_torch_load")
def test_checkpoints_of_several_optimizers(toys, tmp_path, is_peer):
    from mmengine.optim import OptimWrapperDict
    from mmengine.runner import Runner

    cfg = config(
        tmp_path, "pair", **PAIR, param_scheduler={"first": STEPS, "second": {"type": "StepLR", "step_size": 1}}
    )
    trained(cfg)
    saved = read(tmp_path / "epoch_3.pth", is_peer)
    assert set(saved["optimizer"]) == set(saved["param_schedulers"]) == {"first", "second"}
    cfg.experiment_name = "resumed"
    cfg.optim_wrapper.first.optimizer.lr = 0.2
    run = Runner.from_cfg(cfg)
    run.resume(str(tmp_path / "epoch_3.pth"))
    assert isinstance(run.optim_wrapper, OptimWrapperDict)
    assert run.optim_wrapper["first"].optimizer.param_groups[0]["lr"] == pytest.approx(0.0001)


def test_saving_by_hand(toys, tmp_path, is_peer):
    run = trained(config(tmp_path, "saves"))
    folder = str(tmp_path)
    run.save_checkpoint(folder, "one.pth", None, True, True, {"note": 1}, False)
    assert read(tmp_path / "one.pth", is_peer)["meta"]["note"] == 1
    run.save_checkpoint(folder, "two.pth", backend_args={"backend": "local"}, save_optimizer=False)
    assert "optimizer" not in read(tmp_path / "two.pth", is_peer)
    with pytest.raises(TypeError, match="meta should be a dict or None"):
        run.save_checkpoint(folder, "three.pth", meta="x")
    both = {"file_client_args": {"backend": "disk"}, "backend_args": {"backend": "local"}}
    with pytest.raises(ValueError, match="backend_args"):
        run.save_checkpoint(folder, "three.pth", **both)
