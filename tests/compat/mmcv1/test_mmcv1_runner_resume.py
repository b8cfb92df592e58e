"""A run that goes on from a checkpoint ends as the one that was not interrupted, bit for bit, wherever it was saved."""

import pytest
import torch
from mmcv1_noisy_runs import LOGGER, Net, SaveEach, Step, end_of, loader, made

from trainwright.compat.mmcv1.runner import (
    EpochBasedRunner,
    Hook,
    IterBasedRunner,
    IterLoader,
    LogBuffer,
    load_checkpoint,
)
from trainwright.compat.mmcv1.runner.exact import KEY
from trainwright.data import build_dataloader
from trainwright.testing.ranks import run_ranks


def keyed():
    """A loader of ours, which can jump to a position."""
    from mmcv1_noisy_runs import Noise

    cfg = {"dataset": Noise(), "batch_size": 2, "sampler": {"type": "DefaultSampler", "shuffle": True}}
    return build_dataloader({**cfg, "collate_fn": {"type": "default_collate"}}, seed=5)


LOADERS = {
    "global stream": loader,
    "own generator": lambda: loader(seed=3),
    "keyed": keyed,
    "workers": lambda: loader(seed=3, num_workers=1),
}


class Counts(Hook):
    """Has a state that decides what it draws."""

    def __init__(self):
        self.n = 0

    def after_train_iter(self, runner):
        self.n += 1
        torch.rand(self.n)

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


class OwnTrain(IterBasedRunner):
    """Draws two batches an iteration, as runners of GANs do."""

    def train(self, data_loader, **kwargs):
        self.model.train()
        self.mode = "train"
        self.data_loader = data_loader
        self._epoch = data_loader.epoch
        next(data_loader)
        self.data_batch = next(data_loader)
        self.call_hook("before_train_iter")
        self.outputs = self.model.train_step(self.data_batch, self.optimizer, **kwargs)
        self.call_hook("after_train_iter")
        self._inner_iter += 1
        self._iter += 1


def check(kind, folder, workflow, loaders, **length):
    """Go on from every checkpoint of a run; returns their names."""
    whole_saver = SaveEach(folder)
    whole = made(kind, Counts(), whole_saver, **length)
    whole.run([make() for make in loaders], workflow)
    assert any(not training for training, _ in whole.model.steps) == (len(workflow) > 1)
    for name, n_done in whole_saver.done.items():
        rest = made(kind, Counts(), seed=9, **length)
        torch.rand(5)
        rest.resume(str(folder / name))
        rest.run([make() for make in loaders], workflow)
        assert rest.model.steps == whole.model.steps[n_done:], name
        assert (rest.epoch, rest.iter) == (whole.epoch, whole.iter)
        assert all(torch.equal(a, b) for a, b in zip(end_of(rest).values(), end_of(whole).values(), strict=True)), name
    return list(whole_saver.done)


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in LOADERS.items()])
def test_epochs(tmp_path, make):
    names = check(EpochBasedRunner, tmp_path, [("train", 1)], [make], max_epochs=2)
    assert names == ["inside_1.pth", "inside_2.pth", "inside_3.pth", "end_1.pth", "inside_4.pth", "inside_5.pth",
                     "inside_6.pth", "end_2.pth"]  # fmt: skip


def test_epochs_in_a_workflow(tmp_path):
    """The validation that is next comes first, and the share of training that was begun is ended."""
    check(EpochBasedRunner, tmp_path, [("train", 2), ("val", 1)], [loader, loader], max_epochs=3)


@pytest.mark.parametrize("kind", [IterBasedRunner, OwnTrain])
@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in LOADERS.items() if name != "workers"])
def test_iterations_in_a_workflow(tmp_path, kind, make):
    """Passes over both loaders begin and end in the middle of shares."""
    check(kind, tmp_path, [("train", 2), ("val", 1)], [make, make], max_iters=8)


def test_a_file_without_our_key_is_gone_on_from_as_mmcv_does(tmp_path):
    check(EpochBasedRunner, tmp_path, [("train", 2), ("val", 1)], [loader, loader], max_epochs=3)
    tree = torch.load(tmp_path / "inside_2.pth")
    del tree[KEY]
    torch.save(tree, tmp_path / "theirs.pth")
    runner = made(EpochBasedRunner, max_epochs=3)
    runner.resume(str(tmp_path / "theirs.pth"))
    assert (runner.epoch, runner.iter) == (1, 1)  # the epoch counts as done, the iteration does not
    runner.run([loader(), loader()], [("train", 2), ("val", 1)])
    assert [training for training, _ in runner.model.steps] == [True] * 6 + [False] * 3


