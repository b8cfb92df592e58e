_base_ = 'deprecated.py'
model = dict(b=dict(_delete_=True))
