_base_ = [f'../{name}.py' for name in ('delete_base', 'names')]
b = dict(inner=dict(new=1))
