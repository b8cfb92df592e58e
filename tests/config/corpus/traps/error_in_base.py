_base_ = './error_name.py'
