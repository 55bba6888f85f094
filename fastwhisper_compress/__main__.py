"""``python -m fastwhisper_compress``."""

from fastwhisper_compress.cli import main

if __name__ == "__main__":
    main()
