#!/usr/bin/env bash
# Everything that is to be shown on a GPU, in parts of at most nine minutes, with results in benchmarks/results/gpu_*.json.
#
#   bash benchmarks/gpu.sh PART [--wheels FOLDER] [OPTIONS]
#
#   first       what decides between ways to compute: copies, launches, products, graphs
#   kernels     each kernel: time, GB/s or TFLOP/s, share of the measured peak
#   train       GPT-2 124M beside PyTorch on the same card: tokens/s, MFU, time by category, peak memory
#   train-large the same at a batch of 32, against torch.compile alone
#   test-kernels, test-engine, test-training    pytest -m gpu
#   memcheck, racecheck                         the kernels' tests under compute-sanitizer
#   all         one after the other; goes on after a part that fails, and then fails
#
# OPTIONS go to the part: --results FOLDER; --device cpu --small for a rehearsal without a GPU (numbers mean nothing).
# --wheels: packages for a machine without a network, installed into a temporary folder. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
parts=(first test-kernels test-engine test-training kernels train train-large memcheck racecheck)
limit_s=540

part=${1:-}
shift || true
if [ "${1:-}" = --wheels ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$2"/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
    shift 2
fi

run() {
    echo "+ $*" >&2
    timeout "$limit_s" "$@"
}

run_part() {
    local name=$1
    shift
    case $name in
    first | kernels | train) run "$python" "benchmarks/gpu_$name.py" "$@" ;;
    train-large)
        run "$python" benchmarks/gpu_train.py --name gpu_train_large --batch-size 32 \
            --contestants tensorgrad-graph torch-compile "$@"
        ;;
    test-*) run "$python" benchmarks/gpu_tests.py "${name#test-}" "$@" ;;
    memcheck | racecheck) run "$python" benchmarks/gpu_tests.py kernels --sanitizer "$name" "$@" ;;
    *)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
        exit 2
        ;;
    esac
}

if [ "$part" != all ]; then
    run_part "$part" "$@"
    exit
fi
failed=()
for one in "${parts[@]}"; do
    run_part "$one" "$@" || failed+=("$one")
done
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
