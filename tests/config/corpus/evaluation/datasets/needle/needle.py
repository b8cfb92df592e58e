from benchsuite.datasets.needle import NeedleDataset, NeedleEvaluator
from benchsuite.prompts import PromptTemplate


def logistic(x, L=100, x0=50, k=0.1):
    return round(L / (1 + 2.718281828 ** (-k * (x - x0))), 3)


def generate_linear_space(start, end, num):
    if num == 1:
        return [start]
    elif num < 1:
        raise ValueError('num must be at least 1.')
    step = (end - start) / (num - 1)
    return [start + step * i for i in range(num)]


def generate_depth_percents(intervals, interval_type):
    if interval_type == 'linear':
        return generate_linear_space(0, 100, intervals)
    elif interval_type == 'sigmoid':
        return [logistic(x) for x in generate_linear_space(0, 100, intervals)]
    else:
        raise ValueError('Unsupported interval type')


needle_reader_cfg = dict(input_columns=['prompt'], output_column='answer')
context_lengths = list([1000, 2000, 4000])
document_depth_percent_intervals = 4
base_path = './data/needle'
file_list = ['PaulGraham.jsonl']
needle_datasets = []
depths_list = generate_depth_percents(document_depth_percent_intervals, 'sigmoid')

for original_context_length in context_lengths:
    for depth_percent in generate_depth_percents(3, 'linear'):
        dataset_dict = {
            'abbr': f'Length{original_context_length}Depth{int(depth_percent)}',
            'type': NeedleDataset,
            'path': base_path,
            'length': original_context_length,
            'depth': int(depth_percent),
            'file_list': file_list,
            'eval_cfg': dict(evaluator=dict(type=NeedleEvaluator)),
        }
        needle_datasets.append(dataset_dict)
