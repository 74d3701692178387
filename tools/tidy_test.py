#!/usr/bin/env python3
"""Each rule of tidy.py catches its breach and leaves good code alone."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tidy


def messages(path, text):
    return [message for _, message in tidy.check_text(path, text)]


class Layers(unittest.TestCase):
    def test_a_room_may_not_reach_up(self):
        found = messages("scheduler/a.cc", '#include "engine/engine.h"\n')
        self.assertEqual(found, ["room scheduler may not include engine (ARCHITECTURE.md, table of rooms)"])

    def test_what_the_table_allows_is_silent(self):
        self.assertEqual(messages("engine/a.cc", '#include "scheduler/scheduler.h"\n'), [])
        self.assertEqual(messages("daemon/backends.cc", '#include "cuda/device.h"\n'), [])

    def test_cuda_only_in_backends(self):
        self.assertEqual(len(messages("daemon/server.cc", '#include "cuda/device.h"\n')), 1)

    def test_dots(self):
        self.assertEqual(len(messages("engine/a.cc", '#include "../cpu/a.h"\n')), 1)

    def test_third_party_headers_have_owners(self):
        self.assertEqual(len(messages("engine/a.cc", "#include <grpcpp/grpcpp.h>\n")), 1)
        self.assertEqual(messages("daemon/a.cc", "#include <grpcpp/grpcpp.h>\n"), [])
        self.assertEqual(len(messages("model/a.cc", "#include <openssl/evp.h>\n")), 1)

    def test_scheduler_is_pure(self):
        self.assertEqual(len(messages("scheduler/a.cc", "#include <thread>\n")), 1)


class Words(unittest.TestCase):
    def test_unfinished(self):
        self.assertEqual(len(messages("a.md", "FIX" + "ME later\n")), 1)
        self.assertEqual(len(messages("a.md", "TO" + "DO later\n")), 1)
        self.assertEqual(messages("a.md", "TO" + "DO(#7): later\n"), [])

    def test_switched_off(self):
        self.assertEqual(len(messages("a_test.cc", "TEST(A, DIS" + "ABLED_B) {\n")), 1)
        self.assertEqual(len(messages("a_test.cc", "  GTEST_" + "SKIP();\n")), 1)
        self.assertEqual(messages("a_test.cc", '  GTEST_' + 'SKIP() << "no GPU here";\n'), [])

    def test_banned_names(self):
        self.assertEqual(len(messages("engine/a.cc", "  std::regex r;\n")), 1)
        self.assertEqual(messages("engine/a.cc", "  // std::regex is slow\n"), [])
        self.assertEqual(len(messages("engine/a.cc", "auto t = std::chrono::steady_clock::now();\n")), 1)


if __name__ == "__main__":
    unittest.main()
