"""Runner's checkpoints: saving, loading, resuming."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

from trainwright.base.errors import CheckpointError, ConfigTypeError
from trainwright.checkpoint import CheckpointManager
from trainwright.checkpoint.layouts import name_in
from trainwright.checkpoint.weights import MIN_LOADED, STRIP_MODULE, ReviseKeys
from trainwright.data import KeyedDataLoader
from trainwright.dist import all_gather_object, data_group, data_info, item_of_rank, keeping_shards
from trainwright.engine.loops import TrainLoop, set_counters
from trainwright.hooks import CheckpointHook
from trainwright.hooks.checkpoint_settings import storage_options
from trainwright.optim import OptimWrapperDict
from trainwright.runner import background_saves, bringup, exactness
from trainwright.runner.facts import FactsMixin
from trainwright.runner.hooking import HookMixin
from trainwright.runner.resume_cfg import (
    ResumeCfg,
    check_global_batch,
    global_batch,
    take_over_pass,
    take_over_position,
)
from trainwright.state import Stateful, named_by_class, plain_items, rng


class CheckpointMixin(FactsMixin, HookMixin):
    """Saving, loading, resuming."""

    def checkpoints(self, folder: str | None = None) -> CheckpointManager:
        """The manager of a folder, ``work_dir`` by default; the same one each time, since it knows what it verified."""
        key = os.path.abspath(folder or self.strategy.work_dir)
        if key not in self._managers:
            self._managers[key] = CheckpointManager(key, self.strategy.write_tree, self.strategy.read_tree)
        return self._managers[key]

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict[str, Any] | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
        layout: str = "file",
        async_save: bool = False,
    ) -> str:
        """Save the whole training state as ``out_dir/filename`` and return the path. With ``layout='folder'`` it is a
        step folder, whose name has no ``.pth``.

        What is saved is the state after the running iteration or epoch, from whichever event this is called;
        ``by_epoch`` changes nothing; ``out_dir`` says which storage, and ``backend_args`` or ``file_client_args`` must
        fit it. Order: logged losses are read and must be finite, before_save_checkpoint, atomic publishing,
        after_save_checkpoint. ``meta`` is added to the checkpoint's own.

        With ``async_save`` training goes on as soon as the state is copied into the host's memory, and it is written in
        the background. At most one save is in flight: the next one waits for it first, and raises its error. See
        :meth:`finish_saves`.
        """
        if meta is not None and not isinstance(meta, dict):
            raise ConfigTypeError(f"meta should be a dict or None, but got {meta!r}.")
        storage_options(out_dir, backend_args, file_client_args)  # which refuses what has no effect
        if async_save:
            settings: dict[str, Any] = {
                "save_optimizer": save_optimizer,
                "save_param_scheduler": save_param_scheduler,
                "meta": meta,
            }
            return background_saves.begin(self, out_dir, filename, layout=layout, **settings)
        self.finish_saves()
        tree = self.training_tree(save_optimizer, save_param_scheduler, meta, sharded=layout == "folder")
        path = self.checkpoints(out_dir).save(filename, tree, layout)
        self.call_hook("after_save_checkpoint", path=path)
        return path

    def save_in_background(
        self, out_dir: str, filename: str, follow: Any, settled: Any, layout: str = "file", **settings: Any
    ) -> str:
        """As :meth:`save_checkpoint` with ``async_save``, for a hook with its own way with failures: ``follow()`` is
        called in the thread, right after publishing; ``settled(error, result of follow)`` when it is known here."""
        return background_saves.begin(self, out_dir, filename, follow, settled, layout, **settings)

    def finish_saves(self, timeout_s: float | None = None) -> bool:
        """Wait for the asynchronous save in flight, if there is one, at most so long; returns whether nothing is in
        flight any more. When it is written after_save_checkpoint is fired; when it failed that is raised, unless a hook
        began it and has its own way with failures. All ranks call this."""
        return background_saves.finish(self, timeout_s)

    @property
    def is_saving(self) -> bool:
        """Whether an asynchronous save is in flight, or was, and nobody has looked yet."""
        return self._saver is not None and self._saver.path is not None

    def _state_of(self, hook: Any) -> Any:
        """The state of rank 0's hook; of one whose state differs between ranks, all of them."""
        state = hook.state_dict()
        return {"by_rank": all_gather_object(state)} if self.distributed and _is_per_rank(hook) else state

    def training_tree(
        self,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        histories: bool = True,
        sharded: bool = False,
    ) -> dict[str, Any]:
        """What :meth:`save_checkpoint` writes; its tensors may be those that training works on. Without ``histories``
        nothing of the message hub is in it. ``sharded``: each rank has its own part of sharded tensors; otherwise rank
        0 has the whole of them. All ranks call this."""
        if sharded:
            with keeping_shards():
                return self.training_tree(save_optimizer, save_param_scheduler, meta, histories)
        tree: dict[str, Any] = {"meta": self._meta(meta)}
        if histories:
            tree["message_hub"] = hub = self.message_hub.plain_state()
            if self.ctx.clock.is_behind_last_iter and "iter" in hub["runtime_info"]:
                hub["runtime_info"]["iter"] -= 1  # as in MMEngine, the last that ran
        tree.update(self.strategy.state_tree(save_optimizer, save_param_scheduler))
        streams = self.ctx.training_streams or rng.capture()
        tree["rng"] = all_gather_object(streams) if self.distributed else [streams]
        tree["hooks"] = {name: self._state_of(hook) for name, hook in self._stateful_hooks().items()}
        loop = self._loops.get("train")  # a run that only evaluates has none, and saving builds none
        loader = getattr(loop, "dataloader", None)
        if isinstance(loader, Stateful):
            state = loader.state_dict()
            per_rank = self.distributed and getattr(
                loader, "state_is_per_rank", not isinstance(loader, KeyedDataLoader)
            )
            tree["loader"] = {"by_rank": all_gather_object(state, data_group())} if per_rank else state
        if isinstance(loop, TrainLoop):
            if state := loop.state_dict():
                tree["train_loop"] = state
            if (place := loop.place()) is not None:
                own = place.state_dict()
                tree["data_pass"] = all_gather_object(own) if self.distributed else [own]
        self.call_hook("before_save_checkpoint", checkpoint=tree)
        return tree

    def save_at_end(self) -> None:
        """Save where training ends between two planned saves, unless that is saved already: by the CheckpointHook, if
        it is to save the last."""
        self.finish_saves()
        clock = self.ctx.clock
        for hook in self.hooks:
            if not isinstance(hook, CheckpointHook) or not hook.save_last or (hook.by_epoch and not self.by_epoch):
                continue  # with one epoch in all, that hook saves at its end
            names = {f"iter_{clock.iter}.pth"}
            if not hook.by_epoch or clock.inner_iter == 0:
                names.add(hook.filename_tmpl.format(clock.epoch if hook.by_epoch else clock.iter))
            saved = {name_in(hook.layout, name) for name in names}
            if os.path.basename(hook.last_ckpt or "") not in saved:
                hook.save_now(self)
                return

    def _meta(self, meta: dict[str, Any] | None) -> dict[str, Any]:
        from trainwright.base.version import __version__

        loader = getattr(self._loops.get("train"), "dataloader", None)
        batch = global_batch(self, loader)
        return {
            **(meta or {}),
            **self.ctx.clock.state_dict(),
            "cfg": self.cfg.pretty_text,
            "seed": self.strategy.seed,
            "experiment_name": self.strategy.experiment_name,
            "log_dirs": self.log_dirs,
            "trackers": self.visualizer.tracker_states() if hasattr(self.visualizer, "tracker_states") else {},
            "time": time.strftime("%Y%m%d_%H%M%S", time.localtime()),
            "trainwright_version": __version__,
            "world_size": self.world_size,
            "data_size": data_info()[1],
            "global_batch": None if batch is None else dataclasses.asdict(batch),
            "environment": exactness.environment(self.strategy.device),
            "fingerprint": exactness.fingerprint(self, loader),
            "dataset_meta": plain_items(exactness.dataset_meta(loader) or {})[0],
        }

    def _stateful_hooks(self) -> dict[str, Any]:
        """Hooks with state by a unique name."""
        return named_by_class(hook for hook in self.hooks if isinstance(hook, Stateful))

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_MODULE,
        trusted: bool = False,
        min_loaded: float = MIN_LOADED,
    ) -> dict[str, Any]:
        """Load the weights of ``filename`` (a path or an fsspec URL) and return the checkpoint.

        ``revise_keys`` renames by regular expressions; by default a leading ``module.`` goes. ``trusted=True`` lets a
        file that holds unknown objects run code. When less than ``min_loaded`` of the model would be loaded, by number
        of weights and by bytes, nothing is, and CheckpointError says what would fit.
        """
        checkpoint = self.strategy.load_checkpoint(
            filename,
            map_location=map_location,
            strict=strict,
            revise_keys=revise_keys,
            callback=lambda tree: self.call_hook("after_load_checkpoint", checkpoint=tree),
            trusted=trusted,
            min_loaded=min_loaded,
        )
        self._has_loaded = True
        self.logger.info("Load checkpoint from %s", filename)
        return checkpoint

    def load_or_resume(self) -> None:
        """Load or resume as ``load_from`` and ``resume`` say; does nothing the second time."""
        if self._has_loaded:
            return
        resume, load_from, trusted = self._resume, self._load_from, self._specs["trust_checkpoint"]
        settings = ResumeCfg.from_cfg(self._specs["resume_cfg"])
        if isinstance(resume, str):
            self.resume(resume, **settings.of_resume(), trusted=trusted)
        elif resume:
            path = load_from or self.checkpoints().latest()
            if path is None:
                self.logger.info("nothing to resume in %s: training starts from the beginning", self.strategy.work_dir)
            else:
                trusted = trusted and path == load_from  # what is found is the run's own
                self.resume(path, **settings.of_resume(), trusted=trusted)
        elif load_from is not None:
            self.load_checkpoint(load_from, **settings.of_load(), trusted=trusted)

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = "default",
        trusted: bool = False,
        strict: bool = True,
        revise_keys: ReviseKeys = STRIP_MODULE,
    ) -> None:
        """Take up the training saved in ``filename``: weights, optimizer, schedulers, counters, data position, random
        streams, hooks and histories. CheckpointError when the file holds weights only, and when the samples could not
        go on in their order (see ``resume_cfg``)."""
        if not self.is_training and self._loops.get("train") is None and self._specs["train_cfg"] is None:
            self.load_checkpoint(filename, map_location="cpu", strict=True, trusted=trusted)
            return
        with bringup.scoped(self):  # val() or the user may ask before train() has built what the state belongs to
            bringup.build_training(self)

        self._resume = self._resume or filename  # hooks ask whether what they are shown is resumed

        def check(tree: dict[str, Any]) -> None:
            if not isinstance(tree.get("meta"), dict) or "iter" not in tree["meta"] or "state_dict" not in tree:
                keys = ", ".join(map(str, tree))[:200]
                raise CheckpointError(
                    f"cannot resume from {filename!r}: it holds no training state (keys: {keys}). To start from its "
                    f"weights use load_from={filename!r} without resume."
                )
            check_global_batch(self, tree, self._allows_inexact)
            self.call_hook("after_load_checkpoint", checkpoint=tree)

        checkpoint = self.strategy.resume(
            filename,
            resume_optimizer=resume_optimizer,
            resume_param_scheduler=resume_param_scheduler,
            map_location=map_location,
            callback=check,
            trusted=trusted,
            strict=strict,
            revise_keys=revise_keys,
        )
        self._has_loaded = True
        exactness.take_over_environment(self, checkpoint["meta"])
        exactness.compare_fingerprints(self, checkpoint["meta"])
        self._take_over(checkpoint)
        if "ema_state_dict" in checkpoint and not any(hasattr(hook, "ema_model") for hook in self.hooks):
            self.logger.warning(
                "%s was saved with an EMAHook, and this run has none: training goes on from the averaged weights. "
                "Keep the hook in custom_hooks to go on from those that were trained.",
                filename,
            )
        clock = self.ctx.clock
        self.logger.info("resumed from %s: epoch %d, iteration %d", filename, clock.epoch, clock.iter)

    def go_back(self, tree: dict[str, Any], accumulation: dict[str, Any] | None = None) -> None:
        """Put the training state of ``tree`` in place while training runs: what a resume takes, but for hooks that say
        that they do not go back. ``tree`` is used up: some of its tensors are trained on.

        ``accumulation``: where the optimizer wrapper stood, unless the number of iterations says it. Called by a loop
        that has left its iterations; see ``trainwright.engine.rewind``.
        """
        resume, self._resume = self._resume, self._resume or True  # hooks ask whether what they are shown is resumed
        try:
            self.call_hook("after_load_checkpoint", checkpoint=tree)
        finally:
            self._resume = resume
        self.strategy.put_state(tree)
        self._take_over(tree, goes_back=True)
        wrapper = self.optim_wrapper
        if accumulation is None and not isinstance(wrapper, OptimWrapperDict):
            accumulation = {"inner_count": self.ctx.clock.iter}
        if accumulation is not None and hasattr(wrapper, "load_accumulation_state"):
            wrapper.load_accumulation_state(accumulation)
        if not self.ctx.stop.interrupts:
            self.ctx.stop.clear()  # whoever asked for it will do so again
        self.preemption.ask_again()
        for hook in self.hooks:
            hook.rewound(self)
        if self._pending_streams is not None:
            rng.restore(self._pending_streams)
            self._pending_streams = None

    def _take_over(self, checkpoint: dict[str, Any], goes_back: bool = False) -> None:
        """Everything of a resumed checkpoint that is not the strategy's."""
        meta, loop = checkpoint["meta"], self._loops.get("train")
        self._take_over_seed(meta.get("seed"))
        self._take_over_writers(meta)
        self.ctx.clock.load_state_dict(meta)
        set_counters(loop, self.ctx.clock)
        if "message_hub" in checkpoint:
            self.message_hub.load_state_dict(checkpoint["message_hub"])
        saved_hooks = checkpoint.get("hooks", {})
        for name, hook in self._stateful_hooks().items():
            if name in saved_hooks and (hook.rewinds or not goes_back):
                state = saved_hooks[name]
                if _is_per_rank(hook) and "by_rank" in state:
                    state = item_of_rank(state["by_rank"], meta.get("data_size"), True)
                hook.load_state_dict(state)
        # Put in place right before the loop starts: building and hooks may draw until then.
        # What a rank draws belongs to its samples. One that was not there when they were saved has the streams of
        # another, as it has that one's seed.
        is_shared = not self.strategy.diff_rank_seed
        self._pending_streams = item_of_rank(checkpoint.get("rng") or [], meta.get("data_size"), is_shared)
        if loop is None:
            return
        if isinstance(loop, TrainLoop):
            loop.load_state_dict(checkpoint.get("train_loop", {}))
        if "loader" in checkpoint and isinstance(loop.dataloader, Stateful):
            take_over_position(self, loop, checkpoint, self._allows_inexact)
        else:
            clock = self.ctx.clock
            loop.batches_to_drop = clock.inner_iter if self.by_epoch else clock.iter
            if not goes_back:  # who goes back knows the place, and says it himself
                take_over_pass(self, loop, checkpoint)

    @property
    def _allows_inexact(self) -> bool:
        return ResumeCfg.from_cfg(self._specs["resume_cfg"]).allow_inexact

    def _take_over_writers(self, meta: dict[str, Any]) -> None:
        parts = list(meta.get("log_dirs", []))
        own = self.log_dirs[-1]
        if own not in parts:  # else this run itself goes back in time
            self._earlier_log_dirs = parts
        if hasattr(self.visualizer, "go_on"):
            val_due = bool(meta.get("val_due", False))
            self.visualizer.go_on(meta.get("trackers", {}), meta["iter"], val_due, self.strategy.work_dir, parts)

    def _take_over_seed(self, seed: int | None) -> None:
        configured = self._randomness_cfg.get("seed")
        if seed is None or seed == self.strategy.seed:
            return
        if configured is not None:
            self.logger.warning(
                "randomness has seed=%d and the checkpoint %d: the checkpoint's is used, because the order of the data "
                "must go on as it began. To train on with another one use load_from without resume.",
                configured,
                seed,
            )
        before = self.strategy.seed
        self._randomness_cfg["seed"] = seed
        self.strategy.set_randomness(**self._randomness_cfg)
        for loop in self._loops.values():  # validation may augment too, and has no state of its own in the checkpoint
            if isinstance(loop.dataloader, KeyedDataLoader):
                loop.dataloader.reseed(before, seed)


def _is_per_rank(hook: Any) -> bool:
    return bool(getattr(type(hook), "state_is_per_rank", False))
