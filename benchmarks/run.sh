#!/usr/bin/env bash
# Runs one benchmark: benchmarks/run.sh NAME [ARGS]. Builds what it needs, prints a table for people and, as the last line,
# one JSON object. Benchmarks report; they never pass or fail. benchmarks/README.md says what each one compares.
set -euo pipefail
from=$PWD
cd "$(dirname "$0")/.."

name=${1:-}
shift || true
case $name in
  transfer | dispatch | kernels | record | capture | slow_link | scaling | plan_speed | plan_published | plan_regret) ;;
  llm_vs_torch) exec benchmarks/llm_vs_torch.sh "$@" ;;
  *)
    echo "usage: benchmarks/run.sh transfer|dispatch|kernels|record|capture|slow_link|scaling|plan_speed|plan_published|plan_regret|llm_vs_torch [ARGS]" >&2
    exit 2
    ;;
esac

# A table is named from where the caller stands.
if [[ $name == plan_published && $# -gt 0 && $1 != /* ]]; then
  set -- "$from/$1" "${@:2}"
fi

# Servers, workers and executors are started by the benchmarks themselves, from the same build.
tools/bazel build "//benchmarks:${name}_benchmark" >&2
exec "$(tools/bazel info bazel-bin)/benchmarks/${name}_benchmark" "$@"
