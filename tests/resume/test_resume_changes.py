"""Resumed with another batch, world, thread count, version, dataset or config: kept exact, told of, or refused."""

import pytest
import torch
from resuming import config, final_state, resumed, run

from trainwright.base.errors import CheckpointError, ConfigError
from trainwright.checkpoint import read_file
from trainwright.engine import Event
from trainwright.runner import Runner
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import ToyDataset, differences, toy_loader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def settings(batch_size=4, accumulation=1, **changes):
    optimizer = {"type": "SGD", "lr": 0.1}
    return {
        "train_dataloader": toy_loader(24, batch_size, noise=0.3),
        "model": {"type": "ToyModel"},
        "optim_wrapper": {"optimizer": optimizer, "accumulative_counts": accumulation},
        "param_scheduler": None,
        "epochs": 3,
        **changes,
    }


def stopped(folder, after=4, **changes):
    return run(config(folder, **settings(**changes)), StopAt(Event.AFTER_TRAIN_ITER, after))


def test_the_global_batch_is_kept_when_batch_size_and_accumulation_trade(tmp_path):
    """Windows of two batches of 2 are the batches of 4: the same samples in the same updates."""
    straight = run(config(tmp_path / "one", **settings()))
    first = stopped(tmp_path / "parts")
    assert first.iter == 4
    second = resumed(config(tmp_path / "parts", **settings(2, 2)))
    assert (second.iter, second.epoch) == (36, 3)
    for name, value in straight.final["state_dict"].items():
        torch.testing.assert_close(second.final["state_dict"][name], value, atol=1e-6, rtol=1e-5)
    back = resumed(config(tmp_path / "parts", **settings(4, 1, epochs=4)))
    assert (back.iter, back.epoch) == (24, 4)


def test_the_resumed_run_begins_at_the_same_global_sample(tmp_path):
    stopped(tmp_path)
    runner = Runner.from_cfg({**config(tmp_path, **settings(2, 2)), "resume": True})
    runner.load_or_resume()
    assert runner.train_dataloader.position == (0, 8)
    assert (runner.ctx.clock.iter, runner.ctx.clock.inner_iter) == (8, 8)
    assert runner.train_dataloader.state_dict()["consumed_samples"] == 16


def test_another_global_batch_is_refused_with_what_to_do(tmp_path):
    stopped(tmp_path)
    message = (
        r"ranks x batch_size x accumulative_counts = 1 x 4 x 1 = 4 samples an update, and this run has 1 x 6 x 1 = 6: "
        r"the samples would not go on as they began. Set train_dataloader.batch_size=4 to keep them. Or set "
        r"resume_cfg=dict\(allow_inexact=True\) to go on from the nearest position: 4 of the 16 "
        r"samples used of this epoch would be seen again, none left out."
    )
    with pytest.raises(CheckpointError, match=message):
        resumed(config(tmp_path, **settings(6)))
    with pytest.raises(
        CheckpointError, match=r"or optim_wrapper.accumulative_counts=2 to keep them. Or set resume_cfg"
    ):
        resumed(config(tmp_path / "two", **settings(2)) | {"load_from": str(tmp_path / "iter_4.pth")})


def test_another_global_batch_where_it_is_allowed(tmp_path, capsys):
    stopped(tmp_path)
    runner = resumed(config(tmp_path, **settings(6)) | {"resume_cfg": {"allow_inexact": True}})
    assert (runner.epoch, runner.iter) == (3, 12)
    told = capsys.readouterr().err
    assert "It goes on all the same, because resume_cfg=dict(allow_inexact=True) says so" in told
    assert "4 samples of the resumed epoch will be seen again" in told


def test_another_accumulation_where_iterations_are_counted(tmp_path):
    by_iter = [{"type": "LinearLR", "start_factor": 0.5, "begin": 0, "end": 9, "by_epoch": False}]
    stopped(tmp_path / "schedule", param_scheduler=by_iter)
    with pytest.raises(
        CheckpointError, match="and a param_scheduler counts iterations. Keep accumulative_counts=1, with"
    ):
        resumed(config(tmp_path / "schedule", **settings(2, 2, param_scheduler=by_iter)))
    loop = {"by_epoch": False, "max_iters": 8}
    stopped(tmp_path / "loop", train_cfg=loop)
    with pytest.raises(CheckpointError, match="and max_iters counts iterations"):
        resumed(config(tmp_path / "loop", **settings(2, 2, train_cfg=loop)))


def test_another_accumulation_inside_a_window(tmp_path):
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False}}
    run(config(tmp_path, **settings(2, 2, default_hooks=hooks)))
    with pytest.raises(
        CheckpointError, match="saved inside an accumulation window: its gradients belong to iterations"
    ):
        resumed(config(tmp_path, **settings(4, 1)) | {"load_from": str(tmp_path / "iter_3.pth")})


@pytest.fixture
def threads():
    before, flag = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    cudnn = torch.backends.cudnn.deterministic
    yield before
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(flag)
    torch.backends.cudnn.deterministic = cudnn


def test_another_number_of_threads(tmp_path, threads, capsys):
    stopped(tmp_path)
    torch.set_num_threads(threads + 1)
    stopped_again = run(config(tmp_path, **settings()) | {"resume": True}, StopAt(Event.AFTER_TRAIN_ITER, 1))
    told = capsys.readouterr().err
    assert f"was computed with {threads} threads and torch has {threads + 1} here: results will differ" in told
    assert f"Set OMP_NUM_THREADS={threads} for equal ones" in told
    assert torch.get_num_threads() == threads + 1
    assert stopped_again.iter == 5


