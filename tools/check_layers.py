#!/usr/bin/env python3
"""Fails when a file includes a layer it may not depend on.

The table is the architecture, lowest layer first: a layer may include itself and the layers listed
for it, nothing else, and it may list only layers above it in this table. Keep it in step with DEPS
in src/*/CMakeLists.txt.
"""
import pathlib, re, sys

ALLOWED = {
    "base": [],
    "os": ["base"],
    "loop": ["base", "os"],
    "oci": ["base"],
    "buf": ["base", "os"],
    "ipc": ["base", "os", "loop", "buf"],
    "broker": ["base", "os", "loop"],
    "ttrpc": ["base", "os", "loop"],
    "wasm": ["base", "os"],
    "wasi": ["base", "os", "wasm"],
    "sandbox": ["base", "os", "oci"],
    "worker": ["base", "os", "buf", "ipc", "wasm", "wasi", "sandbox"],
    "host": ["base", "os", "loop", "ipc", "sandbox"],
    "workflow": ["base", "os", "loop", "buf", "ipc", "host"],
    "task": ["base", "os", "loop", "oci", "ipc", "sandbox", "host"],
    "shim": ["base", "os", "loop", "oci", "ipc", "sandbox", "ttrpc", "host", "task"],
    "node": ["base", "os", "loop", "buf", "ipc", "broker", "host", "workflow"],
    "bench": ["base", "os", "loop", "oci", "buf", "ipc", "broker", "ttrpc", "wasm", "wasi", "sandbox",
              "worker", "host", "workflow"],
    # Programs: flags and wiring only. The directory name under apps/, dashes and all.
    "containerd-shim-cwasi-v1": ["base", "os", "loop", "shim"],
    "cwasi-host": ["base", "os", "worker"],
    "cwasi": ["base", "os", "loop", "ipc", "wasm", "sandbox", "host", "workflow", "node", "bench"],
}
# Third-party headers that may be seen from one folder only.
CONFINED = {re.compile(r"(wasm|wasi|wasmtime)\.hh?$|wasmtime/"): "src/wasm/wasmtime/"}

top = pathlib.Path(__file__).resolve().parent.parent
bad = []
names = list(ALLOWED)
for layer, below in ALLOWED.items():
    bad += [f"table: {layer} may not list {b}" for b in below if b not in names[: names.index(layer)]]
for folder in ("src", "apps"):
    for path in sorted((top / folder).rglob("*.[hc]*")):
        layer = path.relative_to(top / folder).parts[0]
        where = path.relative_to(top).as_posix()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*["<]([^">]+)[">]', line)
            if not match:
                continue
            other = match[1].split("/")[0]
            if match[1].startswith("test/support/") and path.name.endswith("_test.cc"):
                continue
            if '"' in line and "/" in match[1] and other != layer and other not in ALLOWED.get(layer, []):
                bad.append(f"{where}:{number}: {layer} may not include {other}")
            for pattern, home in CONFINED.items():
                if "<" in line and pattern.match(match[1]) and not where.startswith(home):
                    bad.append(f"{where}:{number}: <{match[1]}> belongs in {home}")
print("\n".join(bad) if bad else "layers: ok")
sys.exit(bool(bad))
