"""Optimizers of other packages: imported when they are named, and never before."""

from __future__ import annotations

import re
import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from trainwright import Runner
from trainwright.base.errors import ConfigError, MissingExtraError, RegistryError
from trainwright.base.logs import MMLogger
from trainwright.optim import OTHER_OPTIMIZERS, TORCH_OPTIMIZERS, build_optim_wrapper
from trainwright.registry import OPTIMIZERS

PACKAGES = ("lion_pytorch", "dadaptation", "transformers", "bitsandbytes")


@pytest.fixture(autouse=True)
def _quiet():
    with MMLogger("optim-external", log_level="ERROR").as_current():
        yield


def put(monkeypatch, module: str, *names: str) -> None:
    """A package of that name whose optimizers are SGD under other names."""
    made = ModuleType(module)
    for name in names:
        setattr(made, name, type(name, (torch.optim.SGD,), {"__module__": module}))
    parts = module.split(".")
    for n in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:n]), ModuleType(".".join(parts[:n])))
    monkeypatch.setitem(sys.modules, module, made)


def remove(monkeypatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises ModuleNotFoundError


def test_naming_none_imports_none():
    code = (
        "import sys\nfrom trainwright import Runner\nfrom trainwright.registry import OPTIMIZERS\n"
        "repr(OPTIMIZERS)\nOPTIMIZERS.get('SGD')\n"
        f"names = {PACKAGES!r} + ('torch.distributed.optim',)\n"
        "print([name for name in names if name in sys.modules], 'Lion' in repr(OPTIMIZERS))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[] True"


@pytest.mark.parametrize(
    ("name", "module", "attribute"),
    [
        ("Lion", "lion_pytorch", "Lion"),
        ("DAdaptAdam", "dadaptation", "DAdaptAdam"),
        ("DAdaptSGD", "dadaptation", "DAdaptSGD"),
        ("DAdaptAdaGrad", "dadaptation", "DAdaptAdaGrad"),
        ("Adafactor", "transformers", "Adafactor"),
        ("AdamW8bit", "bitsandbytes.optim", "AdamW8bit"),
        ("PagedAdamW32bit", "bitsandbytes.optim", "PagedAdamW32bit"),
        ("bnb_AdamW", "bitsandbytes.optim", "AdamW"),
        ("bnb_Lion", "bitsandbytes.optim", "Lion"),
        ("LAMB", "bitsandbytes.optim", "LAMB"),
    ],
)
def test_a_named_one_is_taken_from_its_package(monkeypatch, name, module, attribute):
    put(monkeypatch, module, attribute)
    wrapper = build_optim_wrapper(nn.Linear(2, 2), {"optimizer": {"type": name, "lr": 0.1}})
    assert type(wrapper.optimizer).__name__ == attribute
    assert type(wrapper.optimizer).__module__ == module


@pytest.mark.parametrize(
    ("name", "module", "line"),
    [
        ("Lion", "lion_pytorch", "pip install lion-pytorch"),
        ("DAdaptAdam", "dadaptation", "pip install dadaptation"),
        ("Adam8bit", "bitsandbytes", "pip install bitsandbytes"),
        ("Adafactor", "transformers", "pip install transformers ('TorchAdafactor' is torch's own"),
    ],
)
def test_a_missing_package(monkeypatch, name, module, line):
    remove(monkeypatch, module)
    message = f"optimizer type={name!r} needs the package {module!r}, which is not installed. Install it with: {line}"
    with pytest.raises(MissingExtraError, match=re.escape(message)):
        build_optim_wrapper(nn.Linear(2, 2), {"optimizer": {"type": name, "lr": 0.1}})
    assert name not in OPTIMIZERS


def test_a_version_that_lacks_it(monkeypatch):
    put(monkeypatch, "bitsandbytes.optim", "Adam")
    message = (
        "type='PagedAdEMAMix' is not in the installed version of bitsandbytes; get a newer one with: pip install --u"
    )
    with pytest.raises(MissingExtraError, match=re.escape(message)):
        OPTIMIZERS.resolve("PagedAdEMAMix")


def test_a_missing_package_is_found_before_the_run(monkeypatch, tmp_path):
    remove(monkeypatch, "lion_pytorch")
    with pytest.raises((ConfigError, MissingExtraError), match="pip install lion-pytorch"):
        Runner(
            model=nn.Linear(2, 2),
            work_dir=str(tmp_path),
            train_dataloader={"dataset": [1], "batch_size": 1},
            train_cfg={"max_epochs": 1},
            optim_wrapper={"optimizer": {"type": "Lion", "lr": 0.1}},
        )


def test_near_names_are_told():
    with pytest.raises(RegistryError, match="Did you mean 'DAdaptAdam'"):
        OPTIMIZERS.resolve("DAdaptAdm")


def test_one_name_means_one_thing_whatever_is_installed():
    assert OPTIMIZERS.get("TorchAdafactor") is torch.optim.Adafactor
    assert "Adafactor" not in TORCH_OPTIMIZERS
    assert not set(TORCH_OPTIMIZERS) & set(OTHER_OPTIMIZERS)
    assert len(set(OTHER_OPTIMIZERS)) == len(OTHER_OPTIMIZERS)


def test_a_name_may_still_be_taken():
    mine = type("Lion", (torch.optim.SGD,), {})
    OPTIMIZERS.register_module(module=mine)
    try:
        assert OPTIMIZERS.get("Lion") is mine
    finally:
        OPTIMIZERS.module_dict.pop("Lion")
