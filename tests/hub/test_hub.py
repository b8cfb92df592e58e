"""Configs and models of installed packages."""

import os
import sys

import pytest
import torch

from made_package import made_package
from trainwright.base.errors import ConfigError, ConfigNotFoundError, MissingExtraError, RuleError
from trainwright.hub import get_config, get_model
from trainwright.registry import DefaultScope


@pytest.fixture
def package(tmp_path):
    with made_package(tmp_path, "tinypackage") as package:
        yield package


def test_a_config_is_found_by_the_package_and_its_path(package, tmp_path):
    cfg = get_config("tinypackage::scale/scale.py")
    assert cfg.filename == str(package / ".mim" / "configs" / "scale" / "scale.py")
    assert cfg.model == {"type": "Scale", "pretrained": "elsewhere.pth", "width": 2}
    assert "model_path" not in cfg
    weights = str(tmp_path / "scale.pth")
    assert get_config("tinypackage::scale/scale.py", pretrained=True).model_path == weights
    assert get_config("tinypackage::_base_/scale.py", pretrained=True).model_path == weights


def test_configs_beside_the_package_do_as_well(package):
    (package / ".mim").rename(package.parent / "hidden")
    (package.parent / "hidden" / "configs").rename(package.parent / "configs")
    assert get_config("tinypackage::scale/bare.py").model.width == 2
    with pytest.raises(RuleError, match="Cannot find `Weights`"):
        get_config("tinypackage::scale/bare.py", pretrained=True)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("scale/scale.py", ConfigError, "no config of a package: name the package and the path below its folder"),
        ("tinypackage::scale/a::b.py", ConfigError, "once; found multiple in 'tinypackage::scale/a::b.py'"),
        ("mmfewshott::a/b.py", RuleError, "does not support to load mmfewshott config: .* Did you mean 'mmfewshot'"),
        ("mmflow::a/b.py", MissingExtraError, "'mmflow' is not installed. Install it with: pip install mmflow"),
        ("tinypackage::scale/scales.py", ConfigNotFoundError, "no config 'scale/scales.py'.*Did you mean 'scale.py'"),
        ("tinypackage::other/scale.py", ConfigNotFoundError, "has no config 'other/scale.py': .* does not exist.$"),
    ],
)
def test_a_name_of_nothing_is_told(package, name, error, message):
    with pytest.raises(error, match=message):
        get_config(name)


def test_weights_that_no_metafile_names_are_told(package):
    with pytest.raises(RuleError, match="Cannot find `Weights` of 'scale/bare.py' in .*model-index.yml: load it"):
        get_config("tinypackage::scale/bare.py", pretrained=True)


def test_a_package_without_configs_is_told(package):
    os.rename(package / ".mim", package / "other")
    with pytest.raises(ConfigNotFoundError, match="Cannot find `configs` directory in .*tinypackage, in its folder"):
        get_config("tinypackage::scale/scale.py")


def test_a_model_is_built_in_the_scope_of_its_package(package):
    with DefaultScope.overwrite_default_scope("before"):
        model = get_model("tinypackage::scale/scale.py")
        assert DefaultScope.get_current_instance().scope_name == "before"
    assert type(model).__name__ == "Scale"
    assert model.layer.weight.shape == (1, 2)
    assert model.data_preprocessor == {"mean": 1}
    assert sys.modules["tinypackage.utils"].n_calls == 1
    assert get_model("tinypackage::_base_/scale.py", width=3).layer.weight.shape == (1, 3)
    assert get_model("tinypackage::scale/scale.py", width=3).layer.weight.shape == (1, 2)


def test_a_model_gets_the_weights_of_its_metafile(package):
    model = get_model("tinypackage::scale/scale.py", pretrained=True)
    assert torch.equal(model.layer.weight.detach(), torch.tensor([[2.0, 3.0]]))
    assert model._is_init


def test_a_package_may_register_when_it_is_imported(package):
    text = (package / "utils.py").read_text(encoding="utf-8").replace("def register_all_modules", "def other")
    (package / "__init__.py").write_text(f"{text}\n\nother()\n", encoding="utf-8")
    (package / "utils.py").unlink()
    assert type(get_model("tinypackage::scale/scale.py")).__name__ == "Scale"


def test_an_error_inside_the_package_is_its_own(package):
    (package / "utils.py").write_text("import not_there\n", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        get_model("tinypackage::scale/scale.py")
