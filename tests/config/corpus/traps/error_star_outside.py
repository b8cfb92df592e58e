from tuner.models import Model
from tuner.all import *
model = dict(type=Model)
