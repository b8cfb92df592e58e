_base_ = ('./plain_base.py', '../language/only_comments.py')
size = 64
