"""Data elements: annotations and predictions of a sample, with its facts."""

from trainwright.structures.base_data_element import BaseDataElement
from trainwright.structures.instance_data import InstanceData
from trainwright.structures.label_data import LabelData
from trainwright.structures.pixel_data import PixelData

__all__ = ["BaseDataElement", "InstanceData", "LabelData", "PixelData"]
