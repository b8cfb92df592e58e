from mmengine.config import read_base

with read_base():
    from .groups import quiz_summary_groups
    from ..datasets.quiz.quiz_ppl import quiz_ppl_datasets as ppl_datasets

other_summary_groups = [{'name': 'other', 'subsets': [['quiz', 'naive_average'], 'sums']}]
summarizer = dict(
    dataset_abbrs=['quiz', *[d['abbr'] for d in ppl_datasets]],
    summary_groups=sum([v for k, v in locals().items() if k.endswith('_summary_groups')], []),
)
