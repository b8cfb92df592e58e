from tuner.models import Model
ok = 1
value = [][3]
