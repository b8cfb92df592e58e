from tuner.models import Model
from .plain_base import model as inner
from ..llm import something

model = dict(type=Model, inner=inner, other=something.deep)
