"""python -m tensorgrad.verify: print the certificate; exit with 1 if it does not hold."""

from __future__ import annotations

import argparse
import sys

from tensorgrad.verify import certify

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tensorgrad.verify", description="Certify values and gradients.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="check these functions only")
    parser.add_argument("--processes", type=int, default=2, help="how many processes share the work (2)")
    options = parser.parse_args()
    sys.exit(0 if certify(options.only, processes=options.processes).holds else 1)