def test_counters_set_after_a_resume_count(tmp_path):
    saver = SaveEach(tmp_path)
    made(EpochBasedRunner, saver, max_epochs=2).run([loader()], [("train", 1)])
    runner = made(EpochBasedRunner, max_epochs=2)
    runner.resume(str(tmp_path / "inside_2.pth"))
    runner._epoch = runner._iter = 0
    runner.run([loader()], [("train", 1)])
    assert len(runner.model.steps) == 6


def test_another_workflow_begins_at_its_beginning_in_the_same_pass(tmp_path):
    made(EpochBasedRunner, SaveEach(tmp_path), max_epochs=1).run([loader()], [("train", 1)])
    runner = made(EpochBasedRunner, max_epochs=1)
    runner.resume(str(tmp_path / "inside_2.pth"))
    runner.run([loader(), loader()], [("val", 1), ("train", 1)])
    assert [training for training, _ in runner.model.steps] == [False, False, False, True]


def test_a_checkpoint_of_the_other_runner_is_read_as_one_of_mmcv(tmp_path):
    made(EpochBasedRunner, SaveEach(tmp_path), max_epochs=2).run([loader()], [("train", 1)])
    runner = made(IterBasedRunner, max_iters=8)
    runner.resume(str(tmp_path / "end_1.pth"))
    assert (runner.epoch, runner.iter, runner.inner_iter) == (1, 3, 3)
    assert runner.meta is None
    runner.run([loader()], [("train", 1)])
    assert len(runner.model.steps) == 5


def test_what_waits_to_be_logged_goes_on_inside_an_epoch_alone(tmp_path):
    made(EpochBasedRunner, SaveEach(tmp_path), max_epochs=2).run([loader()], [("train", 1)])
    seen = []

    class Looks(Hook):
        def before_train_iter(self, runner):
            seen.append(len(runner.log_buffer.val_history.get("loss", ())))

    for name in ("inside_2.pth", "end_1.pth"):
        runner = made(EpochBasedRunner, Looks(), max_epochs=2)
        runner.resume(str(tmp_path / name))
        runner.run([loader()], [("train", 1)])
    assert seen == [2, 3, 4, 5] + [0, 1, 2]


def test_a_log_buffer_and_hooks_of_the_users_own_may_have_no_state(tmp_path, caplog):
    class Odd(Hook):
        def state_dict(self):
            return {"runner": self}

        def load_state_dict(self, state):
            raise AssertionError

    class Plain:
        """As MMCV's."""

        def update(self, values, count):
            self.values = values

    runner = made(EpochBasedRunner, Odd(), max_epochs=1)
    runner.log_buffer = Plain()
    with caplog.at_level("WARNING", LOGGER.name):
        runner.save_checkpoint(str(tmp_path))
    assert "states of Odd" in caplog.text
    other = made(EpochBasedRunner, max_epochs=1)
    other.resume(str(tmp_path / "latest.pth"))
    other.run([loader()], [("train", 1)])
    assert isinstance(other.log_buffer, LogBuffer)


def test_two_hooks_of_a_class_have_a_state_each(tmp_path):
    first, second = Counts(), Counts()
    second.n = 5
    made(EpochBasedRunner, first, second, SaveEach(tmp_path), max_epochs=1).run([loader()], [("train", 1)])
    own = Counts(), Counts()
    runner = made(EpochBasedRunner, *own, max_epochs=1)
    runner.resume(str(tmp_path / "end_1.pth"))
    runner.run([loader()], [("train", 1)])
    assert [hook.n for hook in own] == [3, 8]


CONFIG = "work_dir = 'here'\ngpu_ids = range(0, 4)\n"


def theirs(folder, config, **meta):
    """A file such as MMCV's, of iteration 12."""
    runner = made(EpochBasedRunner, max_epochs=4)
    tree = {"state_dict": runner.model.state_dict(), "optimizer": runner.optimizer.state_dict()}
    torch.save({**tree, "meta": {"epoch": 2, "iter": 12, "config": config, **meta}}, folder / "theirs.pth")
    return str(folder / "theirs.pth")


