# The memory that a server has together with its filter: a control group, as on a small machine, where the kernel ends
# what asks for more. Without such groups each process has a limit of its own, and is refused what is over it.

BOX=

make_box() {
  local own
  own=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
  BOX=/sys/fs/cgroup/memory${own%/}/basin-rivals.$$
  if ! { [ -n "$own" ] && mkdir "$BOX" && echo "$((MEMORY_MIB << 20))" >"$BOX/memory.limit_in_bytes"; } 2>/dev/null; then BOX=; fi
}
about_box() {
  if [ -n "$BOX" ]; then echo "Memory: $MEMORY_MIB MiB for server and filter together, in a control group"; else echo "Memory: $MEMORY_MIB MiB of data for each process"; fi
}

# tree_of PID...: these processes and all below them.
tree_of() {
  ps -e -o pid= -o ppid= | awk -v roots="$*" '
    { parent[$1] = $2 }
    END {
      count = split(roots, list, " ")
      for (i = 1; i <= count; i++) if (list[i] in parent) wanted[list[i]] = 1
      do { more = 0; for (pid in parent) if (!(pid in wanted) && parent[pid] in wanted) { wanted[pid] = 1; more = 1 } } while (more)
      for (pid in wanted) print pid
    }'
}

# boxed PID...: them and all below them, from now on.
boxed() {
  local pid
  for pid in $(tree_of "$@"); do
    if [ -n "$BOX" ]; then echo "$pid" >"$BOX/cgroup.procs"; else prlimit --pid "$pid" --data="$((MEMORY_MIB << 20))"; fi 2>/dev/null
  done
}

# What a case left behind, also where its parent is gone.
empty_box() {
  local pid
  [ -n "$BOX" ] || return 0
  while read -r pid; do kill -9 "$pid"; done <"$BOX/cgroup.procs" 2>/dev/null
}
drop_box() {
  empty_box
  [ -z "$BOX" ] || await 5 rmdir "$BOX" 2>/dev/null
}
