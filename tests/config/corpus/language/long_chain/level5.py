_base_ = ['level4.py', ]
model = dict(b=dict(w={{_base_.only2}}), tag='{{ fileBasename }}')
only2 = dict(_delete_=True, now='a dict')
