"""What processes of a server and of its filter cost and whether they live, read from /proc a few times a second."""

import os
import threading
import time

LOOK_SECONDS = 0.1
MIB = 1 << 20


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def stat(pid):
    """State, parent and ticks of a process, or nothing."""
    words = read(f"/proc/{pid}/stat").rpartition(") ")[2].split()
    return (words[0], int(words[1]), int(words[11]) + int(words[12])) if len(words) > 12 else None


def is_alive(pid):
    found = stat(pid)
    return found is not None and found[0] not in "ZX"


def own_octets(pid):
    """Memory of a process; what it shares with others counts in proportion."""
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class Processes:
    """The tree of processes below the server, told apart from that of the filter where it is a process of its own."""

    def __init__(self, server, filter_pid, filter_name, has_worker, box):
        self.server, self.filter_name, self.box = server, filter_name, box
        self.roots = [pid for pid in (server, filter_pid) if pid]
        self.filters = {filter_pid} if filter_pid else set()
        self.ticks = {}
        self.peaks = {"server": 0, "filter": 0}
        self.killed = self.kills()
        self.ended = threading.Event()
        self.look()
        self.worker = next(iter(self.children().get(server, [])), None) if has_worker else None
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while not self.ended.wait(LOOK_SECONDS):
            self.look()

    @staticmethod
    def children():
        """The processes below each process."""
        children = {}
        for name in os.listdir("/proc"):
            found = stat(name) if name.isdigit() else None
            if found:
                children.setdefault(found[1], []).append(int(name))
        return children

    def tree(self):
        """Every process below the roots, its ticks and whether it is the filter's."""
        children = self.children()
        left = [(pid, pid in self.filters) for pid in self.roots]
        while left:
            pid, is_filter = left.pop()
            found = stat(pid)
            if found is None:
                continue
            if self.filter_name and not is_filter and self.filter_name in read(f"/proc/{pid}/cmdline"):
                is_filter = True
                self.filters.add(pid)
            yield pid, found[2], is_filter
            left += [(child, is_filter) for child in children.get(pid, [])]

    def look(self):
        now = {"server": 0, "filter": 0}
        for pid, ticks, is_filter in self.tree():
            now["filter" if is_filter else "server"] += own_octets(pid)
            self.ticks[pid] = ticks
        for part, octets in now.items():
            self.peaks[part] = max(self.peaks[part], octets)

    def peak(self):
        """MiB, the most that was seen."""
        return {part: octets / MIB for part, octets in self.peaks.items()}

    def cpu_seconds(self):
        """Processor time of all processes that were seen, also of those that have ended."""
        self.look()
        return sum(self.ticks.values()) / os.sysconf("SC_CLK_TCK")

    def lived(self):
        """Whether the server, its worker and the filter that there were at the beginning are still there."""
        filters = [is_alive(pid) for pid in list(self.filters)]
        return {
            "server": is_alive(self.server),
            "worker": is_alive(self.worker) if self.worker else None,
            "filter": all(filters) if filters else None,
        }

    def kills(self):
        for line in read(f"{self.box}/memory.oom_control").splitlines() if self.box else []:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def killed_for_memory(self):
        """How many processes of the box the kernel has ended because its memory was used up."""
        return self.kills() - self.killed

    def end(self):
        self.ended.set()
        time.sleep(LOOK_SECONDS)
