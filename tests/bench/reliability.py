"""All that is promised of trainings that are killed, run out of disk, lose W&B or read hostile files.

``python tests/bench/reliability.py`` runs the benches ``reliability_*.py`` beside it, one after the other,
with their usual numbers: some hours. Each can be run alone, with other numbers.
"""

import subprocess
import sys
from pathlib import Path


def main() -> None:
    for path in sorted(Path(__file__).parent.glob("reliability_*.py")):
        sys.stdout.write(f"\n{path.stem}\n")
        sys.stdout.flush()
        subprocess.run([sys.executable, path, *sys.argv[1:]], check=False)


if __name__ == "__main__":
    main()
