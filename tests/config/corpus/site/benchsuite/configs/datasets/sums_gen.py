from benchsuite.inferencers import GenInferencer
from benchsuite.prompts import PromptTemplate

sums_reader_cfg = dict(input_columns=['question'], output_column='answer')
sums_datasets = [
    dict(abbr='sums', type='SumsDataset', reader_cfg=sums_reader_cfg,
         infer_cfg=dict(inferencer=dict(type=GenInferencer), prompt_template=dict(type=PromptTemplate, template='{question}'))),
]
