"""What mmcv.cnn exports, as far as training needs it: ways to initialise weights, and changes to norms."""

from trainwright.compat.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        ".builder": "MODELS build_model_from_cfg",
        ".utils": """
            Caffe2XavierInit ConstantInit INITIALIZERS KaimingInit NormalInit PretrainedInit TruncNormalInit UniformInit
            XavierInit bias_init_with_prob caffe2_xavier_init constant_init initialize kaiming_init normal_init
            trunc_normal_init uniform_init xavier_init
        """,
    },
    modules=("builder", "utils"),
)
