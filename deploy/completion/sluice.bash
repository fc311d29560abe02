# bash completion for sluice: subcommands, admin commands and their arguments;
# the names of services, upstreams and endpoints come from the running daemon.

# The first columns of a table of the daemon's, joined by slashes; nothing when none answers
# within SLUICE_COMPLETION_SECONDS (1).
_sluice_names() { # TABLE COLUMNS
  timeout "${SLUICE_COMPLETION_SECONDS:-1}" "$program" ctl ${socket:+-s "$socket"} show "$1" 2>/dev/null | awk -v columns="$2" '
    NR > 1 && NF { name = $1; for (i = 2; i <= columns; i++) name = name "/" $i; print name }'
}

_sluice_each() { printf '%s\n' "$@"; }

# What may follow these words of an admin command, each in a line. The other two
# shells have the same table.
_sluice_ctl() {
  case "$#:$*" in
    0:) _sluice_each show set rollout trip reset freeze maintenance measure reload check drain shutdown wait help ;;
    1:show) _sluice_each info services split upstreams endpoints caps config certs latency histogram slo sessions \
      events log trip rollout ;;
    2:show\ split | 2:show\ upstreams | 2:show\ endpoints | 2:show\ slo | 2:show\ trip | 2:show\ rollout)
      _sluice_names services 1 ;;
    2:show\ latency) _sluice_names services 1 && _sluice_names upstreams 2 && _sluice_names endpoints 3 ;;
    2:show\ histogram) _sluice_names upstreams 2 && _sluice_names endpoints 3 ;;
    1:measure) _sluice_names upstreams 2 ;;
    3:show\ histogram\ *) _sluice_each request upstream connect first-byte queue ;;
    2:show\ events) _sluice_each -w ;;
    1:set) _sluice_each weight maxconn endpoint ;;
    2:set\ weight) _sluice_names services 1 ;;
    3:set\ weight\ *) _sluice_each green= ;;
    4:set\ weight\ *) _sluice_each if-gen ;;
    2:set\ maxconn) _sluice_names upstreams 2 ;;
    2:set\ endpoint) _sluice_names endpoints 3 ;;
    3:set\ endpoint\ *) _sluice_each ready drain maint ;;
    1:rollout) _sluice_each start pause resume promote abort retry status report ;;
    2:rollout\ *) _sluice_names services 1 ;;
    3:rollout\ start\ * | 4:rollout\ start\ *) _sluice_each steps= hold= ;;
    3:rollout\ promote\ *) _sluice_each --full ;;
    3:rollout\ status\ *) _sluice_each -w ;;
    1:trip | 1:reset | 1:maintenance) _sluice_names services 1 ;;
    2:maintenance\ * | 2:measure\ * | 1:freeze) _sluice_each on off ;;
    1:check) compgen -f -- "$current" ;;
    2:wait\ *) _sluice_each ready rollout-done split tripped ;;
    3:wait\ *\ rollout-done | 3:wait\ *\ split | 3:wait\ *\ tripped) _sluice_names services 1 ;;
    4:wait\ *\ split\ *) _sluice_each green= ;;
    1:help) _sluice_ctl ;;
    2:help\ show | 2:help\ set | 2:help\ rollout) _sluice_ctl "$2" ;;
  esac
}

# What may stand at the end of the line.
_sluice_offers() {
  local command=() i
  case $previous in
    -s | --socket | -c | --config) compgen -f -- "$current" && return ;;
  esac
  if ((${#words[@]} == 2)); then
    _sluice_each run check ctl top demo version --help --version
    return
  fi
  case ${words[1]} in
    run) _sluice_each -c --config ;;
    check) _sluice_each --json && compgen -f -- "$current" ;;
    version) _sluice_each --json ;;
    top) _sluice_each -s --socket ;;
    demo) _sluice_each --fast ;;
    ctl)
      for ((i = 2; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
          -s | --socket) ((i++)) ;;
          --json) ;;
          *) command+=("${words[i]}") ;;
        esac
      done
      _sluice_ctl "${command[@]}"
      ((${#command[@]})) || _sluice_each -s --socket --json
      ;;
  esac
}

_sluice() {
  # The words as sluice will see them: bash's own are also cut at colons and equal
  # signs, which addresses and arguments have.
  local line=${COMP_LINE:0:COMP_POINT} words i
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  local current=${words[-1]} previous=${words[-2]} program=${words[0]} socket=${SLUICE_SOCKET:-}
  for ((i = 2; i < ${#words[@]} - 1; i++)); do
    case ${words[i]} in -s | --socket) socket=${words[i + 1]} ;; esac
  done
  # bash has what is before the last such sign already.
  local one before=${current%"${current##*[:=]}"}
  COMPREPLY=()
  while read -r one; do
    [[ $one == "$current"* ]] && COMPREPLY+=("${one#"$before"}")
  done < <(_sluice_offers)
  if [[ ${COMPREPLY[*]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}

complete -F _sluice sluice
