"""The blocks of a page are found, told apart, and refused where they could not be tested."""

import pytest
from doc_blocks import fenced, indented, is_config_file, is_settings, problems, twice
from doc_commands import cannot_be_run, check, commands

PAGE = """\
# Title

<!-- test: exits 3 -->
```bash
false
```

- an item

    of two paragraphs

  ```python
  # sub/a.py
  x = 1
  ```

```json title="b.json"
{}
```

    code

    more

text
"""


def test_blocks_have_their_languages_orders_files_and_lines():
    found = [(block.language, block.order, block.file, block.line) for block in fenced("p.md", PAGE)]
    assert found == [("bash", "exits 3", None, 5), ("python", None, "sub/a.py", 13), ("json", None, "b.json", 18)]
    assert fenced("p.md", PAGE)[1].text == "# sub/a.py\nx = 1\n"


def test_code_without_a_fence_is_found():
    assert indented("p.md", PAGE) == [21]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```\nls\n```\n", "p.md:2: name one of the languages python, pycon, bash, console, yaml, json, text, not ''"),
        ("<!-- test: skip -->\n```bash\nls\n```\n", "p.md:3: `test: skip` is none of: parse, briefly"),
    ],
)
def test_a_block_that_nobody_could_test_is_refused(text, said):
    (block,) = fenced("p.md", text)
    (problem,) = problems(block)
    assert problem.startswith(said)


def test_settings_are_told_from_programs():
    names = ("model", "resume")
    assert is_settings("model = dict(type='A', b=[1, -2])\nresume = True\n", names)
    assert not is_settings("model = Model()\n", names)
    assert not is_settings("other = dict(a=1)\n", names)
    assert not is_settings("import torch\nmodel = dict(a=1)\n", names)
    assert twice("model = dict(a=1)\nresume = True\nmodel = dict(b=1)\n") == ["model"]


def test_configs_are_told_from_programs():
    assert is_config_file("from torch import nn\n\nmodel = dict(type=nn.Linear)\nmodel.update(dict(a=1))\n")
    assert not is_config_file("runner = 1\nrunner.train()\n")
    assert not is_config_file("def f():\n    pass\n")


def test_commands_are_taken_apart():
    text = "A=1 srun a -b 'c d'  # said\ncd x && \\\n  python y.py | tail\n"
    assert commands(text) == [["srun", "a", "-b", "c d"], ["cd", "x"], ["python", "y.py"], ["tail"]]


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("trainwright train a.py", False),
        ("trainwright train a.py --launcher pytorch --nnodes 2", True),
        ("trainwright train a.py --launcher slurm", True),
        ("python3 -m venv .venv", True),
        ("cd x && make test", True),
    ],
)
def test_what_needs_a_cluster_or_a_network_is_never_run(text, never):
    assert cannot_be_run(text) is never


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("trainwright dry-run a.py --wordl-size 2", "wordl-size"),
        ("trainwright tran a.py", "tran"),
        ("trainwright train missing.py", "missing.py is not among the files of the page"),
        ("trainwright train a.py --cfg-options model.widht=3", "widht"),
        ("python missing.py", "missing.py is not among the files of the page"),
        ("python -m trainwright.no", "there is no module 'trainwright.no'"),
        ("python -m trainwright.compat nothing -- a.py", "nothing"),
        ("torchrun --nproc-per-knot 2 a.py x", "nproc-per-knot"),
        ("make coffee", "make has no target 'coffee'"),
        ("pip install 'trainwright[cofee]'", "there is no extra 'cofee'"),
        ("pip install -c none.txt torch", "there is no file none.txt"),
        ("srun coffee", "srun starts neither trainwright nor python"),
        ("coffee", "nothing is known of the program 'coffee'"),
    ],
)
def test_a_command_that_its_program_would_refuse_is_refused(command, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("model = dict(type='BaseTTAModel')\n", encoding="utf-8")
    (words,) = commands(command)
    with pytest.raises(Exception, match=said):
        check(words)


@pytest.mark.parametrize(
    "command",
    [
        "make test WORKERS=4",
        "pip install -c constraints.txt -e '.[dev,docs]'",
        "srun -n 2 torchrun --nproc-per-node 2 a.py",
        "sbatch a.py",
        "trainwright config tree a.py",
    ],
)
def test_a_command_that_is_right_passes(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("pass\n", encoding="utf-8")
    (words,) = commands(command)
    check(words)
