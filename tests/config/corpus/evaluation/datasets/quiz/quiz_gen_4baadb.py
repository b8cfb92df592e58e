from benchsuite.openicl.icl_prompt_template import PromptTemplate
from benchsuite.openicl.icl_retriever import ZeroRetriever
from benchsuite.openicl.icl_inferencer import GenInferencer
from benchsuite.openicl.icl_evaluator import AccEvaluator
from benchsuite.datasets import QuizDataset, quiz_postprocess

quiz_all_sets = ['history', 'biology', 'law']

quiz_datasets = []
for _name in quiz_all_sets:
    _hint = f'There is a single choice question about {_name.replace("_", " ")}. Answer by replying A, B, C or D.'
    quiz_infer_cfg = dict(
        ice_template=dict(
            type=PromptTemplate,
            template=dict(round=[
                dict(role='HUMAN', prompt=f'{_hint}\nQuestion: {{input}}\nA. {{A}}\nB. {{B}}\nAnswer: '),
                dict(role='BOT', prompt='{target}\n')
            ]),
        ),
        prompt_template=dict(
            type=PromptTemplate,
            template=dict(begin='</E>', round=[dict(role='HUMAN', prompt='{{question}} {question}')]),
            ice_token='</E>',
        ),
        retriever=dict(type=ZeroRetriever, fix_id_list=[0, 1, 2, 3, 4]),
        inferencer=dict(type=GenInferencer),
    )
    quiz_eval_cfg = dict(evaluator=dict(type=AccEvaluator), pred_postprocessor=dict(type=quiz_postprocess, options='ABCD'))
    quiz_datasets.append(
        dict(
            abbr=f'quiz_{_name}',
            type=QuizDataset,
            path='./data/quiz/',
            name=_name,
            reader_cfg=dict(input_columns=['input', 'A', 'B'], output_column='target', train_split='dev'),
            infer_cfg=quiz_infer_cfg,
            eval_cfg=quiz_eval_cfg,
        ))

del _name, _hint
