#!/usr/bin/env bash
# The benches: fapo beside langgraph over the same three-step pipeline, and peak memory over the number of cases.
#
#   bench/run.sh            both
#   bench/run.sh calls      only the first
#   bench/run.sh memory     only the second
#
# From the environment: BENCH_CASES (fapo's cases, 5000), BENCH_LANGGRAPH_CASES (600), BENCH_CONCURRENCY (32),
# BENCH_SMALL (10000), BENCH_LARGE (1000000), BENCH_MEMORY_KIND (template, or calls: three model calls for each case),
# BENCH_FAPO (a binary that is there already).
set -euo pipefail
cd "$(dirname "$0")/.."

which_one="${1:-all}"
case "$which_one" in
  all | calls | memory) ;;
  *) echo "usage: bench/run.sh [all|calls|memory]" >&2; exit 64 ;;
esac

concurrency="${BENCH_CONCURRENCY:-32}"
kind="${BENCH_MEMORY_KIND:-template}"
target="${CARGO_TARGET_DIR:-target}"
work="$target/bench"
rm -rf "$work"
mkdir -p "$work"

if [[ -n "${BENCH_FAPO:-}" ]]; then
  fapo="$BENCH_FAPO"
else
  cargo build --release -p fapo
  fapo="$target/release/fapo"
fi

# an endpoint without latency, in a process of its own: its CPU is nobody's
printf '{"echo": "ok"}\n' > "$work/world.json"
"$fapo" sim --world "$work/world.json" --port 0 --json > "$work/sim.json" &
sim=$!
trap 'kill "$sim" 2> /dev/null || true; wait "$sim" 2> /dev/null || true' EXIT
for _ in $(seq 100); do
  [[ -s "$work/sim.json" ]] && break
  kill -0 "$sim" 2> /dev/null || { echo "the simulated model did not start" >&2; exit 1; }
  sleep 0.1
done
base_url="$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["base_url"])' "$work/sim.json")"
export OPENAI_API_KEY=bench PYTHONDONTWRITEBYTECODE=1

evaluate() { # name, kind, cases
  local folder="$work/$1"
  python3 bench/make_project.py "$folder" --kind "$2" --cases "$3" --base-url "$base_url" --concurrency "$concurrency"
  python3 bench/measure.py --name "$1" -- \
    "$fapo" eval "$folder" --split val --json --quiet --show-failures 0 > "$work/$1.json" || {
    cat "$work/$1.json" >&2
    exit 1
  }
}

if [[ "$which_one" != memory ]]; then
  venv="$target/bench-venv"
  if [[ ! -x "$venv/bin/python" ]]; then
    python3 -m venv "$venv"
  fi
  "$venv/bin/python" -c 'import langgraph, openai' 2> /dev/null \
    || "$venv/bin/pip" install --quiet --disable-pip-version-check langgraph openai
  echo "three model calls a case, $concurrency at a time, against an endpoint without latency"
  evaluate calls calls "${BENCH_CASES:-5000}"
  "$venv/bin/python" bench/langgraph_baseline.py --base-url "$base_url" --workers "$concurrency" \
    --cases "${BENCH_LANGGRAPH_CASES:-600}" > "$work/langgraph.json"
  python3 bench/table.py calls "$work/calls.json" "$work/langgraph.json"
fi

if [[ "$which_one" != calls ]]; then
  echo
  echo "peak memory of one evaluation ($kind), import of the data included"
  evaluate small "$kind" "${BENCH_SMALL:-10000}"
  evaluate large "$kind" "${BENCH_LARGE:-1000000}"
  python3 bench/table.py memory "$work/small.json" "$work/large.json"
fi
