"""Time `nas --help` against an empty Python: python benchmarks/startup.py"""

import subprocess
import sys
import time
from pathlib import Path

REPEATS = 9
nas = Path(sys.executable).with_name("nas")


def best_of(command: list[str]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


empty = best_of([sys.executable, "-c", ""])
for arguments in (["--help"], ["spaces"], ["doctor"]):
    seconds = best_of([str(nas), *arguments])
    print(f"nas {' '.join(arguments):<8} {seconds:.3f} s (an empty Python: {empty:.3f} s)")
