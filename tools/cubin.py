"""Reads what a kernel costs out of a cubin: an ELF file whose sections .text.<kernel> hold 16-byte
instructions (sm_70 and later). No disassembler is needed: the low 12 bits of an instruction are its
operation, and a branch's distance is in its first word."""
import struct

INSTRUCTION_BYTES = 16
# Operations that say what a kernel does; the bits above these nine choose the operand's kind.
TENSOR_CORE = {0x03c: "HMMA"}
LOCAL_MEMORY = {0x183: "LDL", 0x187: "STL"}
BRANCH = 0x147


def sections(data):
    """(name, bytes) of each section of a 64-bit little-endian ELF file."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    at, = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3a)
    headers = [struct.unpack_from("<IIQQQQ", data, at + i * size) for i in range(count)]
    strings = headers[names][4]
    for name, _, _, _, offset, length in headers:
        begin = strings + name
        yield data[begin:data.index(b"\0", begin)].decode(), data[offset:offset + length]


def operations(code):
    """(operation in nine bits, first word) of each instruction."""
    return [(word & 0x1ff, word) for word, _ in struct.iter_unpack("<QQ", code)]


def branch_target(index, word, arch):
    """The instruction that a branch at `index` goes to. Before sm_90 its distance in bytes is the
    first word's upper half; from then on that lacks its ten low bits, eight of which lie apart."""
    if arch < 90:
        distance = word >> 32
        distance -= (distance >> 31) << 32
    else:
        far = word >> 34
        far -= (far >> 29) << 30
        distance = (far << 10) + ((word >> 16 & 0xff) << 2)
    return index + 1 + distance // INSTRUCTION_BYTES


def main_loop(code, arch):
    """[begin, end) of the loop with the most tensor-core instructions, or None."""
    ops = operations(code)
    best = None
    for index, (operation, word) in enumerate(ops):
        if operation != BRANCH:
            continue
        target = branch_target(index, word, arch)
        if not 0 <= target < index:
            continue
        body = ops[target:index + 1]
        products = sum(op in TENSOR_CORE for op, _ in body)
        if products and (best is None or products > best[2]):
            best = (target, index + 1, products)
    return best


def kernels(data, arch):
    """Of a cubin for `arch`, 90 for sm_90: {mangled name: {"loop", "products", "local"}}: instructions and
    tensor-core instructions of the main loop, and local-memory instructions of the whole kernel."""
    found = {}
    for name, code in sections(data):
        if not name.startswith(".text."):
            continue
        loop = main_loop(code, arch)
        found[name[len(".text."):]] = {
            "loop": loop[1] - loop[0] if loop else 0,
            "products": loop[2] if loop else 0,
            "local": sum(op in LOCAL_MEMORY for op, _ in operations(code)),
        }
    return found
