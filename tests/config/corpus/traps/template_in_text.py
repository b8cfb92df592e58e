_base_ = './plain_base.py'
path = '{{ _base_.data_root }}train/'
both = "{{_base_.data_root}}{{ _base_.size }}.png"
quoted = '{{ _base_.data_root }}'
total = {{ _base_.size }} * 2 + len({{ _base_.data_root }})
keys = {{{_base_.data_root}}: 1, 'x': 2}
called = dict(**{{ _base_.a }}, n=str({{ _base_.size }}))
attribute = {{ _base_.model }}.depth
item = {{ _base_.model }}['type']
formatted = f'{ {{_base_.size}} }x{ {{_base_.size}} }'
in_set = { {{_base_.size}}, 1}
