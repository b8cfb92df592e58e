_base_ = ['../%s.py' % 'names', '../{}.py'.format('only_comments'), '../' 'empty' '.py']
seen = _base_.items if callable(_base_.items) else None
del seen
