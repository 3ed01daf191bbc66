#!/usr/bin/env bash
# Real data, real model. usage: bench/real/run.sh DATA_FOLDER LLM_URL
#   DATA_FOLDER holds hotpotqa/ and ctibench_rcm/ with {train,val,test,corpus}.jsonl; LLM_URL is an OpenAI-compatible
#   endpoint up to and including /v1. Figures go to docs/measurements.md by hand. BENCH_FAPO names a binary that is there.
set -euo pipefail
data=$(realpath "$1")
export LLM_URL=$2
cd "$(dirname "$0")/../.."
out="${CARGO_TARGET_DIR:-target}/real"
if [[ -n "${BENCH_FAPO:-}" ]]; then
  fapo="$BENCH_FAPO"
else
  cargo build --release -p fapo
  fapo="${CARGO_TARGET_DIR:-target}/release/fapo"
fi
mkdir -p "$out"
for name in hotpotqa ctibench_rcm; do
  rm -rf "${out:?}/$name"
  cp -r "bench/real/$name" "$out/$name"
  ln -s "$data/$name" "$out/$name/data"
done
# the optimizer on the first 40 train, 60 val and 60 test cases: a small model on two cores is slow
rm -rf "${out:?}/ctibench_optimize"
cp -r "$out/ctibench_rcm" "$out/ctibench_optimize"
sed -i 's/^  test: .*/&\n  max_cases: 60/' "$out/ctibench_optimize/fapo.yaml"

time "$fapo" eval "$out/ctibench_rcm" --split val --cases 100
time "$fapo" optimize "$out/ctibench_optimize"
time "$fapo" eval "$out/hotpotqa" --split val --cases 40
