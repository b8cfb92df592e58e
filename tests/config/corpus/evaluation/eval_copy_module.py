import copy
import itertools
import json
import re
from datetime import datetime
from mmengine.config import read_base

with read_base():
    from .models.hf_small import models

other = copy.deepcopy(models)
other[0]['abbr'] = re.sub(r'-hf$', '', other[0]['abbr'])
grid = list(itertools.chain([1], (2, 3)))
as_text = json.dumps(dict(a=[1, None]))
year = datetime(2024, 1, 2).year
