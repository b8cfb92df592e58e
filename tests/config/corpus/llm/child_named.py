from mmengine.config import read_base

with read_base():
    from ._base_.data import (dataset, train_dataloader as loader,
                              template)
    from ._base_.model import model as base_model
    from ._base_.optim import lr, optim_wrapper

train_dataloader = dict(loader, batch_size=8)
model = dict(type='Wrapper', inner=base_model, template=template['SYSTEM'].format(system='you are'))
final_lr = lr / 10
loader.merge(dict(dataset=dict(_delete_=True, type='Other')))
