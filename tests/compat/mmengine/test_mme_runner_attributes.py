"""What a script finds on MMEngine's Runner, and may put in its place."""

import os

import pytest
import torch
from mme_runner_toys import config, loader, models, registered

pytestmark = [pytest.mark.usefixtures("mmengine"), pytest.mark.filterwarnings("ignore:there is a MMLogger named")]


@pytest.fixture
def toys():
    with registered() as found:
        yield found


@pytest.fixture
def run(toys, tmp_path, request):
    from mmengine.runner import Runner

    return Runner.from_cfg(config(tmp_path, request.node.name))


def test_a_model_that_is_put_in_is_initialised_and_trained(run):
    counts = []

    class Counted(models()[0]):
        def init_weights(self):
            counts.append(1)

    model = Counted()
    before = model.first.weight.clone()
    run.model = model
    run.train()
    assert run.model is model
    assert counts == [1]
    assert not torch.equal(model.first.weight, before)
    assert run.optim_wrapper.param_groups[0]["params"][0] is model.first.weight


def test_rates_are_exact(run):
    run.train()
    assert run.optim_wrapper.param_groups[0]["lr"] == 0.0001


def test_the_name_of_the_experiment_may_be_changed(run):
    run._experiment_name = "another_name"
    assert run.experiment_name == "another_name"
    assert run.build_logger().instance_name == "another_name"
    assert run.build_message_hub({}).instance_name == "another_name"
    assert run.build_visualizer().instance_name == "another_name"


def test_private_names_of_facts(run, tmp_path):
    assert (run._launcher, run._distributed, run._rank, run._world_size) == ("none", False, 0, 1)
    assert (run._work_dir, run._log_dir) == (run.work_dir, run.log_dir) == (str(tmp_path), run.log_dir)
    assert (run._timestamp, run._seed, run._deterministic) == (run.timestamp, run.seed, False)
    assert run.model_name == "Line"


def test_how_far_a_run_is_to_go(run):
    assert isinstance(run._train_loop, dict)
    assert run.train_loop is run._train_loop
    assert (run.epoch, run.iter, run.max_epochs, run.max_iters) == (0, 0, 3, 12)


@pytest.mark.parametrize("wrong", ["nothing_of_that_name", 3])
def test_what_is_no_collate_function(run, wrong):
    with pytest.raises(TypeError, match="collate_fn should be a dict or callable object"):
        run.build_dataloader(loader(collate_fn=wrong))


def test_what_is_no_hook(run):
    with pytest.raises(TypeError, match="hook should be an instance of Hook or dict"):
        run.register_hook("x")


def test_a_sampler_of_the_config_has_the_seed(run):
    assert run.build_dataloader(loader(shuffle=True), seed=7).sampler.seed == 7
    assert run.build_dataloader(loader(shuffle=True), seed=7, diff_rank_seed=True).sampler.seed != 7


def test_metrics_that_are_built(run, toys):
    first, second = toys["Ones"](), toys["Ones"](collect_device="gpu")
    made = run.build_evaluator([first, second])
    assert made.metrics == [first, second]
    assert [one.collect_device for one in made.metrics] == ["cpu", "gpu"]


@pytest.mark.filterwarnings("ignore:.*weights_only")
def test_a_training_set_with_other_facts(toys, tmp_path, monkeypatch, is_peer):
    from mmengine.runner import Runner

    if is_peer:
        read = torch.load
        monkeypatch.setattr(torch, "load", lambda *args, **settings: read(*args, **{**settings, "weights_only": False}))
    bare = loader(dataset={"type": "BareRows"})
    cfg = config(tmp_path, "first", randomness={"seed": 3}, train_dataloader=bare)
    Runner.from_cfg(cfg).train()
    saved = torch.load(tmp_path / "epoch_3.pth", weights_only=not is_peer)
    saved["meta"]["dataset_meta"] = {"CLASSES": ["cat", "dog"]}
    torch.save(saved, tmp_path / "changed.pth")
    cfg.experiment_name = "second"
    run = Runner.from_cfg(cfg)
    warned = []
    monkeypatch.setattr(run.logger, "handle", lambda record: warned.append((record.levelname, record.getMessage())))
    run.resume(os.path.join(tmp_path, "changed.pth"))
    assert any(level == "WARNING" and "metainfo" in text and "checkpoint" in text for level, text in warned)


def test_a_file_of_which_nothing_fits_is_warned_of(run, tmp_path, capsys):
    before = [parameter.detach().clone() for parameter in run.model.parameters()]
    path = str(tmp_path / "other.pth")
    torch.save({"state_dict": {"other.weight": torch.ones(2, 2)}}, path)
    run.load_checkpoint(path)
    shown = "".join(capsys.readouterr())
    assert "other.weight" in shown
    assert all(torch.equal(one, other) for one, other in zip(before, run.model.parameters(), strict=True))
    with pytest.raises(RuntimeError):
        run.load_checkpoint(path, strict=True)
