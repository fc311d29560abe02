# fish completion for sluice; the names of services come from the running daemon.
function __sluice_services
    timeout 1 sluice ctl show services 2>/dev/null | awk 'NR > 1 && NF { print $1 }'
end

complete -c sluice -f
complete -c sluice -n __fish_use_subcommand -a 'run check ctl top demo version'
complete -c sluice -n '__fish_seen_subcommand_from run' -s c -l config -r -F
complete -c sluice -n '__fish_seen_subcommand_from check' -F
complete -c sluice -n '__fish_seen_subcommand_from ctl' -s s -l socket -r -F
complete -c sluice -n '__fish_seen_subcommand_from ctl' -l json
set -l verbs show set rollout trip reset freeze maintenance reload check drain shutdown wait help
complete -c sluice -n "__fish_seen_subcommand_from ctl; and not __fish_seen_subcommand_from $verbs" -a "$verbs"
complete -c sluice -n '__fish_seen_subcommand_from show' -a 'info services split upstreams endpoints caps config latency histogram sessions events trip rollout'
complete -c sluice -n '__fish_seen_subcommand_from set' -a 'weight maxconn endpoint'
complete -c sluice -n '__fish_seen_subcommand_from rollout' -a 'start pause resume promote abort retry status report'
complete -c sluice -n '__fish_seen_subcommand_from show weight rollout trip reset maintenance rollout-done tripped split' -a '(__sluice_services)'
complete -c sluice -n '__fish_seen_subcommand_from wait' -a 'ready rollout-done tripped split'
