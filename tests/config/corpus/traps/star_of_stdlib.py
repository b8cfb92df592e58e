from math import *
area = pi * 2
