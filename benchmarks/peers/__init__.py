"""Other libraries, each in an environment of its own: `environment.py` makes them, the rest runs inside of them."""
