"""Models: the step contract, preprocessing and weight initialisation."""

from trainwright.model.base_model import BaseModel
from trainwright.model.base_module import BaseModule, ModuleDict, ModuleList, Sequential
from trainwright.model.data_preprocessor import BaseDataPreprocessor

__all__ = ["BaseDataPreprocessor", "BaseModel", "BaseModule", "ModuleDict", "ModuleList", "Sequential"]
