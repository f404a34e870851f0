"""What the processor packages use, where the machine tells: RAPL, by Linux' powercap.

It counts whole packages: every core, whoever uses it, idle ones too.
"""

from pathlib import Path

_DOMAINS = Path("/sys/class/powercap")

Counters = dict[str, tuple[int, int]]  # by package: microjoules, and where they start again at 0


def read_counters(domains: Path = _DOMAINS) -> Counters:
    """Now; empty where there is no counter or it may not be read."""
    found: Counters = {}
    for package in sorted(domains.glob("intel-rapl:*")):  # AMD's stand under this name too
        if package.name.count(":") > 1:
            continue  # a part of a package: counted in it
        try:
            now = int((package / "energy_uj").read_text())
            most = int((package / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            return {}
        found[package.name] = (now, most)
    return found


def joules(before: Counters, after: Counters) -> float | None:
    """Spent between two readings; None where nothing was read."""
    if not before or before.keys() != after.keys():
        return None
    microjoules = 0
    for name, (now, most) in after.items():
        spent = now - before[name][0]
        microjoules += spent if spent >= 0 else spent + most  # it has started again
    return microjoules / 1e6
