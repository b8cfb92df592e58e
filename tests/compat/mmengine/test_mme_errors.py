"""Of which type the errors are that a caller may catch: the type is MMEngine's, the text each engine's own."""

import pytest
import torch

pytestmark = pytest.mark.usefixtures("mmengine")


def test_a_variable_that_no_base_has(tmp_path):
    from mmengine.config import Config

    (tmp_path / "base.py").write_text("a = 1\n")
    (tmp_path / "child.py").write_text("_base_ = './base.py'\nb = {{_base_.missing}}\n")
    with pytest.raises(KeyError, match="missing"):
        Config.fromfile(str(tmp_path / "child.py"))


def test_a_level_that_logging_has_not():
    from mmengine.logging import MMLogger

    with pytest.raises(KeyError, match="LOUD"):
        MMLogger("a level that is none", log_level="LOUD")
    with pytest.raises(ValueError, match="LOUD"):
        MMLogger("a level that is none, set later").setLevel("LOUD")


def test_a_launcher_without_its_environment(monkeypatch):
    from mmengine.dist import init_dist

    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KeyError, match="RANK"):
        init_dist("pytorch")


def test_a_device_that_results_cannot_be_collected_on():
    from mmengine.dist import collect_results

    with pytest.raises(NotImplementedError, match="device must be"):
        collect_results([1], 1, device="drum")


def test_a_batch_without_inputs():
    from mmengine.model import ImgDataPreprocessor

    with pytest.raises(KeyError, match="inputs"):
        ImgDataPreprocessor()({"data_samples": [1]})


def test_text_and_bytes_are_not_confused(tmp_path):
    from mmengine import fileio

    with pytest.raises(TypeError, match="str"):
        fileio.put_text(b"bytes", str(tmp_path / "text"))
    with pytest.raises(TypeError, match="bytes"):
        fileio.put("text", str(tmp_path / "bytes"))


def test_a_copy_into_a_folder_that_is_not_there(tmp_path):
    from mmengine import fileio

    (tmp_path / "file").write_text("a")
    target = tmp_path / "missing" / "copy"
    with pytest.raises(FileNotFoundError, match="missing") as error:
        fileio.copyfile_from_local(str(tmp_path / "file"), str(target))
    assert error.value.filename == str(target)


def test_a_loss_that_nothing_can_be_learned_from():
    from mmengine.optim import OptimWrapper

    wrapper = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1))
    with pytest.raises(RuntimeError, match="does not require grad"):
        wrapper.update_params(torch.ones(1))


@pytest.mark.parametrize("name", ["", 3])
def test_a_hub_without_a_name(name):
    from mmengine.logging import MessageHub

    with pytest.raises(AssertionError, match="non-empty string"):
        MessageHub(name)


def test_a_state_that_is_no_hubs():
    from mmengine.logging import MessageHub

    with pytest.raises(AssertionError, match="log_scalars"):
        MessageHub("takes states").load_state_dict({"a": 1})


def test_a_name_that_a_module_of_the_package_has_not(tmp_path):
    from mmengine.config import Config

    (tmp_path / "lazy.py").write_text(
        "from mmengine.config import read_base\nfrom mmengine.runner import Misspelt\na = dict(type=Misspelt)\n"
    )
    cfg = Config.fromfile(str(tmp_path / "lazy.py"))
    with pytest.raises(ImportError, match=r"Misspelt") as error:
        _ = cfg.a.type
    assert "lazy.py" in str(error.value)
    assert "trainwright" not in str(error.value)
