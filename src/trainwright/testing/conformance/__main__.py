"""``python -m trainwright.testing.conformance``: the table of strategies and behaviours."""

from trainwright.testing.conformance.table import main

if __name__ == "__main__":
    main()
