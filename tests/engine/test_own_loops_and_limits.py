"""limit_batches and max_duration with loops whose run() or run_epoch() is the user's."""

import pytest

from trainwright.base.errors import ConfigError
from trainwright.engine import EpochBasedTrainLoop
from trainwright.registry import LOOPS
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config, toy_loader

TOKENS = {"max_duration": "20 tok", "tokens": "inputs"}
LIMIT = {"max_epochs": 3, "limit_batches": 2}


@LOOPS.register_module()
class RunOfItsOwn(EpochBasedTrainLoop):
    def run(self):
        self.runner.call_hook("before_train")
        for _ in range(3):
            self.run_epoch()
        self.runner.call_hook("after_train")
        return self.runner.model


@LOOPS.register_module()
class EpochOfItsOwn(EpochBasedTrainLoop):
    def run_epoch(self):
        self.runner.call_hook("before_train_epoch")
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


@LOOPS.register_module()
class CallsSuper(EpochBasedTrainLoop):
    def run(self):
        return super().run()

    def run_epoch(self):
        super().run_epoch()


def make(work_dir, **train_cfg):
    return Runner.from_cfg(toy_config(work_dir, train_dataloader=toy_loader(16, 4), train_cfg=train_cfg))


def test_a_run_that_cannot_end_by_tokens_is_refused(tmp_path):
    message = "max_duration='20 tok' ends training in run.* RunOfItsOwn has one of its own: call super"
    with pytest.raises(ConfigError, match=message):
        make(tmp_path, type="RunOfItsOwn", **TOKENS).train()


@pytest.mark.parametrize(("settings", "name"), [(TOKENS, "max_duration"), (LIMIT, "limit_batches")])
def test_an_epoch_that_counts_no_batches_is_refused(tmp_path, settings, name):
    message = f"train_cfg has {name}, and EpochOfItsOwn has a run_epoch.* or drop {name}"
    with pytest.raises(ConfigError, match=message):
        make(tmp_path, type="EpochOfItsOwn", **settings).train()


@pytest.mark.parametrize(("settings", "n_iters"), [(TOKENS, 1), (LIMIT, 6)])
def test_methods_that_call_those_of_the_engine_are_fine(tmp_path, settings, n_iters):
    runner = make(tmp_path, type="CallsSuper", **settings)
    runner.train()
    assert runner.iter == n_iters


def test_a_run_of_its_own_has_its_epochs_limited(tmp_path):
    runner = make(tmp_path, type="RunOfItsOwn", **LIMIT)
    runner.train()
    assert runner.iter == 6
