#!/usr/bin/env bash
# Everything that needs a GPU, in parts of at most nine minutes. The results are benchmarks/results/gpu_*.json.
#
#   bash benchmarks/gpu.sh PART [--wheels FOLDER] [OPTIONS]
#
#   first       copies, launches, products, graphs: what decides between ways to compute
#   kernels     each kernel: time, GB/s or TFLOP/s, share of the measured peak
#   train       GPT-2 124M beside PyTorch on the same card: tokens/s, MFU, time by category, peak memory
#   train-large the same at a batch of 32, only against torch.compile
#   test-kernels, test-engine, test-training    pytest -m gpu
#   memcheck, racecheck                         the kernels' tests under compute-sanitizer
#   all         all parts; one that fails does not stop the others, but the exit status is 1
#
# OPTIONS go to the part: --results FOLDER; --device cpu --small for a rehearsal without a GPU, whose numbers mean nothing.
# --wheels installs the wheels in FOLDER into a temporary folder, for a machine without a network.
# The variable PYTHON names the interpreter.
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
    first | kernels | train) run "$python" "benchmarks/gpu/$name.py" "$@" ;;
    train-large)
        run "$python" benchmarks/gpu/train.py --name gpu_train_large --batch-size 32 \
            --contestants tensorgrad-graph torch-compile "$@"
        ;;
    test-*) run "$python" -m tests.gpu_suites "${name#test-}" "$@" ;;
    memcheck | racecheck) run "$python" -m tests.gpu_suites kernels --sanitizer "$name" "$@" ;;
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
