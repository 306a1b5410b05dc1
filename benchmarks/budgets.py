"""Search five budgets spread over the reachable range: python benchmarks/budgets.py RUN

Then every winner's file is measured once more, in a process of its own (`nas verify`).
"""

import subprocess
import sys
from pathlib import Path

import nas

SHARES = ("10%", "30%", "50%", "70%", "90%")
tool = Path(sys.executable).with_name("nas")

print("budget (ms)  subnet      validation  test     predicted  measured  kept  verified")
for share in SHARES:
    result = nas.search(sys.argv[1], latency_ms=share)
    winner = result.winner
    if winner is None:
        miss = result.closest_miss
        closest = f"; closest {miss.measured_latency_ms:.4f} ms" if miss else ""
        print(f"{result.budget_ms:<12.4g} none keeps it{closest}")
        continue
    folder = Path(winner.model_path).parent
    verified = subprocess.run([tool, "verify", folder], capture_output=True).returncode == 0
    print(
        f"{result.budget_ms:<12.4g} {winner.architecture_id}  {winner.validation_accuracy:<10.2%}  "
        f"{winner.test_accuracy:<7.2%}  {winner.predicted_latency_ms:<9.4f}  "
        f"{winner.measured_latency_ms:<8.4f}  {winner.kept!s:<5} {verified}"
    )
