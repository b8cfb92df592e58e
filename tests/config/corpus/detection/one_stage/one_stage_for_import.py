_base_ = ['../_base_/models/one_stage.py', '../_base_/schedules/schedule_1x_only_val.py']
model = dict(bbox_head=dict(loss_cls=dict(_delete_=True, type='Other')))
stem = '{{ fileBasenameNoExtension }}'
