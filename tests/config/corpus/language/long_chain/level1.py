model = dict(a=1, b=dict(x=1, y=1), steps=[1], tag='level1')
only1 = 1
where = '{{ fileBasenameNoExtension }}'
