from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.nn import GELU
from torchvision.transforms.functional import InterpolationMode

with read_base():
    from .child_star import *

image_size = 336
vision = dict(
    type='CLIPVision', image_size=image_size, patch=14, act=GELU,
    interpolation=InterpolationMode.BICUBIC, n_patches=(image_size // 14) ** 2)
model.vision = vision
model.vision.update(image_size=448)
model['projector'] = dict(depth=2)
train_dataloader.update(sampler=dict(type=InfiniteSampler if model.head.vocab > 10 else DefaultSampler))
llava_data_root = './data/'
image_folder = llava_data_root + 'images'
default_hooks.logger = None
