"""What mmengine.model.base_model exports: base models and data preprocessors."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".base_model": "BaseModel",
        ".data_preprocessor": "BaseDataPreprocessor ImgDataPreprocessor",
    },
    modules="base_model data_preprocessor",
)
