_base_ = ['./one-stage_l_tta.py', '../_base_/schedules/schedule_1x_only_val.py']
model = dict(backbone=dict(_delete_=True, **{'type': 'Tiny', 'depths': (1, 2)}))
