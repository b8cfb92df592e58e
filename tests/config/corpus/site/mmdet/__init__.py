raise RuntimeError('a config must not import the package whose configs it inherits from')
