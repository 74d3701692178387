#include "cpu/attention_kernels.h"
#include "cpu/cpu_kernels.h"
#include "cpu/lanes_scalar.h"
#include "cpu/row_kernels.h"

namespace inferd {

const CpuKernels kCpuKernelsScalar = {
    .rms_norm = &RmsNormRow<ScalarLanes>,
    .rope_halves = &RopeHalves<ScalarLanes>,
    .rope_interleaved = &RopeInterleaved<ScalarLanes>,
    .append_key = &AppendKey<ScalarLanes>,
    .append_value = &AppendValue<ScalarLanes>,
    .attend_prepare = &AttendPrepare<ScalarLanes>,
    .attend_chunk = &AttendChunk<ScalarLanes>,
    .attend_merge = &AttendMerge<ScalarLanes>,
    .attend_finish = &AttendFinish<ScalarLanes>,
};

}  // namespace inferd
