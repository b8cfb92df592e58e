from benchsuite.openicl.icl_prompt_template import PromptTemplate
from benchsuite.datasets import QuizDataset

quiz_ppl_datasets = [
    {
        'abbr': f'quiz-{split}-{n}', 'type': QuizDataset, 'split': split,
        'infer_cfg': {'prompt_template': {'type': PromptTemplate, 'template': {str(i): f'Q{i}' for i in range(n)}}},
    }
    for split in ('dev', 'test')
    for n in [2, 3]
    if not (split == 'dev' and n == 3)
]
