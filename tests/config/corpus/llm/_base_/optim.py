import torch.optim
from mmengine.optim import OptimWrapper
from torch.optim.lr_scheduler import StepLR as Step

lr = 1e-4
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=torch.optim.AdamW, lr=lr, betas=(0.9, 0.95)))
schedules = [dict(type=Step, step_size=10)]
