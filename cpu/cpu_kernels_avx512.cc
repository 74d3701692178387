#include "cpu/attention_kernels.h"
#include "cpu/cpu_kernels.h"
#include "cpu/lanes_avx512.h"
#include "cpu/row_kernels.h"

namespace inferd {

const CpuKernels kCpuKernelsAvx512 = {
    .rms_norm = &RmsNormRow<Avx512Lanes>,
    .rope_halves = &RopeHalves<Avx512Lanes>,
    .rope_interleaved = &RopeInterleaved<Avx512Lanes>,
    .append_key = &AppendKey<Avx512Lanes>,
    .append_value = &AppendValue<Avx512Lanes>,
    .attend_prepare = &AttendPrepare<Avx512Lanes>,
    .attend_chunk = &AttendChunk<Avx512Lanes>,
    .attend_merge = &AttendMerge<Avx512Lanes>,
    .attend_finish = &AttendFinish<Avx512Lanes>,
};

}  // namespace inferd
