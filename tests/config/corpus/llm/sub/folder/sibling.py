from tuner.transforms import Load, Pack

pipeline = [dict(type=Load), dict(type=Pack, keys=('a', 'b'))]
extra = dict(norm=dict(eps=1.0, new=dict(a=1)), layers=[])
