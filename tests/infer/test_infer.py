"""The base of inferencers."""

import io
import logging
import os
import re
import sys

import pytest
import torch
from torch import nn

from made_package import made_package
from trainwright import BaseModel, Config, ConfigDict
from trainwright.base.errors import ConfigError, ConfigTypeError, MissingExtraError, RegistryError, RuleError
from trainwright.base.logs import MMLogger
from trainwright.infer import BaseInferencer
from trainwright.registry import FUNCTIONS, MODELS, DefaultScope
from trainwright.visualization import Visualizer

QUIET = pytest.mark.filterwarnings("ignore:Checkpoint is not loaded")


class Doubler(BaseModel):
    """Predicts its weight times the input."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, values, mode="tensor"):
        assert mode == "predict"
        assert not torch.is_grad_enabled()
        return [value * self.weight for value in values]


class Lengths(BaseInferencer):
    """Of texts: the weight times their lengths."""

    preprocess_kwargs = {"extra"}
    forward_kwargs = {"times"}
    visualize_kwargs = {"mark"}
    postprocess_kwargs = {"unit"}

    def preprocess(self, inputs, batch_size=1, extra="", **kwargs):
        yield from super().preprocess([text + extra for text in inputs], batch_size)

    def forward(self, inputs, times=1, **kwargs):
        return [times * value for value in super().forward(inputs)]

    def visualize(self, inputs, preds, show=False, mark="", **kwargs):
        return [mark + text for text in inputs]

    def postprocess(self, preds, visualization, return_datasample=False, unit="", **kwargs):
        preds = preds if return_datasample else [f"{float(pred):g}{unit}" for pred in preds]
        return {"predictions": preds, "visualization": visualization}

    def _init_pipeline(self, cfg):
        return lambda text: {"values": torch.tensor(float(len(text)))}


class Plain(Lengths):
    """With the base's own preprocess."""

    preprocess_kwargs = set()
    preprocess = BaseInferencer.preprocess


CFG = {"model": {"type": Doubler}}


@pytest.fixture
def weights(tmp_path):
    path = str(tmp_path / "doubler.pth")
    torch.save({"state_dict": {"weight": torch.tensor(3.0)}}, path)
    return path


def test_a_call_goes_through_the_four_methods(weights):
    infer = Lengths(CFG, weights, device="cpu")
    assert infer("abc") == {"predictions": ["9"], "visualization": ["abc"]}
    said = infer(["abc", "d"], extra="xx", times=10, mark="#", unit=" m")
    assert said == {"predictions": ["150 m", "90 m"], "visualization": ["#abc", "#d"]}
    tensors = infer(("abc", "d"), return_datasamples=True)["predictions"]
    assert torch.equal(torch.stack(tensors), torch.tensor([9.0, 3.0]))
    assert not infer.model.training
    assert infer.model.cfg is infer.cfg
    assert infer.visualizer is None


