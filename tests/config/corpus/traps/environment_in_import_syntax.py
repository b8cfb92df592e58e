import os
from tuner.models import Model

model = dict(type=Model, path=os.path.expanduser(os.environ.get('TW_SET', '~/models')))
if os.environ.get('TW_NUMBER') == '17':
    branch = 'seventeen'
n_env = len([k for k in os.environ if k == 'TW_SET'])
