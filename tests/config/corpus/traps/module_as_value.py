import numpy as np
from torch import nn
import torch.optim

model = dict(backend=np, layers=nn, optim=torch.optim, root=torch)
