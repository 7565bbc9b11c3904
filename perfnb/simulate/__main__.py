"""python -m perfnb.simulate FOLDER: write the samples of the repository (`make samples`)."""

import sys
from pathlib import Path

from perfnb import simulate
from perfnb.simulate.readme import readme

SEED, USERS = 220, 13_000


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m perfnb.simulate FOLDER", file=sys.stderr)
        return 2
    shop = simulate.shop(seed=SEED, users=USERS)
    simulate.write(shop, arguments[0])
    text = readme(shop, seed=SEED, users=USERS)
    Path(arguments[0], "README.md").write_bytes(text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
