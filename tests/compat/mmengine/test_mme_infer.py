"""mmengine.infer: BaseInferencer."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from made_package import made_package

pytestmark = [
    pytest.mark.usefixtures("mmengine"),
    pytest.mark.filterwarnings("ignore:Checkpoint is not loaded", "ignore:The visualizer"),
]
NAME = "ToyModelOfMmeInfer"


def toy_inferencer():
    """As a project writes one."""
    from mmengine.infer import BaseInferencer

    class ToyInferencer(BaseInferencer):
        preprocess_kwargs = {"pre_arg"}
        forward_kwargs = {"for_arg"}
        visualize_kwargs = {"vis_arg"}
        postprocess_kwargs = {"post_arg"}

        def preprocess(self, inputs, pre_arg=None, batch_size=1, **kwargs):
            self.got = [pre_arg]
            return super().preprocess(inputs, batch_size)

        def forward(self, inputs, for_arg=None, **kwargs):
            self.got.append(for_arg)
            return super().forward(inputs)

        def visualize(self, inputs, preds, vis_arg=None, show=False, **kwargs):
            self.got.append(vis_arg)
            return [np.zeros((1, 1)) for _ in inputs]

        def postprocess(self, preds, visualization, return_datasamples=False, post_arg=None, **kwargs):
            self.got.append(post_arg)
            return {"predictions": preds, "visualization": visualization, "as": return_datasamples}

        def _init_pipeline(self, cfg):
            def pipeline(img):
                if isinstance(img, str):
                    img = np.load(img)
                return {"inputs": torch.from_numpy(img).float()}

            return pipeline

    return ToyInferencer


@pytest.fixture
def model(mmengine):
    from mmengine.model import BaseModel
    from mmengine.registry import MODELS

    class ToyModel(BaseModel):
        def __init__(self, data_preprocessor=None):
            super().__init__(data_preprocessor=data_preprocessor)
            self.linear = nn.Linear(3, 1)

        def forward(self, inputs, data_samples=None, mode="tensor"):
            return self.linear(torch.stack(inputs)) if isinstance(inputs, list) else self.linear(inputs)

    MODELS.register_module(NAME, module=ToyModel, force=True)
    yield ToyModel
    del MODELS._module_dict[NAME]


@pytest.fixture
def cfg(model):
    from mmengine import Config

    return Config({"model": {"type": NAME}, "test_dataloader": {"collate_fn": "default_collate"}})


@pytest.fixture
def checkpoint(cfg):
    from mmengine.registry import MODELS

    return {"state_dict": MODELS.build(cfg.model).state_dict(), "meta": {"cfg": cfg.pretty_text}}


@pytest.fixture
def ckpt_path(checkpoint, tmp_path):
    path = str(tmp_path / "epoch_1.pth")
    torch.save(checkpoint, path)
    return path


@pytest.fixture
def inferencer(cfg, ckpt_path):
    return toy_inferencer()(cfg, ckpt_path)


def test_no_argument_is_for_two_methods():
    from mmengine.infer import BaseInferencer

    with pytest.raises(AssertionError, match="Class define error"):
        type(BaseInferencer)("Twice", (BaseInferencer,), {"preprocess_kwargs": {"a"}, "forward_kwargs": {"a"}})
    with pytest.raises(AssertionError):
        type(BaseInferencer)("NoSet", (BaseInferencer,), {"preprocess_kwargs": ["a"]})


def test_the_model_comes_in_many_forms(cfg, ckpt_path, tmp_path):
    cls = toy_inferencer()
    cfg.dump(str(tmp_path / "cfg.py"))
    for given in (cfg, cfg._cfg_dict, dict(cfg._cfg_dict), str(tmp_path / "cfg.py"), None):
        inferencer = cls(given, ckpt_path)
        assert inferencer.cfg.model.type == NAME
        assert not inferencer.model.training
        assert inferencer.model.cfg is inferencer.cfg
        assert inferencer.collate_fn.__name__ == "default_collate"
    with pytest.raises(TypeError, match="model must"):
        cls([cfg], ckpt_path)
    with pytest.raises(ValueError, match="If model is None"):
        cls()
    given = copy.deepcopy(cfg)
    given.model.pretrained = "fake_path"
    assert "pretrained" not in cls(given, ckpt_path).cfg.model


def test_the_config_of_a_checkpoint(cfg, checkpoint, tmp_path):
    cls, path = toy_inferencer(), str(tmp_path / "other.pth")
    torch.save({**checkpoint, "message_hub": {"runtime_info": {"cfg": cfg.pretty_text}}, "meta": {}}, path)
    assert cls(weights=path).cfg.model.type == NAME
    torch.save({**checkpoint, "meta": {}}, path)
    with pytest.raises(ValueError, match="Cannot find the config in the checkpoint"):
        cls(weights=path)
    torch.save({"state_dict": checkpoint["state_dict"]}, path)
    with pytest.raises(AssertionError, match=r"If model\(config\) is not provided"):
        cls(weights=path)


def test_without_weights_there_is_a_warning(cfg):
    cls = toy_inferencer()
    with pytest.warns(UserWarning, match="Checkpoint is not loaded"):
        cls(cfg)


@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_call(inferencer, batch_size, tmp_path):
    images = [np.random.rand(3) for _ in range(12)]
    for n, image in enumerate(images):
        (tmp_path / "images").mkdir(exist_ok=True)
        np.save(tmp_path / "images" / f"{n:02}.npy", image)
    for inputs in (images, tuple(images), str(tmp_path / "images")):
        said = inferencer(inputs, batch_size=batch_size)
        assert (len(said["predictions"]), len(said["visualization"]), said["as"]) == (12, 12, False)
        assert not said["predictions"][0].requires_grad
    expected = sorted(inferencer.model.linear(torch.tensor(np.array(images)).float()).flatten().tolist())
    assert sorted(float(pred) for pred in said["predictions"]) == pytest.approx(expected, abs=1e-6)
    for inputs in (images[0], str(tmp_path / "images" / "00.npy")):
        assert len(inferencer(inputs, return_datasamples=True, batch_size=batch_size)["predictions"]) == 1


def test_arguments_reach_their_methods(inferencer):
    inferencer(np.zeros(3), pre_arg=1, for_arg=2, vis_arg=3, post_arg=4)
    assert inferencer.got == [1, 2, 3, 4]
    kinds = inferencer._dispatch_kwargs(pre_arg=1, for_arg=2, vis_arg=3, post_arg=4)
    assert kinds == ({"pre_arg": 1}, {"for_arg": 2}, {"vis_arg": 3}, {"post_arg": 4})
    assert inferencer._dispatch_kwargs() == ({}, {}, {}, {})
    with pytest.raises(ValueError, match="unknown argument"):
        inferencer._dispatch_kwargs(other=1)


def test_chunks(inferencer):
    chunks = inferencer._get_chunk_data(list(range(1, 11)), 3)
    assert [next(chunks) for _ in range(4)] == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]
    with pytest.raises(StopIteration):
        next(chunks)


def test_visualizer(cfg, ckpt_path, inferencer):
    from mmengine.visualization import Visualizer

    assert inferencer.visualizer is None
    cfg.visualizer = {"type": "Visualizer"}
    first = toy_inferencer()(cfg, ckpt_path).visualizer
    assert isinstance(first, Visualizer)
    cfg.visualizer.name = first.instance_name
    second = toy_inferencer()(cfg, ckpt_path).visualizer
    assert second.instance_name.startswith(f"{first.instance_name}-")


def test_the_collate_function_is_pseudo_collate_without_a_loader(cfg, ckpt_path):
    from mmengine.dataset import pseudo_collate

    cfg.pop("test_dataloader")
    assert toy_inferencer()(cfg, ckpt_path).collate_fn is pseudo_collate


@pytest.fixture
def package(tmp_path, mmengine):
    with made_package(tmp_path, "mmfewshot", "mmengine") as package:
        __import__("mmfewshot.utils").utils.register_all_modules()
        yield package


def test_models_of_a_package(package, mmengine):
    from mmengine.infer import BaseInferencer
    from mmengine.registry import DefaultScope

    meta = package / ".mim" / "configs" / "scale" / "metafile.yml"
    meta.write_text(meta.read_text().replace("Alias: one", "Alias: [one]"))
    folder = BaseInferencer._get_repo_or_mim_dir("mmfewshot")
    assert folder == str(package / ".mim")
    models = [model["Name"] for model in BaseInferencer._get_models_from_metafile(folder)]
    assert models == ["No_Config", "Scale_Two", "Scale_One", "No_Weights"]
    assert BaseInferencer.list_models("mmfewshot", "Scale|tw") == ["Scale_Two", "two", "Scale_One"]
    with pytest.raises(AssertionError):
        BaseInferencer.list_models("not_there")
    with pytest.raises(KeyError, match="not_there is not a valid scope"):
        BaseInferencer._get_repo_or_mim_dir("not_there")
    with pytest.raises(ImportError, match="Cannot import mmflow correctly"):
        BaseInferencer._get_repo_or_mim_dir("mmflow")
    with pytest.raises(AssertionError, match="scope should be initialized"):
        toy_inferencer()("scale_two")

    with DefaultScope.overwrite_default_scope("mmfewshot"):
        for name in ("scale_two", "TWO", "second"):
            inferencer = toy_inferencer()(name)
            assert inferencer.scope == "mmfewshot"
            assert inferencer.model.layer.weight.tolist() == [[2, 3]]
        with pytest.raises(ValueError, match="Cannot find model: three in mmfewshot"):
            toy_inferencer()("three")


def test_the_module_has_the_names_of_types():
    from mmengine.infer import infer

    for name in ("ConfigType", "ImgType", "InputType", "InputsType", "InstanceList", "ModelType", "ResType"):
        assert hasattr(infer, name)
    assert type(infer.BaseInferencer) is infer.InferencerMeta
