#!/usr/bin/env python3
"""Runs a command and looks, as root, at the memory of the workers that it starts meanwhile.

Each page of a segment that two workers have in their page tables must be the same page frame in both
(/proc/PID/pagemap): then nobody has copied it. Ends as the command does, or with 1 if frames differ or no page
was ever seen in two workers. Usage: page_frames.py COMMAND [ARGUMENT ...]
"""
import array, collections, os, re, subprocess, sys, time

PAGE = 4096
PRESENT = 1 << 63
FRAME = (1 << 55) - 1
MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ (\d+) +/memfd:cwasi-segment")


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def segments(pid):
    """File page to frame, by the segment's inode, of all pages in the page tables."""
    found = collections.defaultdict(dict)
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
            for line in maps:
                match = MAPPING.match(line)
                if not match or match[3][3] != "s":
                    continue
                start, end, offset = (int(match[i], 16) for i in (1, 2, 4))
                entries = array.array("Q", os.pread(pagemap.fileno(), (end - start) // PAGE * 8, start // PAGE * 8))
                pages = found[match[5]]
                for i, entry in enumerate(entries):
                    if entry & PRESENT:
                        pages[offset // PAGE + i] = entry & FRAME
    except OSError:
        pass  # It has ended.
    return found


def main():
    command = subprocess.Popen(sys.argv[1:])
    if os.geteuid() != 0:
        print("page frames: only root may look")
        return command.wait()
    equal, different, shared = 0, 0, set()
    while command.poll() is None:
        workers = [worker for zygote in children(command.pid) for worker in children(zygote)]
        seen = [segments(worker) for worker in workers]
        for i, first in enumerate(seen):
            for second in seen[i + 1:]:
                for inode in first.keys() & second.keys():
                    for page in first[inode].keys() & second[inode].keys():
                        if first[inode][page] == second[inode][page]:
                            equal += 1
                            shared.add((inode, page))
                        else:
                            different += 1
        time.sleep(0.05)
    print(f"page frames: {len(shared)} pages of segments were seen in two workers, "
          f"{equal} times the same frame in both, {different} times another")
    return command.returncode or int(different != 0 or not shared)


sys.exit(main())
