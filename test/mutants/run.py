#!/usr/bin/env python3
"""Breaks the code one line at a time and wants a named test to turn red for it.

For each rule of the payload layer (docs/architecture.md, "Rules") there is at least one mutant here. A mutant
that no test notices means that the rule is not tested. Usage: test/mutants/run.py [NAME ...]; --lines only
looks whether each mutant's line is still there, once.

The tree is copied to build/mutants; nothing here is changed.
"""
import pathlib, subprocess, sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
WORK = TOP / "build" / "mutants"

# name, rule, file, the line as it is, the line broken, test binary, filter
MUTANTS = [
    ("ticker-spins", "1 other threads sleep while a guest runs", "src/worker/deadline_ticker.cc",
     "SleepUntil(deadline, deadline);", "SleepUntil(now + 20'000, deadline);",
     "worker_test", "DeadlineTickerTest.SleepsWhileTheDeadlineIsFar"),
    ("giver-keeps-its-view", "2 windows are restored", "src/buf/segment.cc",
     "if (from != staging_.Base()) {", "if (from == nullptr) {",
     "buf_test", "SegmentTest.ArrivesWithItsBytesAndLeavesZeros"),
    ("unmapped-hole", "2 no moment of an unmapped hole", "src/buf/page_mover.cc",
     "MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,", "MREMAP_MAYMOVE | MREMAP_FIXED,",
     "buf_test", "SegmentTest.NeverLeavesAHoleThatAnotherThreadsMmapCanTake"),
    ("mapping-budget-ignored", "3 refused before the first step", "src/buf/segment.cc",
     "if (!mapping_share.Held())", "if (false)",
     "buf_test", "SegmentBudgetTest.*"),
    ("failure-after-the-first-step-goes-on", "3 a failure after it ends the process", "src/buf/segment.cc",
     "if (auto fresh = MapPrivate(from, CapacityBytes()); !fresh)\n      EndDamagedProcess",
     "if (auto fresh = MapPrivate(from, CapacityBytes()); !fresh && from == nullptr)\n      EndDamagedProcess",
     "buf_test", "SegmentTest.EveryFailingMapping*"),
    ("hole-after-a-failed-move", "3 a failed step leaves no hole", "src/buf/segment.cc",
     "if (auto repaired = MapPrivate(window, CapacityBytes()); !repaired)",
     "if (auto repaired = Result<>(); !repaired)",
     "buf_test", "SegmentTest.EveryFailingMapping*"),
    ("former-bytes", "6 zero: always", "src/buf/segment_pool.cc",
     "if (zero == Zero::kAlways) std::memset(segment->Data(), 0, wanted);", "(void)zero;",
     "buf_test", "SegmentPoolTest.GivesZeros*"),
    ("trapped-instance-reused", "8 the callee's instance is destroyed", "src/worker/function.h",
     "!instance->IsSound() || spec_", "spec_",
     "worker_test", "*HostileGuestTest.ATrapIsReported*"),
    ("former-guests-bytes", "6 nothing of a former guest is in a memory", "src/buf/memory_pool.cc",
     "std::memset(at, 0, bytes);", "(void)bytes;",
     "buf_test", "GuestMemoryTest.GivesItsAddressSpace*"),
    ("former-guests-reach", "2 only pages below memory.size are accessible", "src/buf/memory_pool.cc",
     "if (region.accessible_bytes != 0 && !Reset(region, region.accessible_bytes)) return;",
     "if (region.accessible_bytes == SIZE_MAX && !Reset(region, region.accessible_bytes)) return;",
     "buf_test", "GuestMemoryTest.IsAsSmallAsNew*"),
    ("given-twice", "8 a given buffer is gone", "src/buf/guest_buffers.cc",
     "if (there) Erase(it);", "(void)it;",
     "buf_test", "*GuestBuffersTest.TransferHandsOver*"),
    ("no-memory-limit", "9 memory.grow gives -1 at the limit", "src/buf/guest_memory.cc",
     "own > shape_.limit_bytes", "own == SIZE_MAX",
     "worker_test", "*GrowingForEverStopsAtTheLimit*"),
    ("never-recycled", "10 recycle, never fault in the steady state", "src/buf/segment_pool.cc",
     "if (it->segment->CapacityBytes() != wanted) continue;", "if (it->segment->CapacityBytes() != wanted + 1) continue;",
     "buf_test", "SegmentPoolTest.RecyclesASegmentWithItsPages"),
    ("never-trimmed", "10 pools are trimmed when idle", "src/buf/segment_pool.cc",
     "while (!idle_.empty() && NextTrim() <= now) DropOldest();", "(void)now;",
     "buf_test", "SegmentPoolTest.Trims*"),
    ("inherited-by-a-fork", "10 segments are MADV_DONTFORK", "src/buf/page_mover.cc",
     "::madvise(at, size_bytes, MADV_DONTFORK) != 0 ||", "",
     "buf_test", "SegmentTest.IsNeitherInherited*"),
    ("moved-below-the-crossover", "11 short payloads are copied", "src/buf/payload.h",
     "return bytes >= ability_.crossover_bytes;", "return bytes >= 1;",
     "buf_test", "*PayloadTest.ReadsAndWritesFiles*:*GuestBuffersTest.*Copied"),
    ("kernel-assumed", "11 what the kernel can do is probed", "src/buf/page_mover.cc",
     "if (!ability.support.available) return ability;", "ability.support.available = true;",
     "buf_test", "MoveAbilityTest.*"),
    ("switch-ignored", "11 everything is copied where it must be", "src/buf/payload.cc",
     "if (options.policy == MovePolicy::kCopyAll)", "if (false)",
     "buf_test", "MoveAbilityTest.*"),
    ("deadline-not-restored", "8 a caller goes on after its callee's timeout", "src/worker/worker.cc",
     "if (changed_) ticker_.Set(before_);", "",
     "worker_test", "*AnEndlessLoopTimesOutAndItsCallerGoesOn*"),
]


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, **more)


