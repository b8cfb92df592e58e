import argparse
from mmengine.config import read_base

with read_base():
    from .models.hf_small import models

parser = argparse.ArgumentParser(description='never parsed')
del parser
