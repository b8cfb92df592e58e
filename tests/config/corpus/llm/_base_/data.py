from tuner.data import JsonDataset as Dataset

template = dict(SYSTEM='<|system|>\n{system}</s>\n', INSTRUCTION='<|user|>\n{input}</s>\n<|assistant|>\n')
dataset = dict(type=Dataset, path='a.jsonl', template=template)
train_dataloader = dict(batch_size=1, dataset=dataset, num_workers=4)
