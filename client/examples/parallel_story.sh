#!/usr/bin/env bash
# One program, accelerators of several sizes: starts a server and four workers of four devices each on this machine, and trains
# the same language model (client/examples/train_llm.cc, unchanged) with ever larger batches on the sizes that
# moreh-switch-model chooses. docs/parallel.md tells what happens and why. Takes some minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf '\n== %s\n' "$*"; }

tools/bazel build //server:moai_server //worker:moai_worker //client/examples:train_llm //client/cli:moreh-switch-model >&2
bin=$(tools/bazel info bazel-bin 2>/dev/null)

# The plans of this page are those of a usual core, whatever machine this is.
export MOAI_PROFILE_DIRECTORY=none

run=$(mktemp -d)
processes=()
stop() {
  for process in "${processes[@]}"; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  processes=()
}
trap 'stop; rm -rf "$run"' EXIT

fail() {
  echo "parallel_story: $1" >&2
  cat "$run"/*.log >&2 || true
  exit 1
}

# cluster MEMORY: a server, and four workers with four devices of so much memory and a thread each.
cluster() {
  stop
  rm -f "$run/addresses"
  echo "\$ moai_server & 4 x moai_worker --devices=4 --device_memory=$1 --threads=1 &"
  "$bin/server/moai_server" --client_addresses="unix:$run/clients" --worker_addresses="unix:$run/workers" \
    --wait_for_workers=4 --address_file="$run/addresses" >>"$run/server.log" 2>&1 &
  processes+=($!)
  for worker in 1 2 3 4; do
    "$bin/worker/moai_worker" --server="unix:$run/workers" --name="node$worker" --devices=4 --device_memory="$1" --threads=1 \
      >>"$run/workers.log" 2>&1 &
    processes+=($!)
  done
  for _ in $(seq 600); do
    [[ -e $run/addresses ]] && break
    sleep 0.1
  done
  [[ -e $run/addresses ]] || fail "the cluster did not start"
  MOAI_SERVER=$(sed -n 1p "$run/addresses")
  export MOAI_SERVER
}

switch_model() {
  echo "\$ moreh-switch-model $1"
  "$bin/client/cli/moreh-switch-model" "$1" || fail "the model could not be switched"
}

# The program never changes; its arguments are the model's and the batch.
model=(--layers=2 --hidden=128 --ffn=352 --sequence=64 --log_every=1 --sample=0)
train() {
  echo "\$ train_llm ${model[*]} $*"
  "$bin/client/examples/train_llm" "${model[@]}" "$@" 2>&1
}

# What the server chose for the training step, in its own words.
explain() {
  echo "server: $(grep 'planned nodes' "$run/server.log" | tail -n 1 | sed 's/.*plan=//')"
}

say "Four nodes of four devices with 64 MiB each"
cluster 64MiB

say "Batch 16 on 4 devices"
switch_model Large.256MB
train --batch=16 --steps=5 || fail "training failed"
explain

say "Batch 64 on 16 devices"
switch_model 2xLarge.1GB
train --batch=64 --steps=5 || fail "training failed"
explain

say "Batch 512 on the same 16 devices"
train --batch=512 --steps=4 || fail "training failed"
explain

# With the state whole on every device, a replica needs 10.1 MiB in its first step, in as many micro-batches as there are samples
# and with everything recomputed (moai_server --force_plan=data=16,micro_batches=32,state=0,recompute=2).
say "Batch 512 on 16 devices of 5.25 MiB, in which no replica fits"
cluster 5376KiB
switch_model 2xLarge.84MB
train --batch=512 --steps=4 || fail "training failed"
explain

say "The same program on two devices of 5.25 MiB: refused before anything runs"
switch_model Medium.10.5MB
if train --batch=512 --steps=3 >"$run/refusal"; then fail "a step that cannot fit was not refused"; fi
cat "$run/refusal"
grep --quiet "the smallest accelerator that fits is" "$run/refusal" || fail "the refusal names no accelerator that fits"
