from benchsuite.models import OpenAI

_meta_template = dict(
    round=[
        dict(role='HUMAN', begin='<|im_start|>user\n', end='<|im_end|>\n'),
        dict(role='BOT', begin='<|im_start|>assistant\n', end='<|im_end|>\n', generate=True),
    ],
    eos_token_id=92542)
models = [
    dict(abbr=abbr, type=OpenAI, path=path, key='ENV', meta_template=_meta_template, query_per_second=1, max_seq_len=2048)
    for abbr, path in [('large', 'large-2024'), ('large-mini', 'large-mini-2024')]
]
api_meta_template = dict(round=[dict(role=r, api_role=r) for r in ('HUMAN', 'BOT')], reserved_roles=[dict(role='SYSTEM', api_role='SYSTEM')])
