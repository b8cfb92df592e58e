ok = 1
_base_ = ['./plain_base.py', './plain_bass.py']
