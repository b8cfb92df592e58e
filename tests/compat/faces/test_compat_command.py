import sys

import pytest
from python_runs import python, without_mmcv, write_package

SCRIPT = """
    '''A script.'''
    import os, sys
    import mmcv
    from mmcv import Config

    class Plain:
        pass

    if __name__ == "__main__":
        import pickle
        assert isinstance(pickle.loads(pickle.dumps(Plain())), Plain) and sys.modules["__main__"].Plain is Plain
        print(sys.argv, sys.path[0], __file__, __doc__, __spec__, __package__)
        command = sys.argv[1:]
        if command == ["fail"]:
            def inner():
                raise ValueError("of the script")
            inner()
        if command[:1] == ["exit"]:
            sys.exit(int(command[1]) if command[1].isdigit() else command[1])
"""


def command(*arguments, **settings):
    return python("-m", "trainwright.compat", *arguments, PYTHONWARNINGS="ignore", **settings)  # those of a real mmcv


def test_a_script_runs_as_python_runs_it(tmp_path):
    write_package(tmp_path, {"folder/train.py": SCRIPT})
    shown, _ = command("mmcv1", "--", "folder/train.py", "a", "--b", "-m", "--", folder=tmp_path)
    alone = {"mmcv/__init__.py": "class Config: pass"}
    same, _ = python(
        "folder/train.py", "a", "--b", "-m", "--", folder=tmp_path, PYTHONPATH=write_package(tmp_path / "fake", alone)
    )
    assert shown == same
    assert str(["folder/train.py", "a", "--b", "-m", "--"]) in shown
    assert not list(tmp_path.rglob("*.pyc"))


def test_an_error_of_the_script_is_shown_from_the_script_on(tmp_path):
    write_package(tmp_path, {"train.py": SCRIPT, "broken.py": "import mmcv\nif:\n"})
    _, shown = command("mmcv1", "--", "train.py", "fail", folder=tmp_path, status=1)
    lines = shown.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{tmp_path}/train.py", line ')
    assert lines[-1] == "ValueError: of the script"
    _, shown = command("mmcv1", "--", "broken.py", folder=tmp_path, status=1)
    assert shown.startswith(f'  File "{tmp_path}/broken.py", line 2\n')
    assert "SyntaxError" in shown


@pytest.mark.parametrize(("end", "status", "written"), [("5", 5, ""), ("0", 0, ""), ("a reason", 1, "a reason\n")])
def test_exit_codes(tmp_path, end, status, written):
    write_package(tmp_path, {"train.py": SCRIPT})
    assert command("mmcv1", "--", "train.py", "exit", end, folder=tmp_path, status=status)[1] == written


def test_a_module_and_a_folder(tmp_path):
    module = "import sys, mmcv\nprint(__name__, sys.argv, __spec__ and __spec__.name, mmcv.is_str(''))"
    write_package(tmp_path, {"tool/__init__.py": "", "tool/train.py": module, "tool/__main__.py": module})
    out, _ = command("mmcv1", "--", "-m", "tool.train", "1", folder=tmp_path)
    assert out == f"__main__ {[str(tmp_path / 'tool/train.py'), '1']} tool.train True\n"
    assert command("mmcv1", "--", "tool", "1", folder=tmp_path)[0].startswith("__main__ ['tool', '1']")
    _, shown = command("mmcv1", "--", "-m", "no_such_tool", folder=tmp_path, status=1)
    assert "No module named no_such_tool" in shown


@without_mmcv
def test_processes_that_a_script_starts_have_the_face_too(tmp_path):
    script = """
        import multiprocessing, subprocess, sys
        import mmcv.utils

        def work(name):
            import mmcv.utils as there
            return there.is_str(name), mmcv.__name__

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.apply(work, ("x",)))
                code = "import mmcv, sitecustomize; print(mmcv.__name__, sitecustomize.MARK)"
                print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    """
    write_package(tmp_path, {"train.py": script, "site/sitecustomize.py": "MARK = 'of the machine'"})
    out, _ = command("mmcv1", "--", "train.py", folder=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert out == "(True, 'trainwright.compat.mmcv1')\ntrainwright.compat.mmcv1 of the machine\n\n"


def test_help_and_what_is_wrong_with_a_command(tmp_path):
    out, _ = command("--help")
    assert "usage: python -m trainwright.compat FACE" in out
    assert "detectron2.engine.train_loop" in out
    for arguments, text in (
        (
            ("mmcv", "--", "x.py"),
            "error: there is no face 'mmcv'; there are mmcv1, detectron2, mmengine. Did you mean 'mmcv1'?",
        ),
        (("mmcv1", "x.py"), "error: there is no face 'x.py'"),
        (("mmcv1",), "error: name a script behind --, as in `python -m trainwright.compat mmcv1 -- train.py`"),
        (("--", "x.py"), "error: name a face: mmcv1, detectron2"),
        (("mmcv1", "--", "-m"), "error: -m wants the name of a module"),
        (("mmcv1", "--", "x.py"), f"{sys.executable}: can't open file '{tmp_path}/x.py': no such file"),
    ):
        assert command(*arguments, folder=tmp_path, status=2)[1].startswith(text)


TRAINING = """
    import sys
    from functools import partial

    import torch
    from mmcv.parallel import DataContainer, MMDistributedDataParallel, collate
    from mmcv.runner import build_optimizer, build_runner, get_dist_info, init_dist
    from mmcv.utils import get_logger
    from torch import nn
    from torch.utils.data import DataLoader, DistributedSampler


    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            x = DataContainer(torch.full((2,), float(index)), stack=True, pad_dims=None)
            return {"x": x, "meta": DataContainer({"index": index}, cpu_only=True)}


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.fc = nn.Linear(2, 1)

        def train_step(self, data, optimizer):
            loss = self.fc(data["x"]).square().mean()
            return {"loss": loss, "log_vars": {"loss": loss.item()}, "num_samples": len(data["meta"])}


    if __name__ == "__main__":
        init_dist("pytorch")
        model, data = MMDistributedDataParallel(Net()), Numbers()
        loader = DataLoader(
            data, 2, sampler=DistributedSampler(data), num_workers=1, multiprocessing_context="spawn",
            collate_fn=partial(collate, samples_per_gpu=2),
        )
        settings = dict(model=model, optimizer=build_optimizer(model, dict(type="SGD", lr=0.01)), work_dir=sys.argv[1])
        runner = build_runner(dict(type="EpochBasedRunner", max_epochs=2), {**settings, "logger": get_logger("train")})
        runner.register_training_hooks(dict(policy="step", step=[1]), dict(grad_clip=None), dict(interval=1))
        runner.run([loader], [("train", 1)])
        sys.stdout.write(f"{get_dist_info()} {runner.iter} {model.module.fc.weight.tolist()}\\n")
"""


@pytest.mark.conformance
def test_ranks_of_torchrun_train_with_spawned_workers(tmp_path):
    write_package(tmp_path, {"train.py": TRAINING})
    started = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "trainwright.compat")
    out, _ = python(*started, "mmcv1", "--", "train.py", "runs", folder=tmp_path, PYTHONWARNINGS="ignore")
    first, second = sorted(out.splitlines())
    assert first.startswith("(0, 2) 4 ")
    assert second.startswith("(1, 2) 4 ")
    assert first[9:] == second[9:], "the weights are those of all ranks"
    assert {path.name for path in (tmp_path / "runs").glob("*.pth")} == {"epoch_1.pth", "epoch_2.pth", "latest.pth"}
