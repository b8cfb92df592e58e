import torch.nn.functional as F
from mmengine.config import Config

act = F.silu
relu = dict(type=F.relu)
