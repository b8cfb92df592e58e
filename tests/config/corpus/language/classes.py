class Settings:
    width = 4
    depths = [i for i in range(2)]

    def __init__(self, n):
        self.n = n

    @property
    def double(self):
        return self.n * 2

    @staticmethod
    def make():
        return dict(type='Made', width=Settings.width)


s = Settings(3)
value = dict(double=s.double, **Settings.make())
depths = Settings.depths
del s, Settings
