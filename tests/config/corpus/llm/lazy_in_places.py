import math

try:
    from flash_attn import flash_attn_func as attention
    has_flash = True
except ImportError:
    attention = None
    has_flash = False

if has_flash:
    from tuner.models import FlashModel as Model
else:
    from tuner.models import SlowModel as Model


def build(width):
    from tuner.layers import Layer
    return dict(type=Layer, width=width, root=math.sqrt(width))


class Names:
    from tuner.layers import Norm
    first = 'norm'


model = dict(type=Model, attention=attention, layers=[build(w) for w in (4, 9)], norm=Names.Norm, name=Names.first)
del Names
