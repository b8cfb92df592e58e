from torch.nn import Module

this = __file__
parts = __file__.split('/')[-2:]
kind = dict(type=Module)
main = __name__ == '__main__'
