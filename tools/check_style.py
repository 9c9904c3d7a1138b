#!/usr/bin/env python3
"""Fails on what the house does not allow and a compiler cannot see.

First-party sources carry an SPDX line and stay under 800 lines unless the head comment says why; a TODO
has a type and an issue; links and paths in documents lead somewhere; nothing names a machine's folder.
"""
import pathlib, re, subprocess, sys

top = pathlib.Path(__file__).resolve().parent.parent
names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=top, check=True,
                       capture_output=True, text=True).stdout.split("\n")
files = [n for n in names if n and not n.startswith("third_party/") and (top / n).is_file()]
bad = []

TODO_TYPES = "soon|someday|perf|cleanup|test"
for name in files:
    path = top / name
    if path.suffix not in {".h", ".cc", ".c", ".hpp", ".py", ".sh", ".md", ".cmake", ".txt", ".yaml", ""}:
        continue
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        continue
    lines = text.splitlines()
    if path.suffix in {".h", ".cc", ".c", ".hpp"}:
        if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:3]):
            bad.append(f"{name}:1: no SPDX line")
        if len(lines) > 800 and "lines because" not in "\n".join(lines[:20]):
            bad.append(f"{name}: {len(lines)} lines; split it or say why in the head comment ('... lines because ...')")
    for number, line in enumerate(lines, 1):
        if name == "tools/check_style.py":
            continue
        if re.search(r"\bTODO\b", line) and not re.search(rf"TODO\(({TODO_TYPES}), #\d+\)", line):
            bad.append(f"{name}:{number}: a TODO needs a type ({TODO_TYPES}) and an issue: TODO(perf, #12)")
        if re.search(r"\b(FIXME|XXX)\b", line):
            bad.append(f"{name}:{number}: FIXME and XXX are not used here")
    if path.suffix == ".md":
        for number, line in enumerate(lines, 1):
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", line):
                if re.match(r"[a-z]+:", target):
                    continue
                if not (path.parent / target).exists():
                    bad.append(f"{name}:{number}: link to {target}, which is not there")
            for target in re.findall(r"`((?:src|apps|sdk|docs|tools|test|examples|bench|fuzz|third_party)/[\w./-]+)`", line):
                if not (top / target.rstrip("/.")).exists():
                    bad.append(f"{name}:{number}: names {target}, which is not there")
root = {n.split("/")[0] for n in files}
if len(root) > 22:
    bad.append(f"the root has {len(root)} entries: {' '.join(sorted(root))}")
print("\n".join(bad) if bad else f"style: ok ({len(files)} files)")
sys.exit(bool(bad))
