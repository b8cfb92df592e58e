"""The root registries. Each looks for its names in one room of this package, imported when a name is first missed."""

from __future__ import annotations

from trainwright.registry.build import build_model_from_cfg, build_runner_from_cfg, build_scheduler_from_cfg
from trainwright.registry.registry import Registry

_RUNNER = ["trainwright.runner.runner"]
_DATA = ["trainwright.data"]
_MODEL = ["trainwright.model"]
_OPTIM = ["trainwright.optim"]
_EVALUATION = ["trainwright.evaluation"]
_VISUALIZATION = ["trainwright.visualization"]

RUNNERS = Registry("runner", build_func=build_runner_from_cfg, locations=_RUNNER)
RUNNER_CONSTRUCTORS = Registry("runner constructor", locations=_RUNNER)
LOOPS = Registry("loop", locations=["trainwright.engine"])
HOOKS = Registry("hook", locations=["trainwright.hooks"])
LOG_PROCESSORS = Registry("log_processor", locations=["trainwright.runner.log_processor"])
STRATEGIES = Registry("strategy", locations=["trainwright.strategies"])

DATASETS = Registry("dataset", locations=_DATA)
DATA_SAMPLERS = Registry("data sampler", locations=_DATA)
TRANSFORMS = Registry("transform", locations=_DATA)
FUNCTIONS = Registry("function", locations=_DATA)

MODELS = Registry("model", build_func=build_model_from_cfg, locations=_MODEL)
MODEL_WRAPPERS = Registry("model_wrapper", locations=_MODEL)
WEIGHT_INITIALIZERS = Registry("weight initializer", locations=[*_MODEL, "trainwright.checkpoint"])

OPTIMIZERS = Registry("optimizer", locations=_OPTIM)
OPTIM_WRAPPERS = Registry("optim_wrapper", locations=_OPTIM)
OPTIM_WRAPPER_CONSTRUCTORS = Registry("optimizer wrapper constructor", locations=_OPTIM)
PARAM_SCHEDULERS = Registry("parameter scheduler", build_func=build_scheduler_from_cfg, locations=_OPTIM)

METRICS = Registry("metric", locations=_EVALUATION)
EVALUATOR = Registry("evaluator", locations=_EVALUATION)
TASK_UTILS = Registry("task util", locations=_MODEL)

VISUALIZERS = Registry("visualizer", locations=_VISUALIZATION)
VISBACKENDS = Registry("vis_backend", locations=_VISUALIZATION)

INFERENCERS = Registry("inferencer", locations=["trainwright.infer"])
