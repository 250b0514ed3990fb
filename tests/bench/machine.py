"""What figures were found on."""

import os


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    memory_kib = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal")))
    return f"{os.cpu_count()} cores ({model}), {memory_kib / 1048576:.0f} GiB of memory, Linux {os.uname().release}"
