# What the boot scripts beside this file share; sourced by them, not run.
#
# The protocol is that of RAUC's custom bootloader backend:
#
#   get-primary              prints the slot the next start will choose
#   set-primary SLOT         a slot that is bad gets its trial; a good one is simply chosen from now on
#   get-state SLOT           prints good or bad
#   set-state SLOT good|bad
#   get-current              prints the slot that runs
#
# and one call more, for boot loaders that count every start and not only those on trial:
#
#   confirm                  this start went well; does nothing while the slot that runs is on trial, since the trial's end
#                            is for otad to say (otad-confirm@.service)
#
# A script defines get_primary and get_state SLOT, which leave their word in $answer, set_primary SLOT, set_state SLOT
# good|bad, confirm, and $store: the file or folder whose folder is locked while something is changed. What was set is read
# back here. All settings are in boot.conf, which explains them; the environment serves where it is silent.
# shellcheck shell=sh disable=SC2034,SC2154 # the scripts use what is set here, and set $store

name=${0##*/}
answer=''
scratch=''
trap '[ -z "$scratch" ] || rm -f -- "$scratch"' EXIT

die() {
	echo "$name: $*" >&2
	exit 1
}

note() {
	echo "$name: $*" >&2
}

is_name() {
	case $1 in
	'' | *[!A-Za-z0-9_]*) return 1 ;;
	esac
}

# One setting of a slot: slot_setting ROOT A leaves the value of ROOT_A in $answer.
slot_setting() {
	eval "answer=\${${1}_${2}-}"
}

load_settings() {
	conf=${OTAD_BOOT_CONF:-/etc/otad/boot.conf}
	if [ -e "$conf" ]; then
		# shellcheck source=/dev/null
		. "$conf" || die "$conf cannot be read"
	fi
	SLOTS=${SLOTS:-A B}
	SLOT_KEY=${SLOT_KEY:-rauc.slot}
	TRIES=${TRIES:-3}
	for slot in $SLOTS; do
		is_name "$slot" || die "SLOTS in $conf: '$slot' is no name of letters, digits and _"
	done
	case $TRIES in
	[1-9]) ;;
	*) die "TRIES in $conf: '$TRIES' is no number from 1 to 9" ;;
	esac
}

need_slot() {
	case $1 in
	*' '*) ;;
	*)
		case " $SLOTS " in
		*" $1 "*) return 0 ;;
		esac
		;;
	esac
	die "no slot is called '$1', there are: $SLOTS"
}

need_tool() {
	command -v "$1" >/dev/null || die "the program $1 is missing"
}

# Two callers at once would each write back what the other has changed.
lock() {
	command -v flock >/dev/null || return 0
	exec 9<"$(dirname -- "$store")" || die "the folder of $store cannot be opened"
	tries=20
	until flock -n 9; do
		[ $tries -gt 0 ] || die "$store has been locked by somebody else for 20 s"
		tries=$((tries - 1))
		sleep 1
	done
}

# Not all have a sync that takes names.
sync_paths() {
	sync -- "$@" 2>/dev/null || sync
}

# Stdin becomes the file $1, whole or not at all. Not for FAT.
replace_file() {
	scratch=$1.otad-new
	cat >"$scratch" || die "$scratch cannot be written"
	sync_paths "$scratch"
	mv -f -- "$scratch" "$1" || die "$1 cannot be replaced"
	scratch=''
	sync_paths "$(dirname -- "$1")"
}

# The bytes of $scratch over those of the file $1, which is as long, or new. For FAT, which an ESP is, and where a rename
# lets two names share the new bytes for a moment: who clears that up after a power cut frees bytes that are in use.
overwrite() {
	output=$(dd if="$scratch" of="$1" bs=1024 conv=notrunc,fsync 2>&1) || die "$1 cannot be written: $output"
	rm -f -- "$scratch"
	scratch=''
}

# The word $1 is in the list $2.
contains() {
	case " $2 " in
	*" $1 "*) return 0 ;;
	esac
	return 1
}

# The list $2 without the word $1, in $answer.
without() {
	answer=''
	for word in $2; do
		[ "$word" = "$1" ] || answer="$answer${answer:+ }$word"
	done
}

# The device behind root=$1, in $answer; empty where there is none.
device_of() {
	case $1 in
	PARTLABEL=*) answer=by-partlabel/${1#*=} ;;
	PARTUUID=*) answer=by-partuuid/${1#*=} ;;
	LABEL=*) answer=by-label/${1#*=} ;;
	UUID=*) answer=by-uuid/${1#*=} ;;
	/dev/*) answer=$1 ;;
	*) answer='' ;;
	esac
	case $answer in
	by-*) answer=${OTAD_DISK_DIR:-/dev/disk}/$answer ;;
	esac
	answer=$(readlink -f -- "${answer:-/nowhere}") || answer=''
	[ -e "$answer" ] || answer=''
}

# The slot whose ROOT_x is root=$1, by its words or else by the device both mean.
slot_of_root() {
	device_of "$1"
	root_device=$answer
	for slot in $SLOTS; do
		slot_setting ROOT "$slot"
		[ -n "$answer" ] || answer=PARTLABEL=rootfs-$(echo "$slot" | tr '[:upper:]' '[:lower:]')
		for root in $answer; do
			device_of "$root"
			if [ "$root" = "$1" ] || { [ -n "$answer" ] && [ "$answer" = "$root_device" ]; }; then
				answer=$slot
				return 0
			fi
		done
	done
	return 1
}

# The kernel's command line knows what was started, whatever the boot loader's store says by now.
get_current() {
	cmdline=${OTAD_CMDLINE:-/proc/cmdline}
	words=$(cat -- "$cmdline" 2>/dev/null) || die "$cmdline cannot be read, so it is not known which slot runs"
	slot_word='' root_word=''
	set -f
	for word in $words; do
		case $word in
		"$SLOT_KEY="*) slot_word=${word#*=} ;;
		root=*) root_word=${word#root=} ;;
		esac
	done
	if [ -n "$slot_word" ]; then
		contains "$slot_word" "$SLOTS" || die "$cmdline says $SLOT_KEY=$slot_word, but the slots are: $SLOTS"
		answer=$slot_word
	elif ! slot_of_root "$root_word"; then
		die "$cmdline has no $SLOT_KEY=, and root=$root_word is no ROOT_x of boot.conf: it is not known which slot runs"
	fi
	set +f
}

usage() {
	die "usage: $name get-primary | set-primary SLOT | get-state SLOT | set-state SLOT good|bad | get-current | confirm"
}

boot_main() {
	case "${1-}:$#" in
	get-primary:1)
		get_primary
		echo "$answer"
		;;
	get-current:1)
		get_current
		echo "$answer"
		;;
	get-state:2)
		need_slot "$2"
		get_state "$2"
		echo "$answer"
		;;
	set-primary:2)
		need_slot "$2"
		lock
		set_primary "$2"
		get_primary
		[ "$answer" = "$2" ] || die "set-primary $2: $store says $answer afterwards"
		;;
	set-state:3)
		need_slot "$2"
		case $3 in
		good | bad) ;;
		*) usage ;;
		esac
		lock
		set_state "$2" "$3"
		get_state "$2"
		[ "$answer" = "$3" ] || die "set-state $2 $3: $store says $answer afterwards"
		;;
	confirm:1)
		lock
		get_current
		confirm "$answer"
		;;
	*) usage ;;
	esac
}
