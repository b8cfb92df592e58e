"""Models: the step contract, preprocessing, weight initialisation, averages of weights, and changes to a model."""

from trainwright.model.averaged_model import (
    BaseAveragedModel,
    ExponentialMovingAverage,
    MomentumAnnealingEMA,
    StochasticWeightAverage,
)
from trainwright.model.base_model import BaseModel
from trainwright.model.base_module import BaseModule, ModuleDict, ModuleList, Sequential
from trainwright.model.data_preprocessor import BaseDataPreprocessor, ImgDataPreprocessor
from trainwright.model.engine_wrapper import MMDeepSpeedEngineWrapper
from trainwright.model.init_record import update_init_info
from trainwright.model.norms import convert_sync_batchnorm, revert_sync_batchnorm
from trainwright.model.separate_wrapper import MMSeparateDistributedDataParallel
from trainwright.model.surgery import turn_on_activation_checkpointing, turn_on_efficient_conv_bn_eval
from trainwright.model.test_time_aug import BaseTTAModel
from trainwright.model.utils import detect_anomalous_params, is_model_wrapper, merge_dict, stack_batch
from trainwright.model.weight_init import (
    BaseInit,
    Caffe2XavierInit,
    ConstantInit,
    KaimingInit,
    NormalInit,
    TruncNormalInit,
    UniformInit,
    XavierInit,
    bias_init_with_prob,
    caffe2_xavier_init,
    constant_init,
    initialize,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    xavier_init,
)
from trainwright.model.wrappers import MMDistributedDataParallel

__all__ = [
    "BaseAveragedModel",
    "BaseDataPreprocessor",
    "BaseInit",
    "BaseModel",
    "BaseModule",
    "BaseTTAModel",
    "Caffe2XavierInit",
    "ConstantInit",
    "ExponentialMovingAverage",
    "ImgDataPreprocessor",
    "KaimingInit",
    "MMDeepSpeedEngineWrapper",
    "MMDistributedDataParallel",
    "MMSeparateDistributedDataParallel",
    "ModuleDict",
    "ModuleList",
    "MomentumAnnealingEMA",
    "NormalInit",
    "Sequential",
    "StochasticWeightAverage",
    "TruncNormalInit",
    "UniformInit",
    "XavierInit",
    "bias_init_with_prob",
    "caffe2_xavier_init",
    "constant_init",
    "convert_sync_batchnorm",
    "detect_anomalous_params",
    "initialize",
    "is_model_wrapper",
    "kaiming_init",
    "merge_dict",
    "normal_init",
    "revert_sync_batchnorm",
    "stack_batch",
    "trunc_normal_",
    "trunc_normal_init",
    "turn_on_activation_checkpointing",
    "turn_on_efficient_conv_bn_eval",
    "uniform_init",
    "update_init_info",
    "xavier_init",
]
