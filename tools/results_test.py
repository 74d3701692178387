#!/usr/bin/env python3
"""Tests of tools/results.py: what is kept from a run's output, and what is shown of it."""

import io
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))
import results  # noqa: E402


def printing(text, code=0):
    """A command that prints `text` and exits with `code`."""
    return [sys.executable, "-c", f"import sys; sys.stdout.write({text!r}); sys.exit({code})"]


class CollectorTest(unittest.TestCase):
    def collect(self, *lines):
        collector = results.Collector()
        for line in lines:
            collector.add_line(line + "\n")
        return collector

    def test_figures_take_the_workload_before_them_and_their_samples(self):
        collector = self.collect("WORKLOAD smollm2, 2 threads", "SAMPLE a.b 1.5", "SAMPLE a.b 2",
                                 "noise RESULT x.y 1 s", "RESULT a.b 1.75 ms",
                                 "RESULT ops.Q4_K.m-1 2 GB/s",
                                 "WORKLOAD other", "RESULT a.c 3 us")
        self.assertEqual(collector.errors, [])
        self.assertEqual(collector.finished(), {
            "a.b": {"value": 1.75, "unit": "ms", "workload": "smollm2, 2 threads",
                    "samples": [1.5, 2.0]},
            "ops.Q4_K.m-1": {"value": 2.0, "unit": "GB/s", "workload": "smollm2, 2 threads",
                             "samples": []},
            "a.c": {"value": 3.0, "unit": "us", "workload": "other", "samples": []}})

    def test_the_number_that_ctest_puts_first_is_ignored(self):
        self.assertIn("a.b", self.collect("17: RESULT a.b 1 ms").finished())

    def test_malformed_lines_are_errors_and_no_figures(self):
        bad = ["RESULT", "RESULT a.b 1", "RESULT a.b one ms", "RESULT a.b nan ms",
               "RESULT a.b inf ms", "RESULT nodot 1 ms", "RESULT a..b 1 ms", "RESULT a/b.c 1 ms",
               "SAMPLE a.b",
               "RESULT a.b 1 ms extra", "SAMPLE a.b x"]
        collector = self.collect(*bad)
        self.assertEqual(collector.errors, bad)
        self.assertEqual(collector.finished(), {})

    def test_the_last_of_two_equal_keys_counts(self):
        self.assertEqual(self.collect("RESULT a.b 1 ms", "RESULT a.b 2 ms")
                         .finished()["a.b"]["value"], 2.0)


class RunTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name) / "results"
        self.out = io.StringIO()
        patch = mock.patch("sys.stderr", new_callable=io.StringIO)
        self.stderr = patch.start()
        self.addCleanup(patch.stop)

    def run_command(self, command, verb="bench"):
        return results.run(verb, command, self.dir, self.out)

    def stored(self, verb="bench"):
        return json.loads((self.dir / f"{verb}.json").read_text(encoding="utf-8"))

    def test_output_passes_through_and_figures_say_where_they_come_from(self):
        text = "hello\nWORKLOAD w\nRESULT a.b 1.5 ms\n"
        self.assertEqual(self.run_command(printing(text)), 0)
        self.assertEqual(self.out.getvalue(), text)
        stored = self.stored()
        figure = stored["figures"]["a.b"]
        self.assertEqual(stored["verb"], "bench")
        self.assertEqual((figure["value"], figure["unit"], figure["workload"]), (1.5, "ms", "w"))
        self.assertEqual(figure["exit_code"], 0)
        self.assertIn(Path(sys.executable).name, figure["command"])
        self.assertEqual(figure["cpu"], results.cpu_name())
        self.assertEqual(figure["commit"], results.commit_name())

    def test_a_second_run_adds_and_replaces(self):
        self.run_command(printing("RESULT a.b 1 ms\nRESULT a.c 1 ms\n"))
        self.run_command(printing("RESULT a.c 2 ms\nRESULT a.d 3 ms\n"))
        values = {key: figure["value"] for key, figure in self.stored()["figures"].items()}
        self.assertEqual(values, {"a.b": 1.0, "a.c": 2.0, "a.d": 3.0})

    def test_the_exit_code_is_the_commands_and_is_kept_with_the_figure(self):
        self.assertEqual(self.run_command(printing("RESULT a.b 1 ms\n", code=3)), 3)
        self.assertEqual(self.stored()["figures"]["a.b"]["exit_code"], 3)

    def test_death_by_a_signal_counts_as_shells_count_it(self):
        command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
        self.assertEqual(self.run_command(command), 137)
        self.assertFalse(self.dir.exists())

    def test_a_malformed_line_fails_a_run_that_succeeded(self):
        self.assertEqual(self.run_command(printing("RESULT a.b fast ms\n")), 1)
        self.assertIn("RESULT a.b fast ms", self.stderr.getvalue())

    def test_a_command_that_is_not_there_says_so(self):
        self.assertEqual(self.run_command(["/no/such/program"]), 127)
        self.assertIn("/no/such/program", self.stderr.getvalue())

    def test_a_broken_file_is_replaced(self):
        self.dir.mkdir()
        (self.dir / "bench.json").write_text("{", encoding="utf-8")
        self.run_command(printing("RESULT a.b 1 ms\n"))
        self.assertEqual(list(self.stored()["figures"]), ["a.b"])


class ShowTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)
        self.bars = self.dir / "figures.tsv"
        self.bars.write_text("# head\na.low\tbench\t<= 2\tms\tmake bench\tlow is good\n"
                             "a.high\tpeer\t>= 0.9\tratio\tmake peer\thigh is good\n",
                             encoding="utf-8")

    def keep(self, verb, **figures):
        origin = {"commit": "0123456789abcdef", "cpu": "a cpu", "exit_code": 0}
        results.store(verb, {"a." + key: {**origin, **value} for key, value in figures.items()},
                      self.dir)

    def shown(self, strict=False):
        out = io.StringIO()
        code = results.show(self.dir, self.bars, strict, out)
        rows = {line.split()[0]: line for line in out.getvalue().splitlines()}
        return code, rows

    def test_a_figure_not_measured_is_absent(self):
        code, rows = self.shown(strict=True)
        self.assertEqual(code, 1)
        self.assertRegex(rows["a.low"], r"^a\.low +- +<= 2 +ms +absent +- +make bench$")

    def test_met_and_missed_in_both_directions(self):
        self.keep("bench", low={"value": 2.0, "unit": "ms"})
        self.keep("peer", high={"value": 0.89, "unit": "ratio"})
        code, rows = self.shown(strict=True)
        self.assertEqual(code, 1)
        self.assertRegex(rows["a.low"], r" 2 +<= 2 +ms +met +0123456789 ")
        self.assertRegex(rows["a.high"], r" 0\.89 +>= 0\.9 +ratio +MISSED ")
        self.keep("peer", high={"value": 0.9, "unit": "ratio"})
        self.assertEqual(self.shown(strict=True)[0], 0)

    def test_other_units_and_failed_runs_do_not_meet_a_bar(self):
        self.keep("bench", low={"value": 1.0, "unit": "s"})
        self.keep("peer", high={"value": 1.0, "unit": "ratio", "exit_code": 7})
        code, rows = self.shown(strict=True)
        self.assertEqual(code, 1)
        self.assertIn("unit is s, not ms", rows["a.low"])
        self.assertIn("run failed (7)", rows["a.high"])

    def test_a_figure_of_another_verb_does_not_count_and_is_shown_without_bar(self):
        self.keep("peer", low={"value": 1.0, "unit": "ms"})
        out = io.StringIO()
        results.show(self.dir, self.bars, False, out)
        self.assertRegex(out.getvalue(), r"a\.low +- +<= 2 +ms +absent")
        self.assertRegex(out.getvalue(), r"a\.low +1 +- +ms +no bar")

    def test_broken_tables_are_refused_with_their_line(self):
        for text in ("a.b\tbench\t<= 1\tms\n", "a.b\tbench\t< 1\tms\tc\tw\n",
                     "a.b\tv\t<= 1\tms\tc\tw\na.b\tv\t<= 1\tms\tc\tw\n"):
            self.bars.write_text(text, encoding="utf-8")
            with self.assertRaisesRegex(ValueError, r"figures\.tsv:\d+: "):
                results.read_bars(self.bars)

    def test_the_projects_own_table_is_sound(self):
        rows = results.read_bars()
        self.assertGreaterEqual(len(rows), 19)
        self.assertTrue(all(row["command"].startswith("make ") for row in rows))


class CommandLineTest(unittest.TestCase):
    def test_a_bad_verb_is_a_usage_error(self):
        done = subprocess.run([sys.executable, results.__file__, "run", "../x", "--", "true"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, results.EXIT_USAGE)
        self.assertIn("not a verb", done.stderr)


if __name__ == "__main__":
    unittest.main()
