"""detectron2.utils.events and detectron2.engine.hooks through the face: names, signatures, and where they log."""

import inspect
import json
import logging

import pytest

import trainwright.trainer
from trainwright.compat import detectron2 as face


@pytest.fixture
def events():
    face.install()
    try:
        from detectron2.utils import events

        yield events
    finally:
        face.uninstall()


@pytest.fixture
def hooks(events):
    from detectron2.engine import hooks

    return hooks


def test_the_face_exports_what_detectron2_does(events, hooks):
    from detectron2.checkpoint import Checkpointer, PeriodicCheckpointer
    from detectron2.utils import comm

    for names, module in (
        ("get_event_storage has_event_storage JSONWriter TensorboardXWriter CommonMetricPrinter EventStorage", events),
        ("CallbackHook IterationTimer PeriodicWriter PeriodicCheckpointer BestCheckpointer LRScheduler", hooks),
        ("AutogradProfiler EvalHook PreciseBN TorchProfiler TorchMemoryStats", hooks),
        ("get_world_size get_rank get_local_rank get_local_size is_main_process synchronize all_gather", comm),
        ("gather shared_random_seed reduce_dict create_local_process_group get_local_process_group", comm),
    ):
        assert set(names.split()) <= set(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)
    assert issubclass(hooks.PeriodicCheckpointer, PeriodicCheckpointer)
    assert Checkpointer is trainwright.trainer.Checkpointer


def test_there_is_one_storage_for_both_names(events):
    assert events.EventStorage is trainwright.trainer.EventStorage
    with trainwright.trainer.EventStorage() as storage:
        assert events.has_event_storage()
        assert events.get_event_storage() is storage


SIGNATURES = {
    "EventStorage": "(start_iter=0)",
    "EventStorage.put_image": "(self, img_name, img_tensor)",
    "EventStorage.put_scalar": "(self, name, value, smoothing_hint=True, cur_iter=None)",
    "EventStorage.put_scalars": "(self, *, smoothing_hint=True, cur_iter=None, **kwargs)",
    "EventStorage.put_histogram": "(self, hist_name, hist_tensor, bins=1000)",
    "EventStorage.history": "(self, name)",
    "EventStorage.latest_with_smoothing_hint": "(self, window_size=20)",
    "EventStorage.count_samples": "(self, name, window_size=20)",
    "EventStorage.name_scope": "(self, name)",
    "JSONWriter": "(json_file, window_size=20)",
    "TensorboardXWriter": "(log_dir, window_size=20, **kwargs)",
    "CommonMetricPrinter": "(max_iter=None, window_size=20)",
    "CallbackHook": "(*, before_train=None, after_train=None, before_step=None, after_step=None)",
    "IterationTimer": "(warmup_iter=3)",
    "PeriodicWriter": "(writers, period=20)",
    "PeriodicCheckpointer": "(checkpointer, period, max_iter=None, max_to_keep=None, file_prefix='model')",
    "BestCheckpointer": "(eval_period, checkpointer, val_metric, mode='max', file_prefix='model_best')",
    "LRScheduler": "(optimizer=None, scheduler=None)",
    "EvalHook": "(eval_period, eval_function, eval_after_train=True)",
    "PreciseBN": "(period, model, data_loader, num_iter)",
    "TorchProfiler": "(enable_predicate, output_dir, *, activities=None, save_tensorboard=True)",
    "AutogradProfiler": "(enable_predicate, output_dir, *, use_cuda=True)",
    "TorchMemoryStats": "(period=20, max_runs=10)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_are_those_of_detectron2(name, events, hooks):
    """With ours behind them, by keyword."""
    first, _, method = name.partition(".")
    found = getattr(events, first, None) or getattr(hooks, first)
    own = inspect.signature(getattr(found, method) if method else found)
    bare = [p.replace(annotation=p.empty) for p in own.parameters.values()]
    theirs = SIGNATURES[name][1:-1].split(", ")
    shown = str(own.replace(parameters=bare, return_annotation=own.empty))[1:-1].split(", ")
    extra = [part for part in shown if part not in theirs]
    assert [part for part in shown if part in theirs] == theirs
    assert {part.split("=")[0] for part in extra} <= {"*", "clock", "metrics", "after_backward"}


def test_lines_go_to_the_loggers_of_detectron2(events, hooks, caplog):
    from detectron2.engine import TrainerBase

    class Trainer(TrainerBase):
        def run_step(self):
            self.storage.put_scalar("total_loss", 1.0)

    class Saver:
        def save(self, name, **kwargs):
            pass

    printer = events.CommonMetricPrinter(4)
    trainer = Trainer()
    trainer.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.EvalHook(0, lambda: {"AP": 1.0}),
            hooks.BestCheckpointer(0, Saver(), "AP"),
            hooks.PeriodicWriter([printer], period=2),
        ]
    )
    with caplog.at_level(logging.INFO, logger="detectron2"):
        trainer.train(0, 4)
    lines = [(r.name, r.getMessage().split()[:2]) for r in caplog.records if r.name.startswith("detectron2")]
    assert printer.logger.name == "detectron2.utils.events"
    assert [name for name, _ in lines] == ["detectron2.utils.events"] * 2 + ["detectron2.engine.hooks"] * 3
    assert lines[2][1] == ["Overall", "training"]


def test_the_time_that_is_left(events, caplog):
    with events.EventStorage() as storage, caplog.at_level(logging.INFO, logger="detectron2.utils.events"):
        for _ in range(2):
            storage.put_scalar("time", 1.0)
            storage.put_scalar("[metric]norm", 2.0)
            storage.step()
        events.CommonMetricPrinter(10).write()
        events.CommonMetricPrinter().write()
    with_end, without = (record.getMessage() for record in caplog.records)
    assert "eta: 0:00:07" in with_end
    assert "eta" not in without
    assert "[metric]norm: 2" in with_end
    assert "[metric]norm: 2" in without


def test_names_of_hooks_in_a_checkpoint_are_those_of_detectron2(hooks):
    for name in hooks.__all__:
        assert getattr(hooks, name).__qualname__ == name


def test_ranks_without_a_process_group():
    import torch

    face.install()
    try:
        from detectron2.utils import comm

        assert (comm.get_rank(), comm.get_world_size(), comm.get_local_rank(), comm.get_local_size()) == (0, 1, 0, 1)
        assert comm.is_main_process()
        assert comm.all_gather({"a": 1}) == comm.gather({"a": 1}) == [{"a": 1}]
        losses = {"b": torch.tensor(1.0)}
        assert comm.reduce_dict(losses) is losses
        assert 0 <= comm.shared_random_seed() < 2**31
        comm.create_local_process_group(1)
        assert comm.get_local_process_group() is None
        comm.synchronize()
    finally:
        face.uninstall()


def test_json_lines(events, tmp_path):
    with events.EventStorage() as storage:
        writer = events.JSONWriter(str(tmp_path / "metrics.json"))
        for k in range(60):
            storage.put_scalar("key", k, smoothing_hint=False)
            if (k + 1) % 20 == 0:
                writer.write()
            storage.step()
        writer.close()
    lines = (tmp_path / "metrics.json").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["key"] for line in lines] == [19, 39, 59]
