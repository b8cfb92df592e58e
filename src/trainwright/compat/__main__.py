"""``python -m trainwright.compat FACE -- script.py ARGS``: an unmodified script, with a face on."""

import sys

from trainwright.compat.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
