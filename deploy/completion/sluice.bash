# bash completion for sluice: subcommands, admin commands, and from the running
# daemon the names of its services.

# The admin socket on this line, or in the environment.
_sluice_socket() {
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in -s | --socket) printf '%s' "${COMP_WORDS[i + 1]}" && return ;; esac
  done
  printf '%s' "${SLUICE_SOCKET:-}"
}

# Each service in a line; nothing when no daemon answers.
_sluice_services() {
  local socket
  socket=$(_sluice_socket)
  timeout 1 "${COMP_WORDS[0]}" ctl ${socket:+-s "$socket"} show services 2>/dev/null | awk 'NR > 1 && NF { print $1 }'
}

_sluice_ctl() {
  local words
  case "$*" in
    '') words='show set rollout trip reset freeze maintenance reload check drain shutdown wait help --json --socket' ;;
    show) words='info services split upstreams endpoints caps config latency histogram sessions events trip rollout' ;;
    set) words='weight maxconn endpoint' ;;
    rollout) words='start pause resume promote abort retry status report' ;;
    freeze) words='on off' ;;
    'maintenance '?*) words='on off' ;;
    'set endpoint '?*) words='ready drain maint' ;;
    'set weight '?*) words='green= if-gen' ;;
    wait\ *) case "$*" in
      *' rollout-done' | *' tripped' | *' split') words=$(_sluice_services) ;;
      *) words='ready rollout-done tripped split' ;;
    esac ;;
    'set weight' | trip | reset | maintenance | rollout\ * | show\ *) words=$(_sluice_services) ;;
    'set maxconn') words=$(_sluice_services | sed 's#.*#&/blue &/green#') ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "${words:-}" -- "$current")
}

_sluice() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} i
  COMPREPLY=()
  case $previous in
    -s | --socket | -c | --config) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
  esac
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W 'run check ctl top demo version --help' -- "$current")
    return
  fi
  case ${COMP_WORDS[1]} in
    check) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    run) mapfile -t COMPREPLY < <(compgen -W '--config' -- "$current") ;;
    ctl)
      local command=()
      for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
          -s | --socket) ((i++)) ;;
          --json) ;;
          *) command+=("${COMP_WORDS[i]}") ;;
        esac
      done
      _sluice_ctl "${command[@]}"
      ;;
  esac
}

complete -F _sluice sluice