@pytest.mark.parametrize(("batch_size", "lengths"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_inputs_come_in_batches(weights, batch_size, lengths):
    infer, seen = Plain(CFG, weights), []
    infer.collate_fn = lambda items: (seen.append(len(items)), {"values": [item["values"] for item in items]})[1]
    said = infer(list("abcde"), batch_size=batch_size)
    assert (seen, said["predictions"]) == (lengths, ["3"] * 5)


def test_a_batch_is_made_when_it_is_its_turn(weights):
    infer, done = Plain(CFG, weights), []
    make = infer.pipeline
    infer.pipeline = lambda text: (done.append(text), make(text))[1]
    batches = infer.preprocess(["a", "b", "c"], batch_size=1)
    next(batches)
    assert done == ["a"]
    with pytest.raises(RuleError, match="batch_size must be 1 or more, got 0"):
        infer("a", batch_size=0)


@QUIET
@pytest.mark.parametrize("make", [Config, ConfigDict, dict], ids=["config", "config_dict", "dict"])
def test_a_config_comes_in_any_form_and_is_not_changed(make):
    given = make({"model": {"type": Doubler, "pretrained": "elsewhere.pth"}, "visualizer": {"type": Visualizer}})
    infer = Lengths(given)
    assert given["model"]["pretrained"] == "elsewhere.pth"
    assert "name" not in given["visualizer"]
    assert "pretrained" not in infer.cfg.model
    assert infer("ab")["predictions"] == ["4"]


def test_without_weights_there_is_a_warning():
    with pytest.warns(UserWarning, match="Checkpoint is not loaded, and the .*weights=... loads one"):
        Lengths(CFG)


@pytest.fixture
def registered():
    MODELS.register_module(name="DoublerOfInferTest", module=Doubler)
    yield
    del MODELS.module_dict["DoublerOfInferTest"]


TEXT = "model = dict(type='DoublerOfInferTest')\n"


@pytest.mark.parametrize(
    "where",
    [lambda text: {"message_hub": {"runtime_info": {"cfg": text}}, "meta": {}}, lambda text: {"meta": {"cfg": text}}],
    ids=["message_hub", "meta"],
)
def test_a_checkpoint_may_bring_its_config(tmp_path, registered, where):
    path = str(tmp_path / "whole.pth")
    torch.save({"state_dict": {"weight": torch.tensor(5.0)}, **where(TEXT)}, path)
    assert Lengths(weights=path)("ab")["predictions"] == ["10"]


def test_a_config_may_be_a_file(tmp_path, registered, weights):
    (tmp_path / "cfg.py").write_text(TEXT, encoding="utf-8")
    assert Lengths(str(tmp_path / "cfg.py"), weights)("ab")["predictions"] == ["6"]


@pytest.mark.parametrize(
    "text", ["import os\nos.mkdir('made')\n" + TEXT, TEXT + "custom_imports = dict(imports=['made'])\n"]
)
def test_nothing_of_a_checkpoint_is_run(tmp_path, monkeypatch, registered, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.py").write_text("raise RuntimeError('run')\n", encoding="utf-8")
    torch.save({"state_dict": {}, "meta": {"cfg": text}}, "bad.pth")
    with pytest.raises(ConfigError) as caught:
        Lengths(weights="bad.pth")
    notes = " ".join(getattr(caught.value, "__notes__", [str(caught.value)]))
    assert "which you trust, as model=..." in notes
    assert not os.path.exists("made")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, ConfigError, "If model is None, the weights must be specified"),
        ({"model": [CFG]}, ConfigTypeError, "model must be a filepath or any ConfigType object, .* of type list"),
        ({"model": {}}, RuleError, "the config is empty: give one with a model, or weights"),
        ({"model": {"modell": 1}}, RuleError, "the config has no key 'model', only 'modell'"),
        ({"model": "cfgs.py"}, RuleError, "model='cfgs.py' is no file, .* scope should be initialized if you want to"),
        ({"model": "a", "scope": "mmdett"}, RuleError, "mmdett not in mmcls, .* a valid scope. Did you mean 'mmdet'"),
        ({"model": "a", "scope": "mmflow"}, MissingExtraError, 'Cannot import mmflow .* by "pip install mmflow"'),
    ],
)
def test_what_gives_no_model_is_told(settings, error, message):
    with pytest.raises(error, match=message):
        Lengths(**settings)


def test_a_checkpoint_without_config_is_told(weights):
    with pytest.raises(RuleError, match="Cannot find the config in the checkpoint. If model.* it has 'state_dict'"):
        Lengths(weights=weights)


def test_an_argument_that_nobody_takes_is_told(weights):
    with pytest.raises(ConfigError, match=r"unknown argument 'marks' for .*Lengths, which know .* Did you mean 'mark'"):
        Lengths(CFG, weights)("a", marks=1)


def test_an_argument_goes_to_one_method():
    message = "Class define error! Twice should not define duplicated keys: 'a' is in forward_kwargs and in postproc"
    with pytest.raises(RuleError, match=message):
        type(Lengths)("Twice", (Lengths,), {"forward_kwargs": {"a"}, "postprocess_kwargs": {"a"}})
    with pytest.raises(RuleError, match=r"Listed.visualize_kwargs must be a set of .*, got \['a'\] of type list"):
        type(Lengths)("Listed", (Lengths,), {"visualize_kwargs": ["a"]})


def test_what_is_to_be_written_is_abstract(weights):
    with pytest.raises(TypeError, match="abstract"):
        BaseInferencer(CFG, weights)