def test_iterations_are_counted_anew_for_another_number_of_gpus(tmp_path, caplog):
    runner = made(EpochBasedRunner, max_epochs=4)
    with caplog.at_level("INFO", LOGGER.name):
        runner.resume(theirs(tmp_path, CONFIG))
    assert (runner.epoch, runner.iter) == (2, 48)
    assert "iteration number is now 48: it was saved with 4 GPUs" in caplog.text


@pytest.mark.parametrize("config", ["gpu_ids = [0]", "gpu_ids = None", "seed = 1", 5])
def test_iterations_stay_for_the_same_number(tmp_path, config):
    runner = made(EpochBasedRunner, max_epochs=4)
    runner.resume(theirs(tmp_path, config))
    assert runner.iter == 12


def test_a_config_in_a_checkpoint_is_not_run(tmp_path, caplog):
    target = tmp_path / "ran"
    config = f"import pathlib\npathlib.Path({str(target)!r}).touch()\ngpu_ids = range(4)\n"
    runner = made(EpochBasedRunner, max_epochs=4)
    runner.resume(theirs(tmp_path, config))
    assert not target.exists()
    assert runner.iter == 12
    assert "gpu_ids are not known" in caplog.text


def test_messages_of_hooks_are_kept_and_joined(tmp_path):
    runner = made(EpochBasedRunner, max_epochs=4, meta={"hook_msgs": {"mine": 1, "best": 2}})
    runner.resume(theirs(tmp_path, CONFIG, hook_msgs={"best": 3}))
    assert runner.meta["hook_msgs"] == {"mine": 1, "best": 3}
    assert runner.meta["iter"] == 12


