# SPDX-License-Identifier: MIT
# Completion of cbx-hub's commands and options for bash.

_cbx_hub() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local commands="run invite invites uninvite revoke peers status shutdown"
    local command="" options="--state --help" keys="--key-file --passphrase-file" word words="" i

    if [[ ${COMP_WORDS[1]} == help && $COMP_CWORD -gt 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
        return
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
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
    --config | --key-file | --passphrase-file | --sshd | --out)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --user)
        mapfile -t COMPREPLY < <(compgen -u -- "$current")
        return
        ;;
    --listen) words="127.0.0.1:7000 0.0.0.0:7000" ;;
    --lanes) words="auto off require" ;;
    --direct) words="auto off" ;;
    --ttl) words="15m 1h 24h" ;;
    --ends) words="1d 7d 30d" ;;
    --keepalive | --gone | --login-grace | --allowance-grace) words="5s 15s 45s" ;;
    --public | --pond | --slug | --expose | --label | --queue-max | --unauthenticated-max | \
        --per-address-max | --login-processes) return ;;
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    case $command in
    "") words="$commands help $options --version" ;;
    run) words="$options $keys --listen --public --config --user --as-root --sshd --lanes --direct --queue-max
            --keepalive --gone --login-grace --allowance-grace --unauthenticated-max --per-address-max
            --login-processes --log-times" ;;
    invite) words="$options $keys --pond --slug --expose --ttl --ends --label --keys --out --replace" ;;
    peers) words="$options --pond --json" ;;
    revoke) words="$options --pond" ;;
    invites | status) words="$options --json" ;;
    *) words=$options ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -o filenames -F _cbx_hub cbx-hub
