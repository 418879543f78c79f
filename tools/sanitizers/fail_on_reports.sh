#!/usr/bin/env bash
# fail_on_reports.sh TEST [ARGUMENT ...]
# Runs a test, and fails it also where any process that it has started reported something to a sanitizer: servers, workers and
# executors write to logs that no test reads, and how they end is often not asked.
set -uo pipefail

reports=$(mktemp -d "${TEST_TMPDIR:-/tmp}/sanitizers.XXXXXX") || exit 1
# Each process that has something to report writes a file of its own. Of two values the later one counts.
for options in ASAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS; do
  export "$options=${!options:+${!options}:}log_path=$reports/report"
done

"$@"
status=$?

found=0
for report in "$reports"/report.*; do
  [[ -e $report ]] || continue
  found=1
  echo "fail_on_reports.sh: a process of this test reported:" >&2
  cat "$report" >&2
done
rm -rf "$reports"
if ((found && status == 0)); then exit 1; fi
exit "$status"
