from collections import namedtuple

Size = namedtuple('Size', 'w h')
size = Size(1, 2)
del Size