def test_deterministic_sets_the_threads_back(tmp_path, threads):
    exact = {"randomness": {"seed": 1, "deterministic": True}}
    stopped(tmp_path, **exact)
    torch.set_num_threads(threads + 1)
    resumed(config(tmp_path, **settings(**exact)))
    assert torch.get_num_threads() == threads


def test_versions_flags_settings_and_dataset_are_compared(tmp_path, capsys, threads):
    first = stopped(tmp_path, randomness={"seed": 1, "deterministic": True})
    path = first.checkpoints().latest()
    meta = read_file(path)["meta"]
    assert meta["environment"]["torch"] == torch.__version__
    assert meta["environment"]["deterministic"] is True
    assert meta["fingerprint"]["dataset"]["length"] == "24"
    assert meta["global_batch"] == {"world_size": 1, "per_rank": 4, "accumulation": 1}
    torch.use_deterministic_algorithms(False)
    tree = read_file(path)
    tree["meta"]["environment"] |= {"torch": "2.9.0", "numpy": "1.26"}
    first.strategy.write_tree(path, tree)
    capsys.readouterr()
    changed = settings(model={"type": "ToyModel", "dropout": 0.1})
    changed["train_dataloader"] = toy_loader(25, 4, noise=0.3)
    resumed(config(tmp_path, **changed))
    told = capsys.readouterr().err
    assert f"other than where the checkpoint was made: torch 2.9.0 -> {torch.__version__}, numpy 1.26 -> " in told
    assert "deterministic True -> False" in told
    assert "other than in the checkpoint, in the config: " in told
    assert "; model.dropout not set -> 0.1; they are used as they are now" in told
    assert "other than in the checkpoint, in the dataset: length 24 -> 25" in told


def test_nothing_is_told_when_nothing_differs(tmp_path, capsys):
    run(config(tmp_path, **settings()))
    capsys.readouterr()
    resumed(config(tmp_path, **settings()) | {"load_from": str(tmp_path / "epoch_1.pth")})
    assert "WARNING" not in capsys.readouterr().err


def test_a_setting_that_is_written_out_with_its_own_value_is_none_that_differs(tmp_path, capsys):
    stopped(tmp_path, randomness={"seed": 3})
    capsys.readouterr()
    resumed(config(tmp_path, **settings(randomness={"seed": 3, "keyed": True})))
    told = capsys.readouterr().err
    assert "other than in the checkpoint" in told  # the hook that stopped it
    assert "keyed" not in told


@pytest.mark.parametrize("name", ["resume_optimizer", "resume_param_scheduler"])
def test_parts_may_begin_anew(tmp_path, name):
    cfg = config(tmp_path, epochs=3)
    run(cfg, StopAt(Event.AFTER_TRAIN_ITER, 7))
    runner = Runner.from_cfg({**cfg, "resume": True, "resume_cfg": {name: False}})
    runner.load_or_resume()
    assert runner.iter == 7
    momenta = [s["momentum_buffer"] for s in runner.optim_wrapper.optimizer.state.values()]
    assert bool(momenta) == (name != "resume_optimizer")
    steps = max(scheduler.last_step for scheduler in runner.param_schedulers)
    assert steps == (0 if name == "resume_param_scheduler" else 1)


def test_names_are_revised_and_missing_weights_allowed(tmp_path):
    first = run(config(tmp_path / "one", epochs=1))
    tree = read_file(first.checkpoints().latest())
    tree["state_dict"] = {f"net.{name}": value for name, value in tree["state_dict"].items()}
    path = str(tmp_path / "net.pth")
    first.strategy.write_tree(path, tree)
    revised = {"revise_keys": [("^net\\.", "")], "map_location": "cpu"}
    cfg = config(tmp_path / "two", epochs=2) | {"load_from": path, "resume": True}
    runner = Runner.from_cfg({**cfg, "resume_cfg": revised})
    runner.load_or_resume()
    assert differences(dict(runner.model.state_dict()), dict(first.model.state_dict())) == []
    tree["state_dict"].pop("net.second.bias")
    first.strategy.write_tree(path, tree)
    with pytest.raises(CheckpointError, match="second.bias"):
        Runner.from_cfg({**cfg, "resume_cfg": revised}).load_or_resume()
    lenient = Runner.from_cfg({**cfg, "resume_cfg": {**revised, "strict": False}})
    lenient.load_or_resume()
    assert lenient.iter == first.iter
    with pytest.raises(CheckpointError, match="second.bias"):
        Runner.from_cfg({**cfg, "resume": False, "resume_cfg": {**revised, "strict": True}}).load_or_resume()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"allow_inexakt": True}, r"resume_cfg has no setting 'allow_inexakt'.*Did you mean 'allow_inexact'"),
        ({"resume_optimizer": "no"}, "resume_cfg resume_optimizer must be True or False, but got 'no'"),
        ({"revise_keys": "module."}, "resume_cfg revise_keys must be a list of pairs of a regular expression"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_starts(tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=message):
        Runner.from_cfg(config(tmp_path) | {"resume_cfg": wrong})


def test_no_sample_is_read_to_resume(tmp_path, monkeypatch):
    read = []
    own = ToyDataset.__getitem__
    stopped(tmp_path)
    monkeypatch.setattr(ToyDataset, "__getitem__", lambda self, index: read.append(index) or own(self, index))
    runner = Runner.from_cfg(
        {**config(tmp_path, **settings(val_dataloader=None, val_cfg=None, val_evaluator=None)), "resume": True}
    )
    runner.load_or_resume()
    assert read == []
    next(iter(runner.train_dataloader))
    assert len(read) == 4
    assert final_state(runner)["clock"]["iter"] == 4
