#!/usr/bin/env bash
# benchmarks/run.sh llm_vs_torch [--repetitions N] [--threads N]: a training step of the language model example beside the
# same model in PyTorch. PyTorch is installed once, into a virtual environment under the user's cache directory.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=${XDG_CACHE_HOME:-$HOME/.cache}/moai-torch-2.11
if [[ ! -e $environment/ready ]]; then
  echo "Installing PyTorch 2.11 into $environment; this happens once" >&2
  python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet torch==2.11.0 numpy safetensors >&2
  touch "$environment/ready"
fi

tools/bazel build //benchmarks:llm_step_benchmark >&2
exec "$environment/bin/python" benchmarks/llm_vs_torch.py --ours "$(tools/bazel info bazel-bin)/benchmarks/llm_step_benchmark" "$@"
