_base_ = ['../data/runtime.json', '../llm/_base_/optim.py']
lr = 1
