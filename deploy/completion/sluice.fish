# fish completion for sluice: subcommands, admin commands and their arguments;
# the names of services, upstreams and endpoints come from the running daemon.

# The words before the one that is completed, without ctl and its options; the
# socket that they name goes to the variable `socket`.
function __sluice_command
    set -l words (commandline -opc)
    set -g __sluice_program $words[1]
    set -g __sluice_socket
    set -e words[1..2]
    while set -q words[1]
        switch $words[1]
            case -s --socket
                set -g __sluice_socket -s $words[2]
                set -e words[1]
            case --json
            case '*'
                echo -- $words[1]
        end
        set -e words[1]
    end
end

# The first columns of a table of the daemon's, joined by slashes; nothing when none answers
# within SLUICE_COMPLETION_SECONDS (1).
function __sluice_names # TABLE COLUMNS
    set -l seconds $SLUICE_COMPLETION_SECONDS
    test -n "$seconds"; or set seconds 1
    timeout $seconds $__sluice_program ctl $__sluice_socket show $argv[1] 2>/dev/null | awk -v columns=$argv[2] '
        NR > 1 && NF { name = $1; for (i = 2; i <= columns; i++) name = name "/" $i; print name }'
end

# What may follow these words of an admin command, each in a line. The other two
# shells have the same table.
function __sluice_after
    switch (count $argv):"$argv"
        case 0:
            printf '%s\n' show set rollout trip reset freeze maintenance measure reload check drain shutdown wait help
        case 1:show
            printf '%s\n' info services split upstreams endpoints caps config certs latency histogram slo sessions \
                events log trip rollout
        case '2:show split' '2:show upstreams' '2:show endpoints' '2:show slo' '2:show trip' '2:show rollout'
            __sluice_names services 1
        case '2:show latency'
            __sluice_names services 1
            __sluice_names upstreams 2
            __sluice_names endpoints 3
        case '2:show histogram'
            __sluice_names upstreams 2
            __sluice_names endpoints 3
        case 1:measure
            __sluice_names upstreams 2
        case '3:show histogram *'
            printf '%s\n' request upstream connect first-byte queue
        case '2:show events'
            echo -- -w
        case 1:set
            printf '%s\n' weight maxconn endpoint
        case '2:set weight'
            __sluice_names services 1
        case '3:set weight *'
            echo green=
        case '4:set weight *'
            echo if-gen
        case '2:set maxconn'
            __sluice_names upstreams 2
        case '2:set endpoint'
            __sluice_names endpoints 3
        case '3:set endpoint *'
            printf '%s\n' ready drain maint
        case 1:rollout
            printf '%s\n' start pause resume promote abort retry status report
        case '2:rollout *'
            __sluice_names services 1
        case '3:rollout start *' '4:rollout start *'
            printf '%s\n' steps= hold=
        case '3:rollout promote *'
            echo -- --full
        case '3:rollout status *'
            echo -- -w
        case 1:trip 1:reset 1:maintenance
            __sluice_names services 1
        case '2:maintenance *' '2:measure *' 1:freeze
            printf '%s\n' on off
        case 1:check
            __fish_complete_path (commandline -ct)
        case '2:wait *'
            printf '%s\n' ready rollout-done split tripped
        case '3:wait * rollout-done' '3:wait * split' '3:wait * tripped'
            __sluice_names services 1
        case '4:wait * split *'
            echo green=
        case 1:help
            __sluice_after
        case '2:help show' '2:help set' '2:help rollout'
            __sluice_after $argv[2]
    end
end

complete -c sluice -f
complete -c sluice -n __fish_use_subcommand -a 'run check ctl top demo version'
complete -c sluice -n __fish_use_subcommand -l help
complete -c sluice -n __fish_use_subcommand -l version
complete -c sluice -n '__fish_seen_subcommand_from run' -s c -l config -r -F
complete -c sluice -n '__fish_seen_subcommand_from check' -F
complete -c sluice -n '__fish_seen_subcommand_from check version; and not __fish_seen_subcommand_from ctl' -l json
complete -c sluice -n '__fish_seen_subcommand_from demo' -l fast
complete -c sluice -n '__fish_seen_subcommand_from ctl top' -s s -l socket -r -F
complete -c sluice -n '__fish_seen_subcommand_from ctl; and not count (__sluice_command) >/dev/null' -l json
complete -c sluice -n '__fish_seen_subcommand_from ctl' -a '(__sluice_after (__sluice_command))'
