"""The face has every public name of every module of MMEngine, and each is called as there.

`mme_names.json` is what MMEngine 0.10.7 has, written by `record_mme_names.py`. What ours takes besides comes after
it, or by keyword, and has a default.
"""

import importlib
import json

import pytest
from mme_names import RECORD, described
from mme_suite import face_installed

NAMES = json.loads(RECORD.read_text())

# What is not called, or not there, as in MMEngine, and why.
_DICT = "None in place of a dict, which would be one for all calls"
_DOT = r"the dot of '^module\.' is a dot, and not any character"
_STATIC = "static here: it needs no runner, and is called on one as well"
_DEVICE = "torch moves a module by to(device); there is no such method on torch's own modules"
OTHERWISE: dict[str, str] = {
    "utils.progressbar.ProgressBar.__init__": "file=None is what stdout is at the call, not what it was at the import",
    "utils.progressbar.track_iter_progress": "file=None, as above",
    "utils.progressbar.track_parallel_progress": "file=None, as above",
    "utils.progressbar.track_progress": "file=None, as above",
    **{
        f"_strategy.{place}.load_checkpoint": _DOT
        for place in (
            "base.BaseStrategy",
            "colossalai.ColossalAIStrategy",
            "deepspeed.DeepSpeedStrategy",
            "fsdp.FSDPStrategy",
            "single_device.SingleDeviceStrategy",
        )
    },
    "_strategy.base.BaseStrategy.load_model_state_dict": _DOT,
    "_strategy.fsdp.FSDPStrategy.load_model_state_dict": _DOT,
    "runner._flexible_runner.FlexibleRunner.load_checkpoint": _DOT,
    "runner.runner.Runner.load_checkpoint": _DOT,
    **{
        f"_strategy.colossalai.{name}": "tables of ColossalAI's classes, which are looked up when one is named"
        for name in (
            "MIXED_PRECISIONS",
            "PLUGINS",
            "register_mixed_precisions",
            "register_optimizers",
            "register_plugins",
        )
    },
    "_strategy.fsdp.FSDP": "torch's first FSDP, on which the strategy is not built",
    "_strategy.fsdp.FSDP_CONFIGS": "a table for torch's first FSDP",
    "config.config.Config.fromfile": "a class method: what a subclass reads is of the subclass",
    "config.config.Config.fromstring": "a class method, as above",
    "config.lazy.LazyAttr.__init__": "one class for a name and for an attribute of it",
    "dataset.base_dataset.BaseDataset.__init__": "empty tuples in place of lists and dicts",
    "hooks.checkpoint_hook.CheckpointHook.__init__": "filename_tmpl=None, save_last and the like follow the mode",
    "hooks.checkpoint_hook.CheckpointHook.after_train_iter": "outputs=None: the default there is a type, by mistake",
    "logging.history_buffer.HistoryBuffer.__init__": "empty tuples in place of lists",
    "logging.logger.MMLogger.__init__": "logger_name=None is 'mmengine' while the face is on",
    "model.base_model.base_model.BaseModel.cpu": "takes no arguments, as torch's",
    "model.base_model.data_preprocessor.BaseDataPreprocessor.cpu": "takes no arguments, as torch's",
    "model.base_model.data_preprocessor.BaseDataPreprocessor.cuda": "takes a device, as torch's",
    **{
        f"model.base_model.{place}.{name}": _DEVICE
        for place in ("base_model.BaseModel", "data_preprocessor.BaseDataPreprocessor")
        for name in ("mlu", "musa", "npu")
    },
    "optim.optimizer.base.BaseOptimWrapper.update_params": "names the loss, which is needed",
    "optim.optimizer.optimizer_wrapper_dict.OptimWrapperDict.initialize_count_status": "named as in OptimWrapper",
    "optim.scheduler.momentum_scheduler.ReduceOnPlateauMomentum.step": "passes its arguments on",
    **{
        f"optim.scheduler.param_scheduler.{name}ParamScheduler.build_iter_from_epoch": "one for all, by keyword"
        for name in ("CosineRestart", "MultiStep", "Step")
    },
    "registry.registry.Registry.__init__": "an empty tuple in place of a list",
    "runner.log_processor.LogProcessor.__init__": "by_epoch=None follows the loop",
    **{
        f"runner.{place}.{name}": why
        for place in ("runner.Runner", "_flexible_runner.FlexibleRunner")
        for name, why in (
            ("__init__", _DICT),
            ("build_evaluator", _STATIC),
            ("build_log_processor", _STATIC),
            ("build_strategy", _DICT),
        )
    },
    "visualization.visualizer.Visualizer.__init__": _DICT,
}


