#!/usr/bin/env bash
# Builds everything and runs every test. The last line printed is "N passed, N failed"; it counts test targets.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "tests/run.sh: $1" >&2
  echo "0 passed, 0 failed"
  exit 1
}

tools/install_packages.sh || fail "packages are missing"

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# --keep_going: one target that does not compile must not hide the result of the others.
tools/bazel test --keep_going --color=no --test_summary=short "$@" //... 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

# One line for each test target: "//folder:name   PASSED in 1.2s". A target that did not build counts as failed.
count() { grep --count --extended-regexp "^//[^ ]+ +(\(cached\) +)?($1)( |$)" "$log"; }
passed=$(count 'PASSED|FLAKY')
failed=$(count 'FAILED|TIMEOUT|NO STATUS|INCOMPLETE|REMOTE FAILURE|FAILED TO BUILD')

if ((passed + failed == 0)); then
  fail "no test ran"
fi
# A target that is not a test may fail to build while every test passes: Bazel's own status covers that.
if ((status != 0 && failed == 0)); then
  echo "tests/run.sh: the build failed outside the tests (Bazel's exit status: $status)" >&2
fi
echo "$passed passed, $failed failed"
((status == 0 && failed == 0))
