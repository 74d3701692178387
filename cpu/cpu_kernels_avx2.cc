#include "cpu/attention_kernels.h"
#include "cpu/cpu_kernels.h"
#include "cpu/lanes_avx2.h"
#include "cpu/row_kernels.h"

namespace inferd {

const CpuKernels kCpuKernelsAvx2 = {
    .rms_norm = &RmsNormRow<Avx2Lanes>,
    .rope_halves = &RopeHalves<Avx2Lanes>,
    .rope_interleaved = &RopeInterleaved<Avx2Lanes>,
    .append_key = &AppendKey<Avx2Lanes>,
    .append_value = &AppendValue<Avx2Lanes>,
    .attend_prepare = &AttendPrepare<Avx2Lanes>,
    .attend_chunk = &AttendChunk<Avx2Lanes>,
    .attend_merge = &AttendMerge<Avx2Lanes>,
    .attend_finish = &AttendFinish<Avx2Lanes>,
};

}  // namespace inferd
