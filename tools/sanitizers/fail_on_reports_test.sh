#!/usr/bin/env bash
# What counts is the process that reports, not the one that the test has started.
set -uo pipefail
run=tools/sanitizers/fail_on_reports.sh
failures=0

# expect STATUS OUTPUT COMMAND ...: how the command ends under fail_on_reports.sh, and what is in the output.
expect() {
  local output status
  output=$("$run" "${@:3}" 2>&1)
  status=$?
  if [[ $status != "$1" || $output != *"$2"* ]]; then
    echo "expected status $1 and \"$2\", got $status and \"$output\" of: ${*:3}" >&2
    failures=$((failures + 1))
  fi
}

expect 0 "" true
expect 7 "" sh -c 'exit 7'
expect 0 "first second" echo "first second"
for options in ASAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS; do
  report="(echo a race > \${$options##*log_path=}.12)"
  expect 1 "a race" sh -c "$report"
  expect 7 "a race" sh -c "$report; exit 7"
done
# What the options said before still holds.
TSAN_OPTIONS=halt_on_error=1 expect 0 "halt_on_error=1:log_path=" sh -c 'echo $TSAN_OPTIONS'

exit $((failures > 0))
