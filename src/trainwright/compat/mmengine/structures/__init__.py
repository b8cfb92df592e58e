"""What mmengine.structures exports: data elements."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".base_data_element": "BaseDataElement",
        ".instance_data": "InstanceData",
        ".label_data": "LabelData",
        ".pixel_data": "PixelData",
    },
    modules="base_data_element instance_data label_data pixel_data",
)
