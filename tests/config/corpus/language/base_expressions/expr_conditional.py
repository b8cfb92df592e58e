_base_ = '../names.py' if 1 + 1 == 2 else '../nowhere.py'
