from mmengine.config import Config
from tuner.models import Model

inner = Config.fromfile(__file__.replace('uses_config_class', 'plain_base'))
depth = inner.model.depth
model = dict(type=Model, inner=inner.model.to_dict(), direct=Config(dict(a=1)).to_dict())
del inner
