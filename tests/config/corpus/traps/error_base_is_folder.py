_base_ = '../language'
