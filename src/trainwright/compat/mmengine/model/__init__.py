"""What mmengine.model exports: models."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".averaged_model": """
            BaseAveragedModel ExponentialMovingAverage MomentumAnnealingEMA StochasticWeightAverage
        """,
        ".base_model": "BaseDataPreprocessor BaseModel ImgDataPreprocessor",
        ".base_module": "BaseModule ModuleDict ModuleList Sequential",
        ".test_time_aug": "BaseTTAModel",
        ".utils": "convert_sync_batchnorm detect_anomalous_params merge_dict revert_sync_batchnorm stack_batch",
        ".weight_init": """
            BaseInit Caffe2XavierInit ConstantInit KaimingInit NormalInit PretrainedInit TruncNormalInit
            UniformInit XavierInit bias_init_with_prob caffe2_xavier_init constant_init initialize
            kaiming_init normal_init trunc_normal_init uniform_init update_init_info xavier_init
        """,
        ".wrappers": """
            MMDistributedDataParallel MMFullyShardedDataParallel MMSeparateDistributedDataParallel
            is_model_wrapper
        """,
    },
    modules="""
        averaged_model base_model base_module efficient_conv_bn_eval test_time_aug utils weight_init
        wrappers
    """,
)
