# Completion of otactl for bash.

# The names in the configuration's list of targets.
_otactl_targets() {
	local config=/etc/otad/otad.conf i
	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} != --config ]] || config=${COMP_WORDS[i + 1]}
	done
	[[ -r $config ]] || return
	# Slots have names, too: they stand beside a device.
	tr -d '\n' <"$config" | sed 's/.*targets *= *(//; s/{[^{}]*device[^{}]*}//g' | grep -o 'name *= *"[^"]*"' |
		sed 's/.*"\(.*\)"/\1/'
}

_otactl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' options='' i
	local commands='status watch check install verify suspend resume cancel rollback history stats'

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--config | --socket | --target | --signature | --cert) ((i++)) ;;
		-*) ;;
		*)
			command=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	case $before in
	--config | --socket | --signature)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--cert)
		mapfile -t COMPREPLY < <(compgen -W "$(cd /etc/otad/trust 2>/dev/null && ls)" -- "$word")
		return
		;;
	--target)
		mapfile -t COMPREPLY < <(compgen -W "$(_otactl_targets)" -- "$word")
		return
		;;
	esac
	case $command in
	status | history | stats) options='--json' ;;
	watch) options='--until-done' ;;
	install) options='--target --signature --cert --reboot' ;;
	verify) options='--signature --cert' ;;
	rollback) options='--target --reboot' ;;
	esac
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options --config --socket --help --version" -- "$word")
	elif [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
	elif [[ $command == install || $command == verify ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
}
complete -o filenames -F _otactl otactl
