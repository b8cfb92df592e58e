_base_ = ['./only_comments.py', './literals.py', 'empty.py']
