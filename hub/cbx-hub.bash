# SPDX-License-Identifier: MIT
# Completion of cbx-hub's commands and options for bash.

# The first column of a table that the running hub prints; nothing without one.
_cbx_hub_names() {
    "${COMP_WORDS[0]}" ${state:+--state "$state"} "$1" 2>/dev/null | awk -v column="$2" 'NR > 1 { print $column }'
}

_cbx_hub() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local commands="run invite invites uninvite revoke peers status shutdown"
    local command="" options="--state --help" state="" keys="--key-file --passphrase-file" word words="" i

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [[ ${COMP_WORDS[i - 1]} != --state ]] || state=$word
        if [[ " $commands " == *" $word "* && ${COMP_WORDS[i - 1]} != --* ]]; then
            command=$word
            break
        fi
    done
    COMPREPLY=()
    case $previous in
    --state | --keys)
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    --config | --key-file | --passphrase-file | --sshd | --out | --log-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --user)
        mapfile -t COMPREPLY < <(compgen -u -- "$current")
        return
        ;;
    --listen) words="127.0.0.1:7000 0.0.0.0:7000" ;;
    help) words=$commands ;;
    --lanes) words="auto off require" ;;
    --direct) words="auto off" ;;
    --ttl) words="15m 1h 24h" ;;
    --ends) words="1d 7d 30d" ;;
    --keepalive | --gone | --login-grace | --allowance-grace) words="5s 15s 45s" ;;
    --public | --proxy-protocol | --pond | --slug | --expose | --label | --queue-max | --unauthenticated-max | \
        --per-address-max | --login-processes) return ;;
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    case $command in
    "") words="$commands help $options --version" ;;
    run) words="$options $keys --listen --public --proxy-protocol --config --user --as-root --sshd --lanes --direct --queue-max
            --keepalive --gone --login-grace --allowance-grace --unauthenticated-max --per-address-max
            --login-processes --log-file --log-times" ;;
    invite) words="$options $keys --pond --slug --expose --ttl --ends --label --keys --out --replace" ;;
    peers) words="$options --pond --json" ;;
    revoke) words="$options --pond $(_cbx_hub_names peers 2)" ;;
    uninvite) words="$options $(_cbx_hub_names invites 1)" ;;
    invites | status) words="$options --json" ;;
    *) words=$options ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -o filenames -F _cbx_hub cbx-hub
