import math, json
import torch, torch.nn as nn

model = dict(type=nn.Linear, root=math.sqrt(4), dtype=torch.float32, parsed=json.loads('[1]'))
