from tuner.utils import PROMPT_TEMPLATE

SYSTEM = '{% if a %}{{ system }}{% endif %} {{$NOT_REPLACED:here}} {{ fileBasename }} {{ _base_.x }}'
escaped = f'{{literal}} {1 + 1} {{{{double}}}}'
nested = f"{PROMPT_TEMPLATE}{'x' if True else 'y'!r:>5}"
percent = '%s-%d' % ('a', 1)
template = PROMPT_TEMPLATE['default'] if False else None
multi = """line one
    line "two" 'three'
\tline\\three
"""
raw = r'\d+\n' + b'bytes\x00'.decode('latin1') + u'ü'
