"""mmengine.hub: configs and models of installed packages."""

import pytest
import torch

from made_package import made_package

pytestmark = pytest.mark.usefixtures("mmengine")
NAME = "mmfewshot"


@pytest.fixture
def package(tmp_path, mmengine):
    with made_package(tmp_path, NAME, "mmengine") as package:
        yield package


def test_get_config(package, tmp_path):
    from mmengine import Config
    from mmengine.hub import get_config
    from mmengine.utils import get_installed_path

    assert get_installed_path(NAME) == str(package)
    for path in ("_base_/scale.py", "scale/scale.py", "scale/bare.py"):
        cfg = get_config(f"{NAME}::{path}")
        assert cfg._cfg_dict == Config.fromfile(package / ".mim" / "configs" / path)._cfg_dict
    assert get_config(f"{NAME}::scale/scale.py", pretrained=True).model_path == str(tmp_path / "scale.pth")


def test_a_config_that_cannot_be_found(package):
    from mmengine.hub import get_config

    for name in ("scale/scale.py", f"{NAME}::scale/a::b.py"):
        with pytest.raises(ValueError, match="::"):
            get_config(name)
    with pytest.raises(AssertionError, match="does not support to load unknown config"):
        get_config("unknown::scale/scale.py")
    with pytest.raises(FileNotFoundError):
        get_config(f"{NAME}::scale/other.py")
    with pytest.raises(AssertionError, match="Cannot find `Weights`"):
        get_config(f"{NAME}::scale/bare.py", pretrained=True)


def test_get_model(package):
    from mmengine import DefaultScope
    from mmengine.hub import get_model

    DefaultScope.get_instance("test_get_model", scope_name="test_scope")
    try:
        model = get_model(f"{NAME}::scale/scale.py")
        assert DefaultScope.get_current_instance().scope_name == "test_scope"
        assert model.data_preprocessor == {"mean": 1}
        model = get_model(f"{NAME}::scale/scale.py", pretrained=True)
        assert model.layer.weight.tolist() == [[2, 3]]
        assert model._is_init
        assert get_model(f"{NAME}::_base_/scale.py", width=4).layer.weight.shape == torch.Size([1, 4])
    finally:
        DefaultScope._instance_dict.pop("test_get_model")
