import torch.nn as nn
from torch import nn as nn2
import tuner.models
import tuner.models.heads
import tuner

norm = dict(type=nn.LayerNorm, eps=1e-6)
model = dict(
    type=tuner.models.Causal,
    norm=norm,
    act=nn.functional.gelu,
    layers=[nn.Linear, nn2.Dropout, (nn.ReLU, {'type': nn2.init.kaiming_normal_})],
    head=dict(type=tuner.models.heads.LMHead, vocab=32000, make=tuner.utils.make.head))
