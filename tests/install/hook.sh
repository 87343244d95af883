#!/bin/sh
# Notes each stage in hook.log; "exit.STAGE" beside it holds the status to end with, used once where "once.STAGE" is.
dir=$(dirname "$0")
echo "$1 $OTAD_TARGET $OTAD_SLOT$OTAD_PATH result=$OTAD_RESULT reason=$OTAD_REASON previous=$OTAD_PREVIOUS_VERSION" \
    >>"$dir/hook.log"
[ ! -e "$dir/sleep.$1" ] || sleep "$(cat "$dir/sleep.$1")"
# The test may take it away at any moment.
if status=$(cat "$dir/exit.$1" 2>/dev/null) && [ -n "$status" ]; then
    [ ! -e "$dir/once.$1" ] || rm -f "$dir/exit.$1"
    echo "told to end with $status" >&2
    exit "$status"
fi
exit 0
