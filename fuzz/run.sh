#!/usr/bin/env bash
# Runs every target for FUZZ_SECONDS and prints a table; ends with an error where one found something.
#
#   fuzz/run.sh            all targets
#   fuzz/run.sh data bdat  these
#
# The toolchain of the tree is a stable one. libFuzzer's feedback works there; sanitizers are for nightly ones.
# FUZZ_SANITIZER=address has the stable compiler take the flag all the same (RUSTC_BOOTSTRAP=1): slower, and for the
# code of dependencies alone, because Basin's own has no unsafe block in what is fuzzed here.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${FUZZ_SECONDS:-60}
sanitizer=${FUZZ_SANITIZER:-none}
[ "$sanitizer" = none ] || export RUSTC_BOOTSTRAP=1

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "==> installing cargo-fuzz"
    cargo install cargo-fuzz --locked
fi

# shellcheck disable=SC2207
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=($(cargo fuzz list))

cargo fuzz build --sanitizer "$sanitizer"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
found=0
printf '\n| target | seconds | inputs run | inputs/s | edges | inputs kept | found |\n'
printf '| --- | ---: | ---: | ---: | ---: | ---: | --- |\n'
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target"
    log=$logs/$target
    outcome=nothing
    # The first folder is the one that new inputs are written to; the seeds stay as they are.
    cargo fuzz run --sanitizer "$sanitizer" "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -timeout=10 -max_len=4096 -rss_limit_mb=1024 -print_final_stats=1 >"$log" 2>&1 ||
        { outcome=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1); found=1; }
    stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
    last=$(grep -E '^#[0-9]+.* cov: ' "$log" | tail -1 || true)
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' <<<"$last")
    kept=$(sed -n 's/.* corp: \([0-9]*\)\/.*/\1/p' <<<"$last")
    printf '| %s | %s | %s | %s | %s | %s | %s |\n' \
        "$target" "$seconds" "$(stat number_of_executed_units)" "$(stat average_exec_per_sec)" \
        "${edges:--}" "${kept:--}" "${outcome:-see the log}"
    [ "$outcome" = nothing ] || grep -E -A8 'panicked at|ERROR: libFuzzer' "$log" | head -20 >&2 || tail -40 "$log" >&2
done
exit $found
