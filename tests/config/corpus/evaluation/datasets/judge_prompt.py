from benchsuite.judge import Judge

GRADER_TEMPLATE = """
    Please as a grading expert, judge whether the final answers given by the candidates below are consistent
    with the standard answers. A: CORRECT, B: INCORRECT. Just return the letters "A" or "B".

    <Original Question Begin>: \n{question}\n<Original Question End>\n\n
    <Gold Target Begin>: \n{answer}\n<Gold Target End>\n\n
    {{ not a template }} {{name}} {{'quoted'}}
    Judging the correctness of candidates' answers:
""".strip()
judge_cfg = dict(type=Judge, prompt=GRADER_TEMPLATE, meta={'round': [{'role': 'HUMAN', 'prompt': '{{question}}'}]})
judge_datasets = [dict(abbr='judge', infer_cfg=judge_cfg)]
judge_datasets[0]['infer_cfg']['meta']['round'] *= 2
