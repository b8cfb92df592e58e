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
        (("mmcv", "--", "x.py"), "error: there is no face 'mmcv'; there are mmcv1, detectron2. Did you mean 'mmcv1'?"),
        (("mmcv1", "x.py"), "error: there is no face 'x.py'"),
        (("mmcv1",), "error: name a script behind --, as in `python -m trainwright.compat mmcv1 -- train.py`"),
        (("--", "x.py"), "error: name a face: mmcv1, detectron2"),
        (("mmcv1", "--", "-m"), "error: -m wants the name of a module"),
        (("mmcv1", "--", "x.py"), f"{sys.executable}: can't open file '{tmp_path}/x.py': no such file"),
    ):
        assert command(*arguments, folder=tmp_path, status=2)[1].startswith(text)