def copy_tree():
    WORK.mkdir(parents=True, exist_ok=True)
    names = run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, check=True).stdout.split("\n")
    for name in names:
        source, target = TOP / name, WORK / name
        if not name or not source.is_file():
            continue
        text = source.read_bytes()
        if not target.exists() or target.read_bytes() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
            target.chmod(source.stat().st_mode)


def build_and_test(binary, pattern):
    """None if it does not build, else the test's exit code; at least one test must have run."""
    built = run(["cmake", "--build", "--preset", "dev", "--target", binary], cwd=WORK)
    if built.returncode != 0:
        return None, built.stdout[-3000:]
    tested = run([str(WORK / "build/dev/bin" / binary), "--gtest_filter=" + pattern, "--gtest_brief=1"], timeout=300)
    if " 0 tests from" in tested.stdout:
        return None, "no test matches " + pattern
    return tested.returncode, tested.stdout[-3000:] + tested.stderr[-1000:]


def check_lines():
    stale = [f"{name}: {file} has its line {n} times; mend the mutant"
             for name, _, file, old, *_ in MUTANTS if (n := (TOP / file).read_text().count(old)) != 1]
    print("\n".join(stale) if stale else f"mutants: {len(MUTANTS)} lines found")
    sys.exit(bool(stale))


def main():
    wanted = sys.argv[1:]
    if wanted == ["--lines"]:
        check_lines()
    unknown = set(wanted) - {m[0] for m in MUTANTS}
    if unknown:
        sys.exit(f"mutants: no mutant is named {', '.join(sorted(unknown))}")
    chosen = [m for m in MUTANTS if not wanted or m[0] in wanted]
    copy_tree()
    run(["cmake", "--preset", "dev"], cwd=WORK, check=True)
    failed = []
    for binary in sorted({m[5] for m in chosen}):
        pattern = ":".join(sorted({m[6] for m in chosen if m[5] == binary}))
        code, text = build_and_test(binary, pattern)
        if code != 0:
            sys.exit(f"mutants: {binary} is red before anything was broken\n{text}")
    for name, rule, file, old, new, binary, pattern in chosen:
        path = WORK / file
        text = path.read_text()
        if text.count(old) != 1:
            failed.append(name)
            print(f"{name}: {file} has the line {text.count(old)} times; mend the mutant")
            continue
        path.write_text(text.replace(old, new))
        code, output = build_and_test(binary, pattern)
        path.write_text(text)
        if code is None:
            failed.append(name)
            print(f"{name}: does not build\n{output}")
        elif code == 0:
            failed.append(name)
            print(f"{name}: SURVIVED (rule {rule}; {pattern})")
        else:
            print(f"{name}: red, as it should be (rule {rule}; {binary} {pattern})")
        sys.stdout.flush()
    print(f"mutants: {len(chosen) - len(failed)} of {len(chosen)} noticed")
    sys.exit(bool(failed))


main()
