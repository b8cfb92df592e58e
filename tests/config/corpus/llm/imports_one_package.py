import vision
import vision.models
import vision.models.resnet
import vision.transforms as T
from vision import ops
from vision.models import resnet as rn

model = dict(type=vision.models.resnet.ResNet, block=rn.Bottleneck, ops=ops.nms)
pipeline = [dict(type=T.Resize), dict(type=vision.transforms.Flip), dict(type=vision.Compose)]
