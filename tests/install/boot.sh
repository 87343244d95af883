#!/bin/sh
# A boot loader made of files beside this script: primary, current, state.A, state.B; every call goes to boot.log.
# Where a file "fail.CALL" is, that call fails, only once where it says "once"; "sleep.CALL" holds how many seconds it takes.
dir=$(dirname "$0")
echo "$*" >>"$dir/boot.log"
if how=$(cat "$dir/fail.$1" 2>/dev/null); then
    [ "$how" != once ] || rm -f "$dir/fail.$1"
    echo "told to fail" >&2
    exit 1
fi
[ ! -e "$dir/sleep.$1" ] || sleep "$(cat "$dir/sleep.$1")"
case $1 in
get-primary) cat "$dir/primary" ;;
get-current) cat "$dir/current" ;;
set-primary) echo "$2" >"$dir/primary" ;;
get-state) cat "$dir/state.$2" ;;
set-state) echo "$3" >"$dir/state.$2" ;;
*) exit 2 ;;
esac
