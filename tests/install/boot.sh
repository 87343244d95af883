#!/bin/sh
# A boot loader made of files beside this script: primary, current, state.A, state.B; every call goes to boot.log.
# Where a file "fail.CALL" is, that call fails; "sleep.CALL" holds how many seconds it takes.
dir=$(dirname "$0")
echo "$*" >>"$dir/boot.log"
[ ! -e "$dir/fail.$1" ] || { echo "told to fail" >&2; exit 1; }
[ ! -e "$dir/sleep.$1" ] || sleep "$(cat "$dir/sleep.$1")"
case $1 in
get-primary) cat "$dir/primary" ;;
get-current) cat "$dir/current" ;;
set-primary) echo "$2" >"$dir/primary" ;;
get-state) cat "$dir/state.$2" ;;
set-state) echo "$3" >"$dir/state.$2" ;;
*) exit 2 ;;
esac
