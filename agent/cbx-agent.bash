# SPDX-License-Identifier: MIT
# Completion of cbx-agent's commands and options for bash.

# The peers' ports that the running agent knows, as dial and wait take them; nothing without one.
_cbx_agent_peers() {
    "${COMP_WORDS[0]}" ${state:+--state "$state"} peers 2>/dev/null |
        awk '/^[^ ]/ { name = $1 } # a long list of ports goes on in lines below
            NR > 1 {
                n = split(/^ / ? $1 : $3, port, ",")
                for (i = 1; i <= n; i++)
                    if (port[i] ~ /^[0-9]+$/)
                        print name ":" port[i]
            }'
}

_cbx_agent() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local commands="join run up down leave status peers netcheck wait dial"
    local settings="--config --proxy --proxy-password-file --expose --via --ssh-command --lanes --direct --key-file --passphrase-file
        --receive-budget --send-budget --keepalive --gone --dial-timeout --tcp-keepalive --log-file
        --log-times"
    local command="" options="--state --help" state="" word words="" i

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [[ ${COMP_WORDS[i - 1]} != --state ]] || state=$word
        if [[ " $commands " == *" $word "* && ${COMP_WORDS[i - 1]} != --state ]]; then
            command=$word
            break
        fi
    done
    COMPREPLY=()
    case $previous in
    --state)
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    --config | --key-file | --passphrase-file | --proxy-password-file | --log-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --proxy) words="off 127.0.0.1:1080" ;;
    help) words=$commands ;;
    --lanes) words="auto off require" ;;
    --direct) words="auto off" ;;
    --log-times) words="auto yes no" ;;
    --timeout | --keepalive | --gone | --dial-timeout | --tcp-keepalive) words="5s 30s 60s" ;;
    --expose | --via | --ssh-command | --receive-budget | --send-budget) return ;;
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    case $command in
    "") words="$commands help $options --version" ;;
    join) words="$options --timeout $settings" ;;
    up) words="$options --detach --timeout $settings" ;;
    run) words="$options $settings" ;;
    status) words="$options --json" ;;
    peers) words="$options --streams --json" ;;
    netcheck) words="$options --json --timeout --config --via --ssh-command --lanes --key-file --passphrase-file" ;;
    dial) words="$options $(_cbx_agent_peers)" ;;
    wait) words="$options --timeout $(_cbx_agent_peers)" ;;
    *) words=$options ;;
    esac
    # A token's file is written @FILE; by default bash takes the @ for a word of its own.
    if [[ $command == join || $command == up || $command == netcheck ]]; then
        if [[ $current == @ || $previous == @ ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "${current#@}")
            return
        elif [[ $current == @* ]]; then
            mapfile -t COMPREPLY < <(compgen -P @ -f -- "${current#@}")
            return
        fi
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -o filenames -F _cbx_agent cbx-agent
