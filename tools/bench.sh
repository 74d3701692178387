#!/usr/bin/env bash
# Measures the figures of `make bench`; each is kept in build/results/bench.json. On a quiet machine.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/release
model=$(tools/get_model.py smollm2)
keep() { tools/results.py run bench -- "$@"; }
keep "$bin/engine/engine_test" '--gtest_filter=*TenThousand*'
keep "$bin/bench/egress_bench"
keep "$bin/bench/grpc_overhead_bench"
keep "$bin/bench/audit_ttft_bench"
keep "$bin/bench/governance_ttft_bench"
keep "$bin/bench/auth_timing_bench"
keep "$bin/tests/integration/integration_test" '--gtest_filter=Audit.Canaries*'
keep "$bin/tests/integration/integration_test" '--gtest_filter=AuthTest.No*'
INFERD_RELOADS=1000 keep "$bin/tests/integration/integration_test" '--gtest_filter=AuthTest.Reloads*'
keep python3 tests/interop/audit_erasure_test.py --inferd "$bin/daemon/inferd" \
  --inferctl "$bin/client/inferctl" --random-model "$bin/tests/support/inferd_random_model" \
  --unit "$bin/governance/governance_test"
keep "$bin/tests/invariance/inferd_invariance" --model "$model"
keep "$bin/bench/inferd_engine_bench" plan
keep "$bin/bench/inferd_engine_bench" prefix "$model"
keep "$bin/bench/inferd_plan_bench"
keep "$bin/bench/linear_bench"
keep "$bin/bench/inferd_cpu_ops_bench" --threads 2
keep "$bin/bench/inferd_tokenizer_bench" --model "$model" --text ../shared/data/text/alice.txt --name smollm2
keep "$bin/bench/inferd_audit_bench" --folder build/audit_bench
keep "$bin/bench/inferd_audit_bench" --folder /dev/shm/inferd_audit_bench --suffix _tmpfs
keep "$bin/bench/inferd_audit_cosign_bench"
keep "$bin/bench/inferd_policy_bench"
keep tests/interop/policy_test.py --random-policies "$bin/tests/support/inferd_random_policies" --cases 1000 || [ $? = 77 ]
keep "$bin/tests/crash/inferd_log_faults" 2>/dev/null
keep "$bin/tests/crash/inferd_log_tamper"
keep "$bin/bench/quota_bench"
