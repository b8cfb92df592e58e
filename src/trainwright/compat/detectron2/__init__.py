"""detectron2's engine under its own module names."""

from trainwright.compat.faces import face

__version__ = "0.6"
install = face("detectron2").install
uninstall = face("detectron2").uninstall
