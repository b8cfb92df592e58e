_base_ = './keys.py'
plain = {'b-c': dict(now='a dict')['now'], '': 'changed', 'new key': [1]}
other = {None: 'changed', 1: dict(_delete_=True, a=1)['a'], (1, 2): 'changed', 'None': 'kept apart'}
reserved_looking = {'items': 'changed', 'pop': ['changed'], 'self': 0}
methods = {'merge': dict(a=1)['a']}
order = dict(n=4, a=5)
picked = _base_['plain']['b-c'], _base_['reserved_looking']['items'], _base_.reserved_looking['get']
dunder = _base_.dunder
