"""Checkpoints both ways: MMEngine 0.10.7's file goes on here as there, and ours goes on in MMEngine.

`mme_checkpoint.pth` was written by `record_mme_checkpoint.py`, with how MMEngine's training ended.
"""

import pytest
import torch
from mme_checkpoint_runs import ENDS, FILE, STOPPED, WHOLE, runner, state
from mme_suite import IS_INSTALLED, face_installed, peer_installed


def assert_the_same(found, wanted):
    for part in ("counters", "steps"):
        assert found[part] == wanted[part]
    for part in ("model", "ema"):
        assert found[part].keys() == wanted[part].keys()
        for name, value in wanted[part].items():
            torch.testing.assert_close(found[part][name], value, rtol=0, atol=1e-6)
    torch.testing.assert_close(found["moments"], wanted["moments"], rtol=0, atol=1e-6)
    assert found["losses"] == pytest.approx(wanted["losses"], abs=1e-6)
    for (lr, betas), (wanted_lr, wanted_betas) in zip(found["rates"], wanted["rates"], strict=True):
        assert lr == pytest.approx(wanted_lr, rel=1e-9)
        assert betas == pytest.approx(wanted_betas, rel=1e-9)


def test_mmengine_s_file_goes_on_here_as_there(tmp_path):
    with face_installed():
        run = runner(tmp_path, load_from=str(FILE), resume=True)
        run.load_or_resume()
        assert (run.epoch, run.iter) == (STOPPED, 3 * STOPPED)
        assert len(run.message_hub.get_scalar("train/loss").data[0]) == 3 * STOPPED
        run.train()
        assert_the_same(state(run), torch.load(ENDS, weights_only=True))


def test_training_as_a_whole_is_mmengine_s(tmp_path):
    with face_installed():
        run = runner(tmp_path)
        run.train()
        assert_the_same(state(run), torch.load(ENDS, weights_only=True))


def test_our_file_has_what_mmengine_s_has(tmp_path):
    with face_installed():
        runner(tmp_path).train()
        from trainwright.checkpoint import read_checkpoint

        ours, theirs = torch.load(tmp_path / f"epoch_{STOPPED}.pth", weights_only=True), read_checkpoint(FILE)
    assert set(theirs) <= set(ours)
    for part in ("state_dict", "ema_state_dict"):
        assert list(theirs[part]) == list(ours[part])
    assert set(theirs["meta"]) - {"mmengine_version"} <= set(ours["meta"])
    hubs = (ours["message_hub"], theirs["message_hub"])
    assert [sorted(hub) for hub in hubs] == [["log_scalars", "resumed_keys", "runtime_info"]] * 2
    assert [[hub["runtime_info"][key] for key in ("epoch", "iter")] for hub in hubs] == [[1, 5], [1, 5]]
    for one, other in zip(ours["param_schedulers"], theirs["param_schedulers"], strict=True):
        assert {name: one[name] for name in other if name != "verbose"} == {
            name: pytest.approx(value) if isinstance(value, (float, list)) else value
            for name, value in other.items()
            if name != "verbose"
        }


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not IS_INSTALLED, reason="needs MMEngine")
def test_our_file_goes_on_in_mmengine_as_here(tmp_path):
    with face_installed():
        runner(tmp_path / "ours").train()
    with peer_installed():
        path = tmp_path / "ours" / f"epoch_{STOPPED}.pth"
        run = runner(tmp_path / "theirs", load_from=str(path), resume=True)
        run.train()
        found, wanted = state(run), torch.load(ENDS, weights_only=True)
    assert len(found["losses"]) == 3 * (WHOLE - STOPPED)  # it takes no history that is no object of its own
    found["losses"] = [*wanted["losses"][: 3 * STOPPED], *found["losses"]]
    assert_the_same(found, wanted)
