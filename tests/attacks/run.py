"""Try every attack of ``attacks.toml``, and say of each whether it is held off.

    python -m tests.attacks.run [KIND ...]

All tests that stand for attacks run once, in one process. An attack is held off where all of its
tests passed, broken where one failed or is not there, and not run where a test was skipped.
"""

import argparse
import sys
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("attacks.toml")
HELD, BROKEN, NOT_RUN = "held", "BROKEN", "not run"


@dataclass(frozen=True)
class Attack:
    """One of the file.

    Attributes:
        kind: what it is about.
        title: what is tried.
        expected: what happens then.
        tests: node ids of pytest, from the repository's root, that try it.
    """

    kind: str
    title: str
    expected: str
    tests: tuple[str, ...]


def read_attacks() -> list[Attack]:
    """All of them, in the order of the file."""
    data = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return [
        Attack(kind, one["title"], one["expected"], tuple(one["tests"]))
        for kind, attacks in data.items()
        for one in attacks
    ]


class Outcomes:
    """A plugin of pytest that keeps how each test ended, by its node id without parameters."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("[")[0]
        if report.failed:
            self.failed.setdefault(name, _last_line(report))
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
            self.skipped.setdefault(name, str(reason).removeprefix("Skipped: "))
        elif report.when == "call":
            self.ran[name] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.setdefault(report.nodeid, _last_line(report))
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.skipped.setdefault(report.nodeid, report.longrepr[2].removeprefix("Skipped: "))

    def verdict(self, attack: Attack) -> tuple[str, str]:
        """One of :data:`HELD`, :data:`BROKEN` and :data:`NOT_RUN`, and why it is not the first."""
        missing = ""
        for test in attack.tests:
            names = (test, test.partition("::")[0])
            for name in names:
                if name in self.failed:
                    return BROKEN, f"{test}: {self.failed[name]}"
            why = next((self.skipped[name] for name in names if name in self.skipped), None)
            if not self.ran[test] and why is None:
                return BROKEN, f"{test}: there is no such test"
            if not self.ran[test]:
                missing = missing or f"{test}: {why}"
        return (NOT_RUN, missing) if missing else (HELD, "")


def _last_line(report: pytest.TestReport | pytest.CollectReport) -> str:
    lines = [line for line in str(report.longrepr).splitlines() if line.strip()]
    return lines[-1][:200] if lines else "failed"


def run(attacks: list[Attack]) -> Outcomes:
    """Run what tries these attacks, each test once, however many attacks it is for."""
    tests = list(dict.fromkeys(test for attack in attacks for test in attack.tests))
    outcomes = Outcomes()
    quiet = ["-q", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-W", "ignore"]
    pytest.main([*quiet, "--rootdir", str(ROOT), *tests], plugins=[outcomes])
    return outcomes


def main() -> int:
    """Exit status 1 if an attack is not held off."""
    known = list(dict.fromkeys(attack.kind for attack in read_attacks()))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(known))
    asked = parser.parse_args().kinds
    unknown = sorted(set(asked) - set(known))
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(known)}")
    attacks = [attack for attack in read_attacks() if not asked or attack.kind in asked]
    outcomes = run(attacks)
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    print()
    for attack in attacks:
        verdict, why = outcomes.verdict(attack)
        totals[attack.kind][verdict] += 1
        print(f"{verdict:8} {attack.kind}: {attack.title}" + (f" ({why})" if why else ""))
    print()
    for kind, counts in totals.items():
        print(f"{kind:14} {_told(counts)}")
    every = sum(totals.values(), Counter())
    print(f"{every.total()} attacks, {sum(outcomes.ran.values())} tests: {_told(every)}")
    return 1 if every[BROKEN] else 0


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[word]} {word}" for word in (HELD, BROKEN, NOT_RUN) if counts[word])


if __name__ == "__main__":
    sys.exit(main())
