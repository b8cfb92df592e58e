import os
import os.path as osp
from os import environ, getenv, path

data_root = os.environ.get('TW_SET', 'none')
folder = osp.join(data_root, 'train')
stem = path.splitext(osp.basename('a/b.txt'))[0]
number = int(environ['TW_NUMBER'])
unset = getenv('TW_UNSET', 'default')
joined = os.sep.join(['a', 'b'])
