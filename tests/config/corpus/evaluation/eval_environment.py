import os
from mmengine.config import read_base

with read_base():
    from .models.hf_small import models

token = os.environ.get('TW_SET', 'none')
number = int(os.environ.get('TW_NUMBER', '0'))
cache = os.path.join(os.getenv('TW_CACHE_UNSET', '/cache'), 'hub')
home = os.environ['TW_SET'] if 'TW_SET' in os.environ else None
models[0]['path'] = os.path.join(token, 'model')