@pytest.fixture(scope="module", autouse=True)
def face():
    with face_installed() as module:
        yield module


@pytest.mark.parametrize("place", NAMES)
def test_names_of(place):
    module = importlib.import_module(f"mmengine.{place}".rstrip("."))
    wrong = []
    for name, wanted in NAMES[place].items():
        where = f"{place}.{name}".lstrip(".")
        if where in OTHERWISE:
            continue
        if not hasattr(module, name):
            wrong.append(f"{where} is missing")
        elif isinstance(wanted, str):
            if wanted != "value" and getattr(module, name) is not other(wanted, name):
                wrong.append(f"{where} is not that of {wanted}")
        else:
            wrong += [text for text in differences(where, wanted, getattr(module, name)) if not is_known(text)]
    assert not wrong, "\n".join(wrong)


def test_what_is_otherwise_is_there():
    """An exception that speaks of nothing is a mistake."""
    known = {f"{place}.{name}" for place, names in NAMES.items() for name in names}
    assert all(where in known or where.rpartition(".")[0] in known for where in OTHERWISE)


def other(place, name):
    return getattr(importlib.import_module(f"mmengine.{place}"), name)


def is_known(text):
    return text.partition(":")[0] in OTHERWISE


def differences(where, wanted, value):
    """What is called otherwise, one text each: `place.name: ...` or `place.name.method: ...`."""
    if isinstance(wanted, list):
        return called_otherwise(where, wanted, described(value))
    if not isinstance(value, type):
        return [f"{where}: no class"]
    has = {}
    for base in reversed(value.__mro__[:-1]):
        has.update(described(base))
    found = []
    for method, parameters in wanted.items():
        if parameters == "property":
            found += [] if hasattr(value, method) or method in annotated(value) else [f"{where}.{method}: missing"]
        elif method in has:
            found += called_otherwise(f"{where}.{method}", parameters, has[method])
        elif method != "__init__" or "__new__" not in vars(value):
            found.append(f"{where}.{method}: missing")
    return found


def annotated(value):
    return {name for base in value.__mro__ for name in vars(base).get("__annotations__", ())}


def called_otherwise(where, wanted, has):
    if not isinstance(has, list):
        return [f"{where}: {has}, no function"]
    positional, by_keyword = split(wanted)
    our_positional, our_keyword = split(has)
    shared = zip(positional, our_positional, strict=False)
    same = [is_same(there, here) or (not place and is_receiver(there)) for place, (there, here) in enumerate(shared)]
    more = our_positional[len(positional) :]
    takes_any = any(text.startswith("**") for text in our_keyword)
    rest = [text for text in by_keyword if not any(is_same(text, here) for here in our_keyword + more)]
    missing = [text for text in rest if not (takes_any and "=" in text)]
    names = {text.partition("=")[0] for text in by_keyword}
    needed = [text for text in more + our_keyword if not text.startswith("*") and "=" not in text and text not in names]
    if len(same) == len(positional) and all(same) and not missing and not needed:
        return []
    return [f"{where}: ({', '.join(has)}), there ({', '.join(wanted)})"]


def is_same(there, here):
    """Ours may have a default where there is none; what `*args` and `**kwargs` are called does not matter."""
    if there.startswith("*"):
        return here.startswith("*" * there.count("*")) and here.count("*") == there.count("*")
    return there == here or (there == here.partition("=")[0])


def is_receiver(name):
    """`self`, by whatever name."""
    return name in ("self", "cls") or name.startswith("_")


def split(parameters):
    """Those that may come by position, and the rest."""
    for place, text in enumerate(parameters):
        if text.startswith("*"):
            return parameters[:place], [one for one in parameters[place:] if one != "*"]
    return parameters, []
