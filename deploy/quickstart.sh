#!/usr/bin/env bash
# The main job in one command, on a fresh Debian 12 as root or with sudo: installs what the build needs, builds, starts a server
# and a worker as processes of their own, trains a small language model on real text through them, samples from it, and
# stops them. May be run again; arguments go to the training program (deploy/quickstart.sh --steps=1000 --dtype=bf16).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }

say "Installing the packages that are missing"
tools/install_packages.sh

say "Building the server, the worker and the example (some minutes the first time)"
tools/bazel build //server:moai_server //worker:moai_worker //client/examples:train_llm
bin=$(tools/bazel info bazel-bin 2>/dev/null)

run=$(mktemp -d)
server=
worker=
stop() {
  for process in $worker $server; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  rm -rf "$run"
}
trap stop EXIT

fail() {
  echo "quickstart: $1" >&2
  cat "$run"/*.log >&2 || true
  exit 1
}

# wait_for FILE WORD PROCESS NAME: until the process has written the word to the file.
wait_for() {
  for _ in $(seq 300); do
    grep --quiet "$2" "$1" 2>/dev/null && return
    kill -0 "$3" 2>/dev/null || fail "$4 ended"
    sleep 0.1
  done
  fail "$4 took more than 30 seconds to start"
}

say "Starting a server and a worker on loopback"
# Ports are whatever is free; the server writes which once it listens for workers.
"$bin/server/moai_server" --client_addresses=127.0.0.1:0 --worker_addresses=127.0.0.1:0 \
  --address_file="$run/addresses" >"$run/server.log" 2>&1 &
server=$!
wait_for "$run/addresses" . $server "the server"
clients=$(sed -n 1p "$run/addresses")
workers=$(sed -n 2p "$run/addresses")
"$bin/worker/moai_worker" --server="$workers" --device_memory=4GiB >"$run/worker.log" 2>&1 &
worker=$!
wait_for "$run/worker.log" registered $worker "the worker"
echo "server: process $server, clients connect to $clients"
echo "worker: process $worker, one device of 4 GiB with all cores"

say "Training (the program knows one accelerator at $clients, and nothing else)"
"$bin/client/examples/train_llm" --server="$clients" --stats "$@" || fail "training failed"

say "Stopping the worker and the server"
