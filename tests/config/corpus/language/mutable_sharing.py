norm = dict(type='BN')
stages = [dict(norm=norm)] * 2
model = dict(a=norm, b=norm, stages=stages)
norm['eps'] = 1e-3
stages[0]['seen'] = True
view = model['stages']
model['a']['late'] = 1
lists = [[0]] * 3
lists[0].append(1)
tuple_ = (norm, stages)
