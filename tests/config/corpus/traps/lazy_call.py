import torch
from tuner.models import Model

device = torch.device('cuda', index=0)
model = dict(type=Model.make(1).inner, n=1)
