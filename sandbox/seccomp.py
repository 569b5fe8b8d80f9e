"""The system calls a sandbox may make: our own allow-list, shipped as `seccomp.json` beside this file.

Promise: what is not on the list fails with EPERM, whatever profile the engine has by default (that of engine 20.10 lets
io_uring and vsock through). The list was written for coding agents: Node, Bun, Python, git, compilers, debuggers,
databases in tests, browsers without their own namespaces. What it leaves out, and why:

- new namespaces (`unshare`, `setns`, `clone` with a namespace flag), mounts in every form, `chroot`, `pivot_root`: the
  ways to a bigger kernel surface. `clone3` hides its flags in memory, where a filter cannot look, so it answers ENOSYS
  and the C library falls back to `clone`.
- `io_uring_*`, `bpf`, `perf_event_open`, `userfaultfd`, `keyctl` and its family, `kexec_*`, modules, fanotify,
  `open_by_handle_at`, `quotactl`, `swapon`, clock setting: not needed inside, and where kernel bugs have been.
- sockets are allowed by family: unix, IPv4, IPv6, and netlink's routing protocol only (it lists interfaces). AF_VSOCK
  speaks to a hypervisor's host and AF_ALG to the kernel's crypto; they and AF_PACKET are refused by being absent.
- 32-bit calls of either architecture: no agent uses them, and `socketcall` would go round the rule above.

`ptrace` and `process_vm_*` are allowed, on kernels from 4.8 (before, a tracer could change a call after the filter had
seen it): agents debug what they build, a process reaches only its own user's processes, and without capabilities not
even those that gained some. `mknod` is allowed because `mkfifo` is made of it; a device needs a capability.
"""

import json
from functools import cache
from importlib.resources import files


@cache
def profile() -> str:
    """Return the profile as one line of JSON, as the engine takes it."""
    return json.dumps(json.loads(files("sandbox").joinpath("seccomp.json").read_text("utf-8")), separators=(",", ":"))