def test_a_folder_is_its_files(weights, tmp_path):
    folder = tmp_path / "inputs"
    for name in ("b.txt", "a.txt", "c/d.txt", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    infer = Lengths(CFG, weights)
    files = [str(folder / "a.txt"), str(folder / "b.txt")]
    assert infer._inputs_to_list(str(folder)) == files
    assert [str(path) for path in infer._inputs_to_list(folder)] == files
    assert infer._inputs_to_list("http://example.invalid/a") == ["http://example.invalid/a"]
    assert infer._inputs_to_list(3) == [3]
    assert infer._inputs_to_list(("a", "b")) == ["a", "b"]


def numbered(items, start=0):
    return {"values": [item["values"] + start for item in items]}


@QUIET
def test_the_collate_function_is_that_of_the_test_loader():
    FUNCTIONS.register_module(name="numbered_of_infer_test", module=numbered)
    try:
        specs = ["numbered_of_infer_test", {"type": "numbered_of_infer_test", "start": 1}, numbered]
        found = [Lengths({**CFG, "test_dataloader": {"collate_fn": spec}})(["ab"])["predictions"][0] for spec in specs]
    finally:
        del FUNCTIONS.module_dict["numbered_of_infer_test"]
    assert found == ["4", "6", "4"]
    assert Lengths({**CFG, "test_dataloader": [{}]}).collate_fn.__name__ == "pseudo_collate"


@QUIET
def test_every_inferencer_has_a_visualizer_of_its_own():
    cfg = {**CFG, "visualizer": {"type": "Visualizer", "name": "infer"}}
    first, second = Lengths(cfg).visualizer, Lengths(cfg).visualizer
    assert (first.instance_name, type(first)) == ("infer", Visualizer)
    assert re.fullmatch(r"infer-\d+\.\d+", second.instance_name)
    assert Lengths({**CFG, "visualizer": {"type": "Visualizer"}}).visualizer.instance_name != "infer"


class Terminal(io.StringIO):
    """What says that somebody sits before it."""

    def isatty(self):
        return True


def test_a_terminal_shows_a_bar(weights, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for cls, shown, expected in ((Plain, True, "100%"), (Lengths, True, "Inference"), (Plain, False, "")):
        monkeypatch.setattr(sys, "stderr", Terminal())
        assert cls(CFG, weights, show_progress=shown)(["a", "bc"])["predictions"] == ["3", "6"]
        text = sys.stderr.getvalue()
        assert (expected in text) if expected else not text


@pytest.fixture
def package(tmp_path):
    with made_package(tmp_path, "mmfewshot") as package:
        __import__("mmfewshot.utils").utils.register_all_modules()
        yield package


class Lines(logging.Handler):
    """Keeps the messages."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def test_the_models_of_a_package_are_listed(package):
    logger, handler = MMLogger.get_instance("infer_test"), Lines()
    logger.addHandler(handler)
    with logger.as_current():
        names = BaseInferencer.list_models("mmfewshot")
    assert names == ["No_Config", "Scale_Two", "two", "Second", "Scale_One", "one", "No_Weights"]
    assert handler.lines == ["".join(f"model_name: {name}\n" for name in names)]
    with DefaultScope.overwrite_default_scope("mmfewshot"):
        assert BaseInferencer.list_models(patterns="Scale|tw") == ["Scale_Two", "two", "Scale_One"]
    with pytest.raises(RuleError, match="^scope should be initialized"):
        BaseInferencer.list_models()


class Pairs(Lengths):
    """For the model of the package."""

    def _init_pipeline(self, cfg):
        return lambda text: torch.full((cfg.model.width,), float(len(text)))


@pytest.mark.parametrize("name", ["scale_two", "SECOND", "two"])
def test_a_model_is_found_by_its_name(package, name):
    with DefaultScope.overwrite_default_scope("mmfewshot"):
        infer = Pairs(name)
    assert infer.scope == "mmfewshot"
    assert infer("ab")["predictions"] == ["10"]
    assert infer.model.pretrained is None


def test_weights_that_are_given_come_first(package, tmp_path):
    path = str(tmp_path / "mine.pth")
    torch.save({"state_dict": {"layer.weight": torch.ones(1, 2)}}, path)
    with DefaultScope.overwrite_default_scope("mmfewshot"):
        assert Pairs("two", path)("ab")["predictions"] == ["4"]


def test_a_name_that_is_not_there_is_told(package):
    with pytest.raises(ConfigError, match="Cannot find model: tow in mmfewshot, which has 7 .* Did you mean 'two'"):
        Pairs("tow", scope="mmfewshot")
    with pytest.raises(RegistryError, match="mmfewshott is not a valid scope. .* Did you mean 'mmfewshot'"):
        BaseInferencer._get_repo_or_mim_dir("mmfewshott")
