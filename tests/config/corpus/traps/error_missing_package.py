_base_ = 'mmnowhere::_base_/x.py'
