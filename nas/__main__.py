"""`python -m nas` is the command `nas`; so is `torchrun ... -m nas`."""

from nas.cli import main

if __name__ == "__main__":
    main()
