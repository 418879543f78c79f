"""Runs llm_step_benchmark and llm_in_torch.py in turns, from the same weights on the same batches with the same threads,
checks that their losses agree, and prints the ratios of their median steps (ours / theirs) as the last line, in JSON.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

BATCH, SEQUENCE = 8, 256
HERE = pathlib.Path(__file__).resolve().parent
# Ratio -> (our dtype, PyTorch's mode). Losses of bf16 differ by where each side rounds.
PAIRS = {"vs_eager": ("f32", "eager"), "vs_compile": ("f32", "compile"), "vs_eager_bf16": ("bf16", "eager_bf16")}
TOLERANCE = {"f32": 1e-3, "bf16": 1e-2}


def run(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}")
    return result.stdout


def check_losses(ours, theirs, tolerance, name):
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if not abs(a - b) <= tolerance * abs(b):
            sys.exit(f"{name}: after {step} steps our loss is {a}, PyTorch's {b}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", required=True, help="the llm_step_benchmark program")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="measured steps of one repetition")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ratios", nargs="+", choices=PAIRS, default=list(PAIRS))
    args = parser.parse_args()

    # Both sides see these cores only; our worker takes one thread for each core that it sees.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    with tempfile.TemporaryDirectory() as directory:
        files = ["--steps", str(args.steps), "--weights", f"{directory}/weights", "--tokens", f"{directory}/tokens"]
        run([args.ours, "--make", *files])

        def ours(dtype):
            return [args.ours, "--dtype", dtype, *files]

        def theirs(mode):
            return [sys.executable, f"{HERE}/llm_in_torch.py", "--mode", mode, "--threads", str(args.threads), *files]

        commands = {}
        for name in args.ratios:
            dtype, mode = PAIRS[name]
            commands[dtype], commands[mode] = ours(dtype), theirs(mode)
        medians = {side: [] for side in commands}
        for repetition in range(args.repetitions):
            losses = {}
            for side, command in commands.items():
                result = json.loads(run(command).splitlines()[-1])
                medians[side].append(result["median_s"])
                losses[side] = result["losses"]
                print(f"repetition {repetition + 1}: {side:12} {result['median_s']:.3f} s", file=sys.stderr)
            for name in args.ratios:
                dtype, mode = PAIRS[name]
                check_losses(losses[dtype], losses[mode], TOLERANCE[dtype], name)

    print(f"{'':20} {'median step':>12}")
    for side, values in medians.items():
        print(f"{('PyTorch ' if side not in TOLERANCE else 'ours ') + side:20} {statistics.median(values):10.3f} s")
    report = {}
    for name in args.ratios:
        dtype, mode = PAIRS[name]
        ratios = [a / b for a, b in zip(medians[dtype], medians[mode])]
        report[name] = round(statistics.median(ratios), 3)
    for dtype in TOLERANCE:
        if dtype in medians:
            tokens = BATCH * SEQUENCE / statistics.median(medians[dtype])
            report["tokens_per_s" if dtype == "f32" else "tokens_per_s_bf16"] = round(tokens)
    report |= {f"{side}_s": round(statistics.median(values), 4) for side, values in medians.items()}
    print(json.dumps(report | {"threads": args.threads}))


if __name__ == "__main__":
    main()
