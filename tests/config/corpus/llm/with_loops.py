from tuner.datasets import Jsonl

names = ['alpaca', 'dolly', 'code']
datasets = []
index = 0
for i, name in enumerate(names):
    if name == 'code':
        continue
    datasets.append(dict(type=Jsonl, path=f'data/{name}.jsonl', weight=1 / (i + 1)))
else:
    finished = True
while index < 2:
    index += 1
lookup = {d['path']: n for n, d in enumerate(datasets)}
grid = [[(r, c) for c in range(2)] for r in range(2)]
letters = {c for c in 'hello'}
if (n := len(datasets)) > 1:
    many = n
with_condition = 'many' if n > 1 else 'few'
datasets += [dict(type=Jsonl, path='extra')] * 2
total = sum(d['weight'] if 'weight' in d else 0 for d in datasets)
