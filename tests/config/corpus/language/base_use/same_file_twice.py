_base_ = ['../names_child.py', './read_all.py']