def test_weights_alone_are_no_training(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(KeyError, match="holds weights alone"):
        made(EpochBasedRunner, max_epochs=1).resume(str(tmp_path / "weights.pth"))


def test_a_resume_needs_an_optimizer_or_says_it_does_not(tmp_path):
    path = theirs(tmp_path, CONFIG)
    runner = EpochBasedRunner(Net(), logger=LOGGER, max_epochs=1)
    with pytest.raises(TypeError, match=r"dict or torch.optim.Optimizer but got None.*resume_optimizer=False"):
        runner.resume(path)
    runner.resume(path, resume_optimizer=False)
    assert runner.epoch == 2


class Sees(Net):
    """Has statistics that each rank makes for itself."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3)

    def train_step(self, data, optimizer):
        self.norm(data)
        return super().train_step(data, optimizer)


def _train_apart(folder):
    rank = torch.distributed.get_rank()

    class Saves(Hook):
        def after_train_iter(self, runner):
            runner.gather_run_state()
            if runner.rank == 0:
                name = f"{runner.iter + 1}.pth"
                runner.save_checkpoint(str(folder), filename_tmpl=name, create_symlink=False)

    whole = made(EpochBasedRunner, Saves(), seed=rank, net=Sees, max_epochs=2)
    whole.run([loader()], [("train", 1)])
    torch.distributed.barrier()
    rest = made(EpochBasedRunner, seed=9 + rank, net=Sees, max_epochs=2)
    rest.resume(str(folder / "2.pth"))
    rest.run([loader()], [("train", 1)])
    is_same = torch.equal(rest.model.norm.running_mean, whole.model.norm.running_mean)
    return whole.model.steps, rest.model.steps, is_same


def test_each_rank_goes_on_with_its_own_numbers(tmp_path):
    """Rank 1 has weights of its own here, and takes those of rank 0; what it draws stays its own."""
    (whole, rest, is_same), (other, other_rest, is_others_same) = run_ranks(2, _train_apart, tmp_path)
    assert rest == whole[2:]
    assert len(other_rest) == len(other[2:])
    assert (is_same, is_others_same) == (True, True)
    saved = torch.load(tmp_path / "2.pth")[KEY]["ranks"]
    assert sorted(saved) == [0, 1]
    assert not torch.equal(saved[0]["rng"]["torch"], saved[1]["rng"]["torch"])


def test_other_ranks_than_there_were_begin_a_new_order(tmp_path, caplog):
    made(EpochBasedRunner, SaveEach(tmp_path), max_epochs=2).run([loader()], [("train", 1)])
    tree = torch.load(tmp_path / "inside_2.pth")
    tree[KEY]["world_size"] = 4
    torch.save(tree, tmp_path / "four.pth")
    runner = made(EpochBasedRunner, max_epochs=2)
    runner.resume(str(tmp_path / "four.pth"))
    assert "saved by 4 processes and there are 1 now" in caplog.text
    assert (runner.epoch, runner.iter) == (1, 1)
    runner.run([loader()], [("train", 1)])
    assert len(runner.model.steps) == 3


def test_a_rank_that_saved_nothing_goes_on_at_the_place_of_another(tmp_path):
    made(EpochBasedRunner, SaveEach(tmp_path), max_epochs=1).run([loader(seed=3)], [("train", 1)])
    tree = torch.load(tmp_path / "inside_2.pth")
    tree[KEY]["ranks"] = {7: tree[KEY]["ranks"][0]}
    torch.save(tree, tmp_path / "lacking.pth")
    runner = made(EpochBasedRunner, max_epochs=1)
    runner.resume(str(tmp_path / "lacking.pth"))
    runner.run([loader(seed=3)], [("train", 1)])
    assert len(runner.model.steps) == 1


def test_gradients_of_an_open_window_go_on(tmp_path):
    class Window(Hook):
        window_is_open = True

        def after_train_iter(self, runner):
            runner.outputs["loss"].backward()

    def run(*hooks, path=None):
        runner = made(EpochBasedRunner, max_epochs=1)
        runner._hooks = [hook for hook in runner._hooks if not isinstance(hook, Step)]
        for hook in (Window(), *hooks):
            runner.register_hook(hook)
        if path is not None:
            runner.resume(str(path))
        runner.run([loader()], [("train", 1)])
        return [parameter.grad for parameter in runner.model.parameters()]

    whole = run(SaveEach(tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(run(path=tmp_path / "inside_1.pth"), whole, strict=True))


def test_a_file_is_read_by_default_arguments_and_by_mmcv(tmp_path):
    runner = made(EpochBasedRunner, max_epochs=1)
    runner.save_checkpoint(str(tmp_path))
    tree = torch.load(tmp_path / "latest.pth")
    assert {"meta", "state_dict", "optimizer"} < set(tree)
    assert {"epoch": 1, "iter": 0, "mmcv_version": "1.7.2"}.items() <= tree["meta"].items()
    other = Net()
    load_checkpoint(other, str(tmp_path / "epoch_1.pth"), strict=True)
    assert torch.equal(other.layer.weight, runner.model.layer.weight)


class OwnRun(EpochBasedRunner):
    """Orders epochs by itself."""

    def run(self, data_loaders, workflow, **kwargs):
        self.call_hook("before_run")
        while self.epoch < self._max_epochs:
            self.train(data_loaders[0], **kwargs)
        self.call_hook("after_run")


def test_an_order_of_ones_own_goes_on_inside_an_epoch(tmp_path):
    check(OwnRun, tmp_path, [("train", 1)], [loader], max_epochs=2)


class OwnIterRun(IterBasedRunner):
    """Orders iterations by itself, over a loader without an order."""

    def run(self, data_loaders, workflow, **kwargs):
        loaders = [IterLoader(x) for x in data_loaders]
        while self.iter < self._max_iters:
            self.train(loaders[0], **kwargs)


def test_an_order_of_ones_own_has_hooks_and_streams_as_they_were(tmp_path):
    check(OwnIterRun, tmp_path, [("train", 1)], [lambda: [torch.ones(2, 3)] * 9], max_iters=4)


@pytest.mark.parametrize("kind", [EpochBasedRunner, IterBasedRunner])
def test_a_run_that_has_ended_is_made_longer(tmp_path, kind):
    name, first, whole = ("max_epochs", 2, 4) if kind is EpochBasedRunner else ("max_iters", 4, 8)
    whole = made(kind, **{name: whole})
    whole.run([loader(seed=3)], [("train", 1)])
    short = made(kind, **{name: first})
    short.run([loader(seed=3)], [("train", 1)])
    short.save_checkpoint(str(tmp_path))
    rest = made(kind, seed=9, **{name: 2 * first})
    rest.resume(str(tmp_path / "latest.pth"))
    rest.run([loader(seed=3)], [("train", 1)])
    assert short.model.steps + rest.model.steps == whole.model.steps
