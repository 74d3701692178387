#!/usr/bin/env python3
"""cubin.py on code put together by hand, and the gate's rules on kernels that break them."""
import struct
import unittest

import cubin
import cuda_compile_gate as gate

HMMA, LDL, NOP = 0x23c, 0x983, 0x918


def branch(distance):
    """A branch by `distance` instructions from the one behind it."""
    offset = distance * 16
    low = 0x947 | (offset >> 2 & 0xff) << 16
    return low | (offset >> 10 & 0x3fffffff) << 34


def code(*words):
    return b"".join(struct.pack("<QQ", word, 0) for word in words)


class Cubin(unittest.TestCase):
    def test_reads_branches_as_the_compiler_wrote_them(self):
        # Two of a real kernel: at 0x24d0 back to 0xf00, and at 0x770 forward to 0x24e0.
        self.assertEqual(cubin.branch_target(0x24d0 // 16, 0xffffffe800888947, 90), 0xf00 // 16)
        self.assertEqual(cubin.branch_target(0x770 // 16, 0x0000001c00580947, 90), 0x24e0 // 16)

        # The same of sm_80: at 0x23e0 back to 0xf20, at 0x460 forward to 0x750.
        self.assertEqual(cubin.branch_target(0x23e0 // 16, 0xffffeb3000007947, 80), 0xf20 // 16)
        self.assertEqual(cubin.branch_target(0x460 // 16, 0x000002e000000947, 80), 0x750 // 16)

    def test_finds_the_loop_with_the_products(self):
        words = [NOP, NOP, branch(-2), HMMA, NOP, HMMA, NOP, branch(-5), NOP]
        self.assertEqual(cubin.main_loop(code(*words), 90), (3, 8, 2))
        self.assertIsNone(cubin.main_loop(code(HMMA, NOP), 90))

    def test_counts_local_memory(self):
        operations = [op for op, _ in cubin.operations(code(LDL, HMMA))]
        self.assertIn(operations[0], cubin.LOCAL_MEMORY)
        self.assertIn(operations[1], cubin.TENSOR_CORE)

    def test_refuses_what_is_no_cubin(self):
        with self.assertRaises(ValueError):
            list(cubin.sections(b"not a cubin at all"))


class Gate(unittest.TestCase):
    kernel = {"shape": "d1", "tokens": 1, "rows": 1, "zero": 0, "bits": 4, "group": 128, "scale": 0,
              "arch": "sm_80", "registers": 64, "spill": 0, "local": 0, "shared": 2048, "loop": 170,
              "products": 8}

    def test_a_sound_kernel_passes(self):
        self.assertEqual(list(gate.breaches(self.kernel)), [])

    def test_every_rule_bites(self):
        for change in ({"spill": 4}, {"local": 1}, {"registers": 129}, {"shared": 50000},
                       {"products": 9}, {"loop": 4000}, {"loop": 0, "products": 0}):
            self.assertTrue(list(gate.breaches({**self.kernel, **change})), change)

    def test_reads_formats_out_of_names(self):
        code = 4 | 32 << 8 | 2 << 16 | 1 << 20
        facts = {"bits": 4, "group": 32, "zero": 2, "scale": 1}
        self.assertEqual(gate.describe(f"_Z12QgemmDKernelILj{code}ELi8ELi1ELi2EEvNS0_9QgemmArgsE"),
                         {**facts, "shape": "d8", "tokens": 8, "rows": 1})
        self.assertEqual(gate.describe(f"_Z12QgemmPKernelILj{code}EEvNS0_9QgemmArgsE"),
                         {**facts, "shape": "p", "tokens": 4, "rows": 2})

    def test_reads_the_compilers_report(self):
        text = ("ptxas info : Compiling entry function 'k' for 'sm_80'\n"
                "    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads\n"
                "ptxas info : Used 63 registers, used 1 barriers, 2048 bytes smem\n")
        self.assertEqual(gate.parse_ptxas(text),
                         {"k": {"registers": 63, "spill": 12, "shared": 2048}})


if __name__ == "__main__":
    unittest.main()
