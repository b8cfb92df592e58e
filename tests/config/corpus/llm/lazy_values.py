import numpy as np
import torch
import torch.distributed.fsdp.wrap
from torch import bfloat16, nn
from torch.nn import Linear as Proj

dtype = torch.float32
half = bfloat16
chained = torch.distributed.fsdp.wrap.size_based_auto_wrap_policy
values = [np.float32, nn.Linear, Proj, (torch.int8, {'k': [nn.init.xavier_uniform_]})]
mapping = {nn: 'module as key', Proj: 1, 'plain': Proj.weight.data}
kwargs = dict(**{'a': torch.cuda.amp.GradScaler}, b=dict(type=Proj))
as_text = f'{Proj} and {dtype}'
same = Proj is Proj, Proj == Proj, bool(Proj), Proj is not None
picked = Proj if dtype is not None else nn.Identity
nested = dict(a=dict(b=dict(c=dict(type=nn.Module))))
long = torch.a.b.c.d.e.f
