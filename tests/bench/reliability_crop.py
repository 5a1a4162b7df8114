"""Kill ``fer crop`` at random moments, and compare what it ends with.

``python tests/bench/reliability_crop.py [--times 10]``. An astronaut in many poses is cropped, with a cold
cache. The command gets SIGKILL twice; the same command completes it. Crops, table and contact sheet must be
those of a command that was left alone, and no crop in the cache may be made again.
"""

import argparse
import os
import random
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
sys.path.insert(0, str(Path(__file__).parents[1]))

from killed import Child, report, say, say_where
from PIL import Image
from skimage import data

NUM = 120
"""Images."""


def main() -> int:
    """Kill and complete the command, and return how many times something differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="commands that are killed twice (10)")
    given = parser.parse_args()
    draw = random.Random(0)
    with TemporaryDirectory() as name:
        os.chdir(name)
        astronaut = Image.fromarray(data.astronaut())
        for number in range(NUM):
            path = Path("images") / ("happy", "sad")[number % 2] / f"{number:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            astronaut.rotate(draw.uniform(-20, 20)).crop((number, 0, 400 + number, 400)).save(path)
        started = time.monotonic()
        child = start("whole")
        if child.wait():
            sys.exit(child.log.read_text())
        seconds = time.monotonic() - started
        whole = files(Path("whole"))
        say(f"cropping {NUM} images takes {seconds:.1f} s")
        problems = (kill(str(each), draw, seconds, whole) for each in range(given.times))
        num_failed = report("crop, SIGKILL twice", problems)
    say_where()
    return num_failed


def start(name: str) -> Child:
    os.environ["FER_CACHE_DIR"] = str(Path(f"cache-{name}").resolve())
    return Child(["crop", "images", name, "--size=64"])


def kill(name: str, draw: random.Random, seconds: float, whole: dict[str, bytes]) -> str:
    """Return what differs; empty: nothing."""
    before: dict[str, int] = {}
    for _ in range(2):
        child = start(name)
        time.sleep(draw.uniform(0.1, 0.7) * seconds)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        before = made(name)
    child = start(name)
    if child.wait():
        return child.log.read_text()[-400:]
    if again := [path for path, time_made in before.items() if made(name).get(path) != time_made]:
        return f"{len(again)} of {len(before)} files in the cache were made again"
    found = files(Path(name))
    return next((path for path in found.keys() | whole.keys() if found.get(path) != whole.get(path)), "")


def made(name: str) -> dict[str, int]:
    """Return when each complete file in the cache was made."""
    paths = [path for path in Path(f"cache-{name}").rglob("*") if path.is_file() and path.suffix != ".tmp"]
    return {str(path): path.stat().st_mtime_ns for path in paths}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    sys.exit(main())
