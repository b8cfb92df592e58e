_base_ = ['./plain_base.py',
          '../language/only_comments.py', '../language/names.py', './plain_base.yaml']
