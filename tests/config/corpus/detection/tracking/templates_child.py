_base_ = ['./templates.py']
# the base's own name stays in what the base set
work_dir = 'work/{{ fileBasenameNoExtension }}/' + _base_.stem
copies = [{{_base_.folder}}, {{_base_.name}}, {{ _base_.both.where }}]
deep = {'k': [({{_base_.both}}, ), {{_base_.both.n}}], ('t', 1): {{_base_.stem}}}
as_argument = dict(a={{_base_.name}}, b=dict(c={{_base_.listed}}))
