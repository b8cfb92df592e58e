a = dict(b=[1])
a['b'].append(a)
